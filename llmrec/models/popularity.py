"""Simple count-based baselines. Our own figures only mean something next to these.

Axis convention: `T` tasks, `N` items. Every `fit_*` reads some users of a dataset, the training users, and returns a frozen
value; `scores(tasks)` gives float32 (T, N) from the support part of each task and never from its query. A task's scores do
not depend on the tasks beside it. Hyperparameters are arguments: fit the candidates, then `choose` on validation users.
To train on a period instead of on users, pass `dataset.keep(...)`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from llmrec.data.dataset import Dataset
from llmrec.data.tasks import Tasks
from llmrec.errors import DataError
from llmrec.models.counts import basket_items, same_catalogue, support_counts


class Baseline(Protocol):
    """The interface of every baseline."""

    @property
    def name(self) -> str:
        """As it is printed in reports."""
        ...

    def scores(self, tasks: Tasks) -> np.ndarray:
        """float32 (T, N), higher is better. Raises DataError when the tasks are over another catalogue."""
        ...


def choose(candidates: Sequence[Baseline], tasks: Tasks, metric: Callable[[np.ndarray, Tasks], np.ndarray]) -> Baseline:
    """The candidate with the highest mean of `metric(scores, tasks)`, float (T,), over the tasks where it is a number.

    `tasks` are of validation users. Of equal candidates the first is taken. For example:
    `choose(fitted, tasks, lambda scores, tasks: ndcg(scores, tasks.relevant(), 10))`.
    Raises DataError without candidates, and where a metric is NaN for every task.
    """
    if not candidates:
        raise DataError("choose: expected at least one fitted control, got none")
    means = []
    for candidate in candidates:
        values = metric(candidate.scores(tasks), tasks)
        values = values[~np.isnan(values)]
        if len(values) == 0:
            raise DataError(
                f"choose: the metric of {candidate.name!r} is NaN for all {len(tasks)} tasks; give tasks with a query"
            )
        means.append(values.mean())
    return candidates[int(np.argmax(means))]


@dataclass(frozen=True)
class Popularity:
    """The same ranking for everyone. count: float64 (N,), baskets by their sample weights."""

    name: str
    count: np.ndarray

    def scores(self, tasks: Tasks) -> np.ndarray:
        """float32 (T, N)."""
        same_catalogue(tasks, len(self.count))
        return np.tile(self.count.astype(np.float32), (len(tasks), 1))


def fit_popularity(
    dataset: Dataset, users: np.ndarray, recent: float | None = None, position: tuple[int, int] | None = None
) -> Popularity:
    """Number of the training users' baskets that hold the item. Where events have sample weights, the sum over the baskets of
    the largest weight of their events with the item.

    recent: only baskets of the last `recent` seconds before the training users' last event.
    position: only each user's baskets number `position[0] <= b < position[1]` (from 0): with `known` baskets of support
        and a query of `horizon`, (known, known + horizon) is what others bought at this point of their history.
    """
    train = dataset.take(users).counted
    wanted = np.ones(len(train.basket_start) - 1, bool)
    name = "popularity"
    if recent is not None:
        end = train.time[train.basket_start[1:] - 1]
        wanted &= end >= end.max(initial=-np.inf) - recent
        name = "recent popularity"
    if position is not None:
        ordinal = train.basket[train.basket_start[:-1]]
        wanted &= (position[0] <= ordinal) & (ordinal < position[1])
        name += " by position"
    return Popularity(name, basket_items(train).T @ wanted.astype(np.float64))


@dataclass(frozen=True)
class MostFrequent:
    """What the user bought most often, then what everyone buys. tie: float64 (N,) in [0, 1), ascending with popularity."""

    name: str
    tie: np.ndarray

    def scores(self, tasks: Tasks) -> np.ndarray:
        """float32 (T, N): number of support baskets with the item, plus `tie`."""
        same_catalogue(tasks, len(self.tie))
        return (support_counts(tasks).toarray() + self.tie).astype(np.float32)


def fit_most_frequent(dataset: Dataset, users: np.ndarray) -> MostFrequent:
    """Frequency in the support; among equals, popularity among the training users.

    The tie-breaker is popularity's rank among its distinct values, not the count itself: evenly spaced, two different
    counts stay different in float32 beside a large frequency.
    """
    distinct, rank = np.unique(fit_popularity(dataset, users).count, return_inverse=True)
    return MostFrequent("most frequent", rank / max(len(distinct), 1))
