"""Features of an item given a history: the columns from which a scene's score is computed.

Axis convention: `T` tasks, `N` items of the catalogue, `M` items of the scene, `d` width of item vectors, `U` support users.
"""

from __future__ import annotations

import numpy as np

from llmrec.data.tasks import Tasks
from llmrec.models.counts import support_counts
from llmrec.scenes.few import Few, Ground
from llmrec.scenes.histories import FADE, means
from llmrec.scenes.shelf import TEXT, SceneItems

BIAS, COMPANY, CHANGE = ("bought",), ("together", "alike"), ("change",)
COLUMNS = (*TEXT, *BIAS, *COMPANY, *CHANGE)


def columns_of(shelf: SceneItems) -> tuple[str, ...]:
    """All columns of a scene with support users: those of `shelf.base`, and what the support users add."""
    return (*shelf.base, *BIAS, *COMPANY, *CHANGE)


def read_base(ground: Ground, shelf: SceneItems, tasks: Tasks) -> dict[str, np.ndarray]:
    """The columns `shelf.base`, float32 (T, M) each: all that a scene without support users has."""
    columns = shelf.read(tasks) | read_ground(ground, shelf, tasks)
    return {name: columns[name] for name in shelf.base}


def read_ground(ground: Ground, shelf: SceneItems, tasks: Tasks) -> dict[str, np.ndarray]:
    """The columns of `base` that known scenes taught."""
    at = shelf.vectors[shelf.among]
    given = means(shelf.vectors, tasks) @ ground.map
    return {"map": given @ at.T, "lean": np.broadcast_to(at @ ground.lean, (len(tasks), len(at)))}


def read_few(few: Few, shelf: SceneItems, tasks: Tasks) -> dict[str, np.ndarray]:
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
