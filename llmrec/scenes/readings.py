"""Features of an item given a history: the columns from which a scene's score is computed.

Axis convention: `T` tasks, `N` items of the catalogue, `M` items of the scene, `d` width of text vectors, `U` support users.
"""

from __future__ import annotations

import numpy as np

from llmrec.data.tasks import Tasks
from llmrec.models.counts import support_counts
from llmrec.scenes.few import Few, Ground
from llmrec.scenes.histories import FADE, means, unit
from llmrec.scenes.shelf import Shelf

TEXT = ("mean", "best", "last", "words", "crowd", "map", "lean", "own")
BIAS, COMPANY, CHANGE = ("bought",), ("together", "alike"), ("change",)
COLUMNS = (*TEXT, *BIAS, *COMPANY, *CHANGE)
BEST, BEST_FADE = 6, 0.9  # events that are looked at one by one, and what each loses per event back


def read_text(ground: Ground, shelf: Shelf, tasks: Tasks) -> dict[str, np.ndarray]:
    """The columns `TEXT`, float32 (T, M) each: all that a scene without support users has. An empty history is 0 throughout."""
    columns = read_shelf(shelf, tasks) | read_ground(ground, shelf, tasks)
    return {name: columns[name] for name in TEXT}


def read_shelf(shelf: Shelf, tasks: Tasks) -> dict[str, np.ndarray]:
    """The columns of `TEXT` for which nothing was learned."""
    items, at = shelf.items, shelf.vectors[shelf.among]
    mean = means(shelf.vectors, tasks)
    last = unit(support_counts(tasks, last=1).astype(np.float32) @ shelf.vectors)
    rows = (len(tasks), len(items))
    return {
        "mean": mean @ at.T,
        "best": _best(shelf.vectors, at, tasks),
        "last": last @ at.T,
        "words": np.log1p(np.maximum(shelf.words.scores(tasks)[:, items], 0)),
        "crowd": np.broadcast_to(shelf.crowd[items], rows),
        "own": np.log1p(support_counts(tasks)[:, items].toarray()).astype(np.float32),
    }


def read_ground(ground: Ground, shelf: Shelf, tasks: Tasks) -> dict[str, np.ndarray]:
    """The columns of `TEXT` that known scenes taught."""
    at = shelf.vectors[shelf.among]
    given = means(shelf.vectors, tasks) @ ground.map
    return {"map": given @ at.T, "lean": np.broadcast_to(at @ ground.lean, (len(tasks), len(at)))}


def read_few(few: Few, shelf: Shelf, tasks: Tasks) -> dict[str, np.ndarray]:
    """The other columns, float32 (T, M) each: what the support users add."""
    items = shelf.items
    history = support_counts(tasks, FADE)
    mean = np.append(means(shelf.vectors, tasks), np.full((len(tasks), 1), np.float32(0.5)), axis=1)
    return {
        "bought": np.broadcast_to(np.log1p(few.bought[items]).astype(np.float32), (len(tasks), len(items))),
        "together": np.log1p((history @ few.together)[:, items].toarray()).astype(np.float32),
        "alike": np.log1p(10 * (history @ few.alike)[:, items].toarray()).astype(np.float32),
        "change": (mean @ few.down) @ (few.up @ shelf.vectors[items].T),
    }


def stacked(columns: dict[str, np.ndarray], names: tuple[str, ...]) -> np.ndarray:
    """float32 (T, M, F) of the columns named."""
    return np.stack([columns[name] for name in names], axis=-1).astype(np.float32)


def _best(vectors: np.ndarray, at: np.ndarray, tasks: Tasks) -> np.ndarray:
    found = np.zeros((len(tasks), len(at)), np.float32)
    for back in range(BEST):
        event = tasks.split - 1 - back
        there = np.flatnonzero(event >= tasks.start)
        like = np.float32(BEST_FADE**back) * (vectors[tasks.dataset.item[event[there]]] @ at.T)
        found[there] = like if back == 0 else np.maximum(found[there], like)
    return found
