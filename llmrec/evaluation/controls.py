"""The simple baselines, with hyperparameters chosen on validation users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from llmrec.data.dataset import Dataset
from llmrec.data.tasks import Tasks
from llmrec.evaluation.comparison import Arm, cells, quality
from llmrec.models.item_item import fit_ease, fit_item_knn
from llmrec.models.popularity import Baseline, fit_most_frequent, fit_popularity

LARGE = 5_000  # items from which one EASE takes tens of seconds, and only one is fitted


def fit_controls(dataset: Dataset, users: np.ndarray, validation: Mapping[int, Tasks]) -> dict[str, Arm]:
    """Name -> the control's scores for all items, and for new ones; fitted on `users`, constants chosen on `validation`,
    separately for all items and for new ones."""
    popularity, frequent = fit_popularity(dataset, users), fit_most_frequent(dataset, users)
    return {
        "popularity": (popularity.scores, popularity.scores),
        "most_frequent": (frequent.scores, frequent.scores),
        "item_knn": _best(item_knns(dataset, users), validation),
        "ease": _best(eases(dataset, users), validation),
    }


def item_knns(dataset: Dataset, users: np.ndarray) -> list[Baseline]:
    """Item-kNN with every choice of its constants."""
    return [
        fit_item_knn(dataset, users, shrink=shrink, log=True, include_self=own)
        for shrink in (0.0, 30.0)
        for own in (False, True)
    ]


def eases(dataset: Dataset, users: np.ndarray) -> list[Baseline]:
    """EASE with every choice of its constants; a single one for a large catalogue."""
    # The diagonal that EASE forbids is what repeat purchases need; how much of it is a constant like any other.
    ridges = (300.0, 3000.0) if dataset.n_items < LARGE else (300.0,)
    repeats = (0.0, 0.5, 2.0) if dataset.n_items < LARGE else (0.0,)
    return [fit_ease(dataset, users, ridge, log=True, repeat=own) for ridge in ridges for own in repeats]


def _best(candidates: Sequence[Baseline], validation: Mapping[int, Tasks]) -> Arm:
    values = np.zeros((len(candidates), 2))
    for tasks in validation.values():
        pair = cells("validation", {0: tasks})
        for i, control in enumerate(candidates):
            scores = control.scores(tasks)
            values[i] += [quality(cell, scores) for cell in pair]
    every, new = values.argmax(0)
    return candidates[every].scores, candidates[new].scores
