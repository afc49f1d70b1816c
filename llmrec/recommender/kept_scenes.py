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

from llmrec.errors import ArtefactError, IgnoredInputWarning
from llmrec.manifest import MANIFEST, read_manifest
from llmrec.recommender.state import State
from llmrec.store import from_one_save, read_folder

KIND, SCENES = "known scenes", "scenes"  # in the folder of a recommender
ITEMS = ("text", "id_embedding", "bias", "repeat_delta")  # of the model's tensors those with a row for each item


def keep_scenes(folder: str | Path, state: State, to: Path) -> str:
    """Copies the known scenes of an older save at `folder` into the open folder `to`, if they were learned with the recommender
    that `state` is of; check and copy are of one save. Returns why scenes that are there were left out, else ""."""

    def copied(older: Path) -> str:
        shutil.rmtree(to / SCENES, ignore_errors=True)
        if not (older / SCENES / MANIFEST).exists():
            return ""
        try:
            return read_folder(older / SCENES, KIND, partial(_copied, state=state, to=to / SCENES))
        except ArtefactError as error:
            return str(error)

    return from_one_save(folder, copied)


def warn_of_scenes(why: str) -> None:
    """An IgnoredInputWarning, at the line that called the caller, where known scenes were left out."""
    if why:
        warnings.warn(why, IgnoredInputWarning, stacklevel=3)


def _copied(scenes: Path, meta: dict[str, Any], state: State, to: Path) -> str:
    if meta.get("encoder") != state_hash(state):
        return (
            f"{scenes}: the known scenes of the older save are left out, for they were learned with a different recommender, "
            "or texts of its items have changed since; learn them anew by Scenes(recommender=...).fit"
        )
    for name in (MANIFEST, *read_manifest(scenes)["files"]):
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(scenes / name, to / name)
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
