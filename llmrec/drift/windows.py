"""Windows of behaviour: consecutive events of a group of users, from which a scene is recognised.

Axis convention: `W` windows of `n` events each, `E` events of a dataset, `U` users.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llmrec.data.dataset import Dataset


@dataclass(frozen=True)
class Windows:
    """Windows of one length over one dataset.

    rows: int64 (W, n), places in the dataset's event arrays, in the order in which the events happened.
    group: int64 (W,), the group of users that a window is of; windows of two groups have no user in common.
    time: float64 (W,), seconds, when its last basket began.
    """

    rows: np.ndarray
    group: np.ndarray
    time: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, index: np.ndarray) -> Windows:
        """Some of the windows, by int indices or a mask, in the order given."""
        return Windows(self.rows[index], self.group[index], self.time[index])


def cut(dataset: Dataset, group: np.ndarray, size: int) -> Windows:
    """Windows of `size` events: in each group basket after basket by time, cut wherever a window is full.

    group: int (E,), the group that an event belongs to, -1 for none. What is left at the end of a group is no window. A cut may
    fall inside a basket: a stream is watched event by event.
    """
    if size < 1:
        raise ValueError(f"size is a number of events, at least 1, got {size}")
    group = np.asarray(group, np.int64)
    began = basket_times(dataset)
    rows = np.flatnonzero(group >= 0)
    # Canonical order holds a user's baskets together; two users at one time are told apart by their place.
    rows = rows[np.lexsort((rows, dataset.user[rows], began[rows], group[rows]))]
    of = group[rows]
    fresh = np.ones(len(rows), bool)
    fresh[1:] = of[1:] != of[:-1]
    begin = np.maximum.accumulate(np.where(fresh, np.arange(len(rows)), 0))
    place = np.arange(len(rows)) - begin
    length = np.bincount(of, minlength=1)[of] if len(of) else of
    kept = rows[place < length // size * size].reshape(-1, size)
    return Windows(kept, group[kept[:, 0]], began[kept[:, -1]])


def basket_times(dataset: Dataset) -> np.ndarray:
    """float64 (E,): when the basket of every event began, seconds."""
    if dataset.n_events == 0:
        return np.zeros(0)
    return np.repeat(np.minimum.reduceat(dataset.time, dataset.basket_start[:-1]), np.diff(dataset.basket_start))
