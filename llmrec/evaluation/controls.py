"""The simple baselines, with hyperparameters chosen on validation users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from scipy import sparse

from llmrec.data.dataset import Dataset
from llmrec.data.tasks import Tasks, first_baskets
from llmrec.evaluation.comparison import Arm, cells, quality
from llmrec.models.counts import support_counts
from llmrec.models.item_item import ease_weights, fit_ease, fit_item_knn, interactions
from llmrec.models.popularity import Baseline, fit_most_frequent, fit_popularity

LARGE = 5_000  # items from which one EASE takes tens of seconds, and only one is fitted
LARGEST = 8_000  # items of one EASE: time grows with the cube of their number
HUGE = 50_000  # items from which one item kNN takes gigabytes, and has fewer neighbours
SHRINKS, REPEATS = (0.0, 30.0), (0.0, 0.5, 2.0)
# Few known baskets ask for large ridges: NDCG@10 of MovieLens-1M, new items, 5 known, is .075, .088 and .098 from 3,000 on.
RIDGES = (300.0, 3e3, 3e4, 3e5)
SHARE, MOST = 0.1, 300  # of the training users, to choose constants on


@dataclass(frozen=True)
class Candidate:
    """A fitted control, and how it is fitted on other users with the same constants."""

    control: Baseline
    fit: partial[Any]


def fit_controls(dataset: Dataset, users: np.ndarray, validation: Mapping[int, Tasks]) -> dict[str, Arm]:
    """Name -> the control's scores for all items, and for new ones; fitted on `users`, constants chosen on `validation`,
    separately for all items and for new ones."""
    found = _counts(dataset, users)
    for name, candidates in (("item_knn", _item_knns(dataset, users)), ("ease", _eases(dataset, users))):
        every, new = _best([one.control for one in candidates], validation)
        found[name] = candidates[every].control.scores, candidates[new].control.scores
    return found


def fit_tuned_controls(
    dataset: Dataset, known: Sequence[int], horizon: int, rng: np.random.Generator
) -> tuple[dict[str, Arm], dict[str, dict[str, dict[str, Any]]]]:
    """Controls fitted on all users of `dataset`, and their constants: name -> "all" or "new" -> constants.

    Constants are chosen on a tenth of the users, MOST at most, by controls fitted on the others, with so many baskets
    `known` and the next `horizon` asked for. EASE is solved in single precision, which halves the time. From LARGE items on its
    constants are not chosen, and it is of the LARGEST most purchased items at most; from HUGE items on those of item kNN are
    not chosen either.
    """
    everybody, large = np.arange(dataset.n_users), dataset.n_items >= LARGE
    long = np.flatnonzero(dataset.n_baskets >= min(known) + horizon)
    validation = np.sort(rng.choice(long, min(MOST, round(SHARE * len(long))), replace=False))
    others = np.setdiff1d(everybody, validation)
    asked = {number: first_baskets(dataset, validation, number, horizon) for number in known}
    tasks = {number: part for number, part in asked.items() if len(part)}
    huge = dataset.n_items >= HUGE
    chosen = {"item_knn": _huge_knns() if huge else _chosen(_item_knns(dataset, others), tasks)}
    chosen["ease"] = (_large_ease(dataset.n_items),) * 2 if large else _chosen(_eases(dataset, others, exact=False), tasks)
    found, constants = _counts(dataset, everybody), {}
    for name, fits in chosen.items():
        fitted = [fit(dataset, everybody) for fit in (fits[:1] if fits[0].keywords == fits[1].keywords else fits)]
        found[name] = fitted[0].scores, fitted[-1].scores
        constants[name] = {"all": fits[0].keywords, "new": fits[1].keywords}
    return found, constants


def item_knns(dataset: Dataset, users: np.ndarray) -> list[Baseline]:
    """Item-kNN with every choice of its constants."""
    return [one.control for one in _item_knns(dataset, users)]


def eases(dataset: Dataset, users: np.ndarray) -> list[Baseline]:
    """EASE with every choice of its constants; a single one for a large catalogue."""
    return [one.control for one in _eases(dataset, users)]


@dataclass(frozen=True)
class PopularEase:
    """EASE over the most purchased items of a catalogue of N. items: int64 (M,). weight: float32 (M, M)."""

    items: np.ndarray
    weight: np.ndarray
    n_items: int
    name: str = "EASE"

    def scores(self, tasks: Tasks) -> np.ndarray:
        """float32 (T, N); 0 for all other items."""
        out = np.zeros((len(tasks), self.n_items), np.float32)
        out[:, self.items] = support_counts(tasks).astype(np.float32)[:, self.items] @ self.weight
        return out


def fit_popular_ease(dataset: Dataset, users: np.ndarray, ridge: float, most: int = LARGEST) -> PopularEase:
    """EASE over the `most` items with the most purchasing users, in single precision; see `fit_ease`."""
    matrix = interactions(dataset, users, log=True)
    purchasers = np.diff(matrix.tocsc().indptr)
    items = np.sort(np.argsort(-purchasers, kind="stable")[:most])
    weight = ease_weights(matrix[:, items], ridge, exact=False)
    np.fill_diagonal(weight, 0.0)
    return PopularEase(items, weight, dataset.n_items)


def _counts(dataset: Dataset, users: np.ndarray) -> dict[str, Arm]:
    popularity, frequent = fit_popularity(dataset, users), fit_most_frequent(dataset, users)
    return {"popularity": (popularity.scores, popularity.scores), "most_frequent": (frequent.scores, frequent.scores)}


def _item_knns(dataset: Dataset, users: np.ndarray) -> list[Candidate]:
    found = []
    for shrink in SHRINKS:
        plain = fit_item_knn(dataset, users, shrink=shrink, log=True)
        own = replace(plain, similarity=(plain.similarity + sparse.eye_array(dataset.n_items, format="csr")).tocsr())
        for control, include_self in ((plain, False), (own, True)):
            found.append(Candidate(control, partial(fit_item_knn, shrink=shrink, log=True, include_self=include_self)))
    return found


def _eases(dataset: Dataset, users: np.ndarray, exact: bool | None = None) -> list[Candidate]:
    # The diagonal that EASE forbids is what repeat purchases need; how much of it is a constant like any other.
    large = dataset.n_items >= LARGE
    found = []
    for ridge in RIDGES[:1] if large else RIDGES:
        plain = fit_ease(dataset, users, ridge, log=True, exact=exact)
        for repeat in REPEATS[:1] if large else REPEATS:
            weight = plain.weight.copy() if repeat else plain.weight
            weight[np.diag_indices_from(weight)] = repeat
            fit = partial(fit_ease, ridge=ridge, log=True, repeat=repeat, exact=exact)
            found.append(Candidate(replace(plain, weight=weight), fit))
    return found


def _huge_knns() -> tuple[partial[Any], partial[Any]]:
    """How the item kNNs of a huge catalogue are fitted: of all items, and of new ones."""
    few = partial(fit_item_knn, neighbours=50, log=True)
    return partial(few, include_self=True), partial(few, include_self=False)


def _large_ease(n_items: int) -> partial[Any]:
    """How the single EASE of a large catalogue is fitted."""
    if n_items > LARGEST:
        return partial(fit_popular_ease, ridge=RIDGES[1], most=LARGEST)
    return partial(fit_ease, ridge=RIDGES[1], log=True, repeat=REPEATS[0], exact=False)


def _chosen(candidates: Sequence[Candidate], validation: Mapping[int, Tasks]) -> tuple[partial[Any], partial[Any]]:
    every, new = _best([one.control for one in candidates], validation)
    return candidates[every].fit, candidates[new].fit


def _best(candidates: Sequence[Baseline], validation: Mapping[int, Tasks]) -> tuple[int, int]:
    """Which candidate is best for all items, and which for new ones; of equal ones the first."""
    values = np.zeros((len(candidates), 2))
    for tasks in validation.values():
        pair = cells("validation", {0: tasks})
        for i, control in enumerate(candidates):
            scores = control.scores(tasks)
            values[i] += [quality(cell, scores) for cell in pair]
    every, new = values.argmax(0)
    return int(every), int(new)
