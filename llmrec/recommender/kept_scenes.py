"""Known scenes in the folder of a recommender: they stay when that recommender, with more events or items, is saved again."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from torch import Tensor

from llmrec.manifest import peek
from llmrec.recommender.state import State
from llmrec.store import from_one_save, located

SCENES = "scenes"  # in the folder of a recommender
ITEMS = ("text", "id_embedding", "bias", "repeat_delta")  # of the model's tensors those with a row for each item


def keeping_scenes(folder: str | Path, state: State) -> Callable[[Path], None] | None:
    """What copies the known scenes of an older save at `folder` into a new one; None where there are none, or where they were
    learned with another recommender than `state` is of."""
    meta = peek(located(folder) / SCENES).get("meta")
    if not isinstance(meta, dict) or meta.get("encoder") != state_hash(state):
        return None

    def copy(to: Path) -> None:
        def there(older: Path) -> None:
            shutil.rmtree(to / SCENES, ignore_errors=True)
            if (older / SCENES).is_dir():
                shutil.copytree(older / SCENES, to / SCENES)

        from_one_save(folder, there)

    return copy


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
