"""What one could take instead of a model: popularity, and popularity among users of the same groups."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from llmrec.data.attributes import Attributes
from llmrec.data.dataset import Dataset
from llmrec.models.counts import user_items

SMOOTHING = (1.0, 10.0, 100.0, 1000.0)  # users who take what everybody takes, added to each group


@dataclass(frozen=True)
class GroupPopularity:
    """Items by how many users of the same group took them, in their first baskets or ever.

    columns: attributes that make a group together; () is popularity among all. first: baskets that are counted, None for all.
    smoothing: see SMOOTHING. overall: float64 (N,), share of users who took an item. groups: group -> float64 (N,).
    """

    columns: tuple[str, ...]
    first: int | None
    smoothing: float
    overall: np.ndarray
    groups: dict[tuple[int, ...], np.ndarray]

    def scores(self, attributes: Attributes) -> np.ndarray:
        """float64 (T, N); popularity among all where an attribute is missing, or nobody was of that group."""
        keys = _keys(attributes, self.columns)
        return np.stack([self.groups.get(key, self.overall) for key in keys])

    def __str__(self) -> str:
        names = " x ".join(self.columns)
        return f"{names}, smoothing {self.smoothing:g}" if names else "all users"


def fit_group_popularity(
    train: Dataset, attributes: Attributes, columns: tuple[str, ...], first: int | None, smoothing: float
) -> GroupPopularity:
    """Count over training users, whose attributes are in their order."""
    taken = user_items(train if first is None else train.keep(train.basket < first))
    taken.data = np.ones_like(taken.data)
    overall = np.asarray(taken.sum(0)) / train.n_users
    keys, groups = _keys(attributes, columns), {}
    for key in sorted(set(keys)) if columns else ():
        if -1 not in key:
            rows = np.flatnonzero([other == key for other in keys])
            groups[key] = (np.asarray(taken[rows].sum(0)) + smoothing * overall) / (len(rows) + smoothing)
    return GroupPopularity(columns, first, smoothing, overall, groups)


def every_group(names: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], float]]:
    """Each attribute and each pair of them, with each smoothing."""
    for columns in [*((name,) for name in names), *combinations(names, 2)]:
        for smoothing in SMOOTHING:
            yield columns, smoothing


def _keys(attributes: Attributes, columns: tuple[str, ...]) -> list[tuple[int, ...]]:
    places = [attributes.encoding.names.index(name) for name in columns]
    return [tuple(int(group) for group in row) for row in attributes.groups()[:, places]]
