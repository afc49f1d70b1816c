"""Adapters in PEFT's files: `adapter_config.json` and `adapter_model.safetensors`.

PEFT itself only warns on a wrong key prefix and then answers with the base's scores, and takes 8 for a missing rank. Here both
are errors: what is loaded is what was saved, or nothing is.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from llmrec.adapters.lora import Adapter
from llmrec.encoder.backbone import Backbone
from llmrec.errors import AdapterError, ArtefactError
from llmrec.language.model import LanguageModel
from llmrec.store import load_json, save_json

CONFIG, TENSORS, PREFIX = "adapter_config.json", "adapter_model.safetensors", "base_model.model."
# Options of PEFT that change what the two matrices mean; an adapter that uses one is not plain LoRA.
UNSUPPORTED = (
    *("use_dora", "use_qalora", "use_bdlora", "fan_in_fan_out", "lora_bias", "rank_pattern", "alpha_pattern"),
    *("modules_to_save", "layer_replication", "alora_invocation_tokens", "trainable_token_indices"),
    *("arrow_config", "kasa_config", "monteclora_config"),
)
# Ways of beginning that leave the base's weights as they are; others (PiSSA, OLoRA, LoftQ, ...) take what they put into A and B
# out of the base.
PLAIN_STARTS = (True, False, "gaussian", "orthogonal", "eva")


Base = Backbone | LanguageModel


def fingerprint(body: Base) -> str:
    """SHA-256 of the body's weights by name: which base an adapter belongs to."""
    digest = hashlib.sha256()
    for name, tensor in sorted(body.model.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()


def save_adapter(folder: Path, adapter: Adapter, body: Base) -> None:
    """Write one user's adapter (U = 1) so that `peft.PeftModel.from_pretrained` loads it over the saved body.

    Raises AdapterError when U is not 1.
    """
    if len(adapter) != 1:
        raise AdapterError(f"expected the adapter of one user, got {len(adapter)}: save `adapter.take(...)` of one at a time")
    tensors = {}
    for path in adapter.paths:
        tensors[f"{PREFIX}{path}.lora_A.weight"] = adapter.a[path][0].detach().cpu().contiguous()
        tensors[f"{PREFIX}{path}.lora_B.weight"] = adapter.b[path][0].detach().cpu().contiguous()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TENSORS).write_bytes(in_one_order(save(tensors, {"format": "pt", "llmrec_base": fingerprint(body)})))
    save_json(
        folder / CONFIG,
        {
            "peft_type": "LORA",
            "r": adapter.rank,
            "lora_alpha": adapter.scale * adapter.rank,
            "target_modules": list(adapter.paths),
            "lora_dropout": 0.0,
            "bias": "none",
            "inference_mode": True,
            "task_type": None,
            "base_model_name_or_path": None,
        },
    )


def in_one_order(file: bytes) -> bytes:
    """A safetensors file with its metadata sorted, which safetensors writes in a random order: equal adapters, equal bytes."""
    stop = 8 + int.from_bytes(file[:8], "little")
    header = json.loads(file[8:stop])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(stop - 8)
    return file[:8] + text + file[stop:] if len(text) == stop - 8 else file


def load_adapter(folder: Path, body: Base, foreign: bool = False) -> Adapter:
    """The adapter (U = 1) of a folder in PEFT's format, checked against the body it is to be added to.

    foreign: accept an adapter that does not say which base it belongs to (PEFT's own files do not); its shapes are checked.
    Raises AdapterError, which names the file and the key.
    """
    config = _config(folder)
    base, tensors = read_tensors(folder)
    checked_base(folder, base, body, foreign)
    return _checked(folder, tensors, config["r"], config["lora_alpha"], body)


def read_tensors(folder: Path) -> tuple[str | None, dict[str, torch.Tensor]]:
    """The fingerprint of the base that a folder in PEFT's format names, if any, and its tensors in float32.

    Tensors are copied into aligned memory: on some CPUs a product with a memory-mapped tensor differs in the last digits.
    Raises AdapterError.
    """
    try:
        with safe_open(folder / TENSORS, "pt") as file:
            tensors = {name: file.get_tensor(name).float().clone() for name in file.keys()}  # noqa: SIM118 (not a dict)
            return (file.metadata() or {}).get("llmrec_base"), tensors
    except (SafetensorError, OSError) as error:
        raise AdapterError(f"{folder / TENSORS}: expected tensors, got {error}; save the adapter again") from error


def one_tensor(folder: Path, tensors: dict[str, torch.Tensor], name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """The only tensor of a folder. Raises AdapterError for others, another shape, and numbers that are not finite."""
    if set(tensors) != {name} or tuple(tensors[name].shape) != shape:
        found = ", ".join(f"{key} {tuple(tensor.shape)}" for key, tensor in tensors.items()) or "no tensors"
        raise AdapterError(f"{folder / TENSORS}: expected {name} {shape} alone, got {found}; save the adapter again")
    if not torch.isfinite(tensors[name]).all():
        raise AdapterError(f"{folder / TENSORS}: {name!r} holds numbers that are not finite; adapt again")
    return tensors[name]


def checked_base(folder: Path, base: str | None, body: Base, foreign: bool) -> None:
    """Raises AdapterError where an adapter names another base than `body`, or none and it is not `foreign`."""
    if base is None and not foreign:
        raise AdapterError(f"{folder / TENSORS}: does not say which base it belongs to; pass foreign=True to accept it anyway")
    if base is not None and base != (own := fingerprint(body)):
        raise AdapterError(
            f"{folder / TENSORS}: belongs to the base {base[:12]}…, this one is {own[:12]}…; load it onto the base that it was "
            "trained on"
        )


def read_config(folder: Path, expected: str, numbers: tuple[str, ...]) -> dict:
    """The configuration of an adapter of PEFT's type `expected`, whose `numbers` are above 0. Raises AdapterError."""
    try:
        config = load_json(folder / CONFIG)
    except ArtefactError as error:
        raise AdapterError(str(error)) from error
    kind = config.get("peft_type") if isinstance(config, dict) else None
    if kind != expected:
        raise AdapterError(f"{folder / CONFIG}: expected peft_type {expected!r}, got {kind!r}; only these can be loaded here")
    for name in numbers:
        value = config.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
            raise AdapterError(
                f"{folder / CONFIG}: expected a number above 0 in {name!r}, got {value!r}; save the adapter again"
            )
    return config


def _config(folder: Path) -> dict:
    config = read_config(folder, "LORA", ("r", "lora_alpha"))
    if used := [name for name in UNSUPPORTED if config.get(name)]:
        raise AdapterError(f"{folder / CONFIG}: uses {', '.join(used)}, which is not plain LoRA; save the adapter without")
    if (begun := config.get("init_lora_weights", True)) not in PLAIN_STARTS:
        raise AdapterError(
            f"{folder / CONFIG}: initialised as {begun!r}, which changes the base; convert it to plain LoRA with PEFT first"
        )
    if config.get("use_rslora"):
        config["lora_alpha"] = config["lora_alpha"] * config["r"] ** 0.5  # rsLoRA divides by sqrt(r) where LoRA divides by r
    return config


def _checked(folder: Path, tensors: dict[str, torch.Tensor], rank: int, alpha: float, body: Base) -> Adapter:
    layers = body.linear_paths(body.n_blocks)
    pairs: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        path, _, side = key.removeprefix(PREFIX).partition(".lora_")
        if not key.startswith(PREFIX) or path not in layers or side not in ("A.weight", "B.weight"):
            raise AdapterError(
                f"{folder / TENSORS}: {key!r} names no layer of this base; expected {PREFIX}<layer>.lora_A.weight or "
                f"lora_B.weight, with layers such as {next(iter(layers))!r}"
            )
        d_in, d_out = layers[path]
        expected = (rank, d_in) if side == "A.weight" else (d_out, rank)
        if tuple(tensor.shape) != expected:
            raise AdapterError(f"{folder / TENSORS}: {key!r} has shape {tuple(tensor.shape)}, expected {expected}")
        if not torch.isfinite(tensor).all():
            raise AdapterError(f"{folder / TENSORS}: {key!r} holds numbers that are not finite; adapt again")
        pairs.setdefault(path, {})[side[0]] = tensor[None]
    if lacking := [path for path, sides in pairs.items() if len(sides) < 2]:
        raise AdapterError(f"{folder / TENSORS}: {lacking[0]!r} has only one of lora_A and lora_B; save the adapter again")
    if not pairs:
        raise AdapterError(f"{folder / TENSORS}: holds no tensors; save the adapter again")
    paths = [path for path in layers if path in pairs]  # the body's order, not the file's: learned rates go by it
    return Adapter({p: pairs[p]["A"] for p in paths}, {p: pairs[p]["B"] for p in paths}, alpha / rank)
