"""Sparse counts used by the simple baselines.

Axis convention: `T` tasks, `U` users, `B` baskets, `N` items. Events of weight 0, such as dislikes, are not counted: every
`fit_*` reads `Dataset.counted`. A basket counts an item once however many of its events name it; without basket ids each event
is its own basket, and counting baskets is counting events.

Sample weights apply to what is counted over training users: a basket, or a user, counts an item with the largest sample
weight of its events with the item. Ten baskets that hold only views of an item, each of weight .1, count as much as one that
holds a purchase. The history of a task is read in full: `support_counts` counts every event of weight above 0 as 1. SASRec
and text match read no weights but 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from llmrec.data.dataset import Dataset
from llmrec.data.tasks import Tasks, expand_ranges
from llmrec.errors import DataError


@dataclass(frozen=True)
class Purchases:
    """What the supports of T tasks hold: H pairs of a task and an item, ascending by task, then item, and the P times that an
    item is in a basket of the support.

    shape: (T, N). start: int64 (T + 1,), where the pairs of each task begin. item: int64 (H,), of each pair.
    pair: int64 (P,), the pair of each time. back: int64 (P,), baskets back: 0 for the last basket of the support.
    """

    shape: tuple[int, int]
    start: np.ndarray
    item: np.ndarray
    pair: np.ndarray
    back: np.ndarray

    def weights(self, decay: float = 1.0, last: int | None = None) -> np.ndarray:
        """float64 (H,): the sum of `decay ** baskets_back` over the baskets that hold the item, over the `last` ones at most;
        0 for a pair of which none is left. Raises DataError as `support_counts`."""
        check_decay(decay)
        if last is not None and last < 1:
            raise DataError(f"last: expected at least 1 basket, or None for all, got {last}")
        value = decay ** self.back.astype(np.float64)
        return np.bincount(self.pair, value if last is None else value * (self.back < last), len(self.item)).astype(np.float64)

    def table(self, weights: np.ndarray) -> sparse.csr_array:
        """float64 (T, N): the weights (H,) of the pairs as a table without zeros."""
        some = weights != 0
        # Indices of 32 bits: a product with a table whose indices are of 32 bits would copy all of them to 64 bits.
        start = np.concatenate([[0], np.cumsum(some)])[self.start].astype(np.int32)
        return sparse.csr_array((weights[some], self.item[some].astype(np.int32), start), shape=self.shape)


def purchases(tasks: Tasks, every: bool = False) -> Purchases:
    """What the supports hold; `every` counts also events of weight 0, as if all had weight 1. The query is not read."""
    tasks = tasks if every else tasks.counted
    dataset = tasks.dataset
    task, event = expand_ranges(tasks.start, tasks.split)
    edges = dataset.basket_start  # searched, since a table of all events would cost more than the answer to one user
    last_basket = np.searchsorted(edges, tasks.split - 1, side="right")
    back = last_basket[task] - np.searchsorted(edges, event, side="right")
    deepest = int(back.max(initial=0)) + 1
    # one key a (task, item, basket): several events of an item in one basket are one purchase
    key = _distinct((task * dataset.n_items + dataset.item[event]) * deepest + back)
    cell, back = np.divmod(key, deepest)
    fresh = np.diff(cell, prepend=-1) != 0
    task, item = np.divmod(cell[fresh], max(dataset.n_items, 1))
    start = np.searchsorted(task, np.arange(len(tasks) + 1))
    return Purchases((len(tasks), dataset.n_items), start, item, np.cumsum(fresh) - 1, back)


def support_counts(tasks: Tasks, decay: float = 1.0, last: int | None = None, every: bool = False) -> sparse.csr_array:
    """float64 (T, N): over the support baskets that hold the item, the sum of `decay ** baskets_back`.

    The last support basket is 0 baskets back; `decay` = 1 counts them all alike. `last` leaves only that many of the
    last support baskets. `every` counts also events of weight 0, as if all had weight 1. The query is not read.
    Raises DataError for a decay outside (0, 1] and `last` below 1.
    """
    found = purchases(tasks, every)
    return found.table(found.weights(decay, last))


def basket_items(dataset: Dataset) -> sparse.csr_array:
    """float64 (B, N): the largest sample weight of the basket's events with the item, see `Dataset.sample_weight`; 1 where all
    count 1. `membership` of it says only which items a basket holds."""
    key, weight = largest_weights(basket_of_events(dataset) * dataset.n_items + dataset.item, dataset.sample_weight)
    basket, item = np.divmod(key, max(dataset.n_items, 1))
    shape = (len(dataset.basket_start) - 1, dataset.n_items)
    return sparse.coo_array((weight, (basket, item)), shape=shape).tocsr()


def membership(weights: sparse.csr_array) -> sparse.csr_array:
    """The same shape and dtype, with 1 at every entry that is stored: which items are there, whatever their weights."""
    return sparse.csr_array((np.ones_like(weights.data), weights.indices, weights.indptr), shape=weights.shape)


def user_items(dataset: Dataset) -> sparse.csr_array:
    """float64 (U, N): number of the user's baskets that hold the item, whatever their weights."""
    return (_members(dataset) @ membership(basket_items(dataset))).tocsr()


def user_item_weights(dataset: Dataset) -> sparse.csr_array:
    """float64 (U, N): the largest sample weight of the user's events with the item, see `Dataset.sample_weight`; 1 where all
    count 1."""
    key, weight = largest_weights(dataset.user.astype(np.int64) * dataset.n_items + dataset.item, dataset.sample_weight)
    user, item = np.divmod(key, max(dataset.n_items, 1))
    return sparse.coo_array((weight, (user, item)), shape=(dataset.n_users, dataset.n_items)).tocsr()


def largest_weights(key: np.ndarray, weight: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The distinct keys, int64 ascending, and the largest weight of each, float64; 1 where `weight` is None.

    key: int64 (n,), at least 0. weight: float (n,).
    """
    if weight is None:
        key = _distinct(key)
        return key, np.ones(len(key))
    order = np.lexsort((weight, key))
    key, weight = key[order], weight[order]
    last = np.diff(key, append=-1) != 0
    return key[last], weight[last].astype(np.float64)


def basket_of_events(dataset: Dataset) -> np.ndarray:
    """int64 (E,): basket of each event, counted 0 ... B - 1 over all users."""
    return np.repeat(np.arange(len(dataset.basket_start) - 1), np.diff(dataset.basket_start))


def user_of_baskets(dataset: Dataset) -> np.ndarray:
    """int64 (B,): user of each basket."""
    return np.repeat(np.arange(dataset.n_users), dataset.n_baskets)


def check_decay(decay: float) -> None:
    """Raises DataError unless 0 < decay <= 1."""
    if not 0 < decay <= 1:
        raise DataError(f"decay: expected 0 < decay <= 1, the weight of one basket back, got {decay}; 1 counts all alike")


def same_catalogue(tasks: Tasks, items: int) -> None:
    """Raises DataError where the tasks are over a catalogue of another length than the control was fitted on."""
    if tasks.dataset.n_items != items:
        remedy = "fit on users of the dataset that the tasks are cut from"
        raise DataError(f"tasks: expected a catalogue of {items} items, got {tasks.dataset.n_items}; {remedy}")


def _members(dataset: Dataset) -> sparse.csr_array:
    """float64 (U, B): 1 where the basket is the user's."""
    baskets = int(dataset.n_baskets.sum())
    where = (np.ones(baskets), np.arange(baskets), dataset.first_basket)
    return sparse.csr_array(where, shape=(dataset.n_users, baskets))


def _distinct(key: np.ndarray) -> np.ndarray:
    """np.unique of whole numbers, by sorting: many times faster than its hashing where most are distinct."""
    key = np.sort(key)
    return key[np.diff(key, prepend=-1) != 0]
