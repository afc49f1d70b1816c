"""A control for new users: what others took at this point of their history, counted over those who were there at that time.

A site shows newcomers something else every month; whoever came in the same weeks saw the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from llmrec.data.dataset import Dataset
from llmrec.data.tasks import Tasks
from llmrec.errors import DataError
from llmrec.models.counts import basket_items, same_catalogue


@dataclass(frozen=True)
class Contemporaries:
    """Popularity among the `near` training users nearest in time.

    taken: csr (U, N), 1 where a user took the item in the baskets asked for. time: float64 (U,), ascending, of the last event
    before them, in seconds.
    """

    taken: sparse.csr_array
    time: np.ndarray
    near: int
    name: str = "popularity by position, lately"

    def scores(self, tasks: Tasks) -> np.ndarray:
        """float32 (T, N), counts of users."""
        same_catalogue(tasks, self.taken.shape[1])
        at = np.searchsorted(self.time, tasks.dataset.time[tasks.split - 1])
        near = min(self.near, len(self.time))
        first = np.clip(at - near // 2, 0, len(self.time) - near)
        found = np.empty((len(tasks), self.taken.shape[1]), np.float32)
        for task, begin in enumerate(first):
            found[task] = self.taken[begin : begin + near].sum(axis=0)
        return found


def fit_contemporaries(dataset: Dataset, users: np.ndarray, position: tuple[int, int], near: int) -> Contemporaries:
    """Fit on training users who have the baskets number `position[0]` to `position[1] - 1` (from 0), or some of them.

    near: how many users count as contemporaries. Raises DataError where it is below 1, or the first basket is number 0, before
    which nothing has happened.
    """
    if near < 1 or position[0] < 1:
        raise DataError(f"expected near >= 1 and position[0] >= 1, got near={near} and position={position}")
    part = dataset.take(users).counted
    there = np.flatnonzero(part.n_baskets > position[0])
    first = part.first_basket[:-1][there] + position[0]
    stop = np.minimum(first + position[1] - position[0], part.first_basket[1:][there])
    order = np.argsort(part.time[part.basket_start[first] - 1], kind="stable")
    first, stop = first[order], stop[order]
    length = stop - first
    member = np.repeat(first - (np.cumsum(length) - length), length) + np.arange(length.sum())
    pick = sparse.csr_array(
        (np.ones(len(member)), member, np.concatenate([[0], np.cumsum(length)])), shape=(len(first), len(part.basket_start) - 1)
    )
    taken = (pick @ basket_items(part)).tocsr()
    taken.data = np.ones_like(taken.data)
    return Contemporaries(taken, part.time[part.basket_start[first] - 1], near)
