"""Items whose vectors moved after training, and what this adds to the scores of user vectors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class MovedItems:
    """item: int64 (M,), ascending, one at least. change: places among them, int64 (n,) -> float32 (n, d), what is added to
    their vectors of `Items`; only what an answer asks about is computed."""

    item: np.ndarray
    change: Callable[[np.ndarray], np.ndarray]

    def scores(self, users: np.ndarray, task: np.ndarray, item: np.ndarray) -> np.ndarray:
        """float32 (C,): what is added to the scores of pairs, row `task[c]` of users (T, d) and item `item[c]`; 0 for an item
        that did not move."""
        place = np.minimum(np.searchsorted(self.item, item), len(self.item) - 1)
        here = np.flatnonzero(self.item[place] == item)
        some, at = np.unique(place[here], return_inverse=True)
        found = np.zeros(len(item), np.float32)
        found[here] = (users[task[here]] * self.change(some)[at]).sum(1)
        return found
