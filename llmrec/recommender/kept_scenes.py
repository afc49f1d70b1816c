"""Known scenes in the folder of a recommender: they stay when that recommender, with more events or items, is saved again."""

from __future__ import annotations

import hashlib
import shutil
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from llmrec.errors import ArtefactError, MissingScenesWarning
from llmrec.manifest import MANIFEST, read_manifest
from llmrec.recommender.state import State
from llmrec.store import from_one_save, read_folder

KIND, SCENES = "known scenes", "scenes"  # in the folder of a recommender
ITEMS = ("text", "id_embedding", "bias", "repeat_delta")  # of the model's tensors those with a row for each item


def warn_if_scenes_go(folder: str | Path, state: State) -> None:
    """A MissingScenesWarning, at the line that called the caller, where an older save at `folder` holds known scenes that
    `keep_scenes` does not keep."""
    why = from_one_save(folder, lambda older: _kept(older, state, None))
    if why:
        warnings.warn(
            f"{folder}: the older save holds known scenes, and the new one replaces it without them: {why}; learn them again "
            "by Scenes(recommender=...).fit, or save to another path",
            MissingScenesWarning,
            stacklevel=3,
        )


def keep_scenes(folder: str | Path, state: State, to: Path) -> None:
    """Copies the known scenes of an older save at `folder` into the new one, the open folder `to`, if they were learned with
    this recommender; check and copy are of one save."""
    from_one_save(folder, lambda older: _kept(older, state, to))


def _kept(older: Path, state: State, to: Path | None) -> str:
    """Copies known scenes, unless `to` is None. Returns why they are not kept; "" where they are, and where there are none."""
    scenes = older / SCENES
    if to is not None:
        shutil.rmtree(to / SCENES, ignore_errors=True)
    if not (scenes / MANIFEST).is_file():
        return ""
    try:
        return read_folder(scenes, KIND, partial(_copied, state=state, to=to))
    except ArtefactError as error:
        return f"they are damaged ({error})"


def _copied(scenes: Path, meta: dict[str, Any], state: State, to: Path | None) -> str:
    if meta.get("encoder") != state_hash(state):
        return "they were learned with a different recommender, or texts of its items have changed since"
    if to is not None:
        for name in (MANIFEST, *read_manifest(scenes)["files"]):
            copy = to / SCENES / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(scenes / name, copy)
    return ""


def state_hash(state: State) -> str:
    """A hash of what scenes learn on: the learned numbers of a recommender's items, adapters and rankers, as they are saved.
    What is computed of them, such as item vectors, another machine may round otherwise. Items without events, those that were
    added among them, taught nothing, and do not change it."""
    digest, known = hashlib.sha256(), state.model.trained
    learned = [
        values[known] if name in ITEMS else values
        for name, values in sorted(state.model.state_dict().items())
        if not name.startswith("body.") and name != "trained"
    ]
    for tensor in (*learned, *_adapted(state)):
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    for rankers in (state.rankers, state.unseen_rankers):
        for ranker in (rankers.counts, rankers.blend):
            for _, values in sorted(ranker.weights.items()):
                digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def _adapted(state: State) -> list[Tensor]:
    """All tensors that adapting starts from."""
    starts = (None if state.init is None else state.init.adapter), state.core
    return [leaf for start in starts if start is not None for leaf in start.leaves()]
