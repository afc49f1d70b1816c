"""Histories as vectors, and the next basket after each of them.

Axis convention: `T` tasks, `P` pairs of a history and a later basket, `N` items, `d` width of text vectors.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from llmrec.data.dataset import Dataset
from llmrec.data.tasks import Tasks
from llmrec.models.counts import support_counts

FADE = 0.6  # of a history's mean, per basket back


def means(vectors: np.ndarray, tasks: Tasks) -> np.ndarray:
    """float32 (T, d): mean of a history's vectors, later baskets weighing more, of unit length; 0 for an empty history."""
    return unit(support_counts(tasks, FADE).astype(np.float32) @ vectors)


def steps(dataset: Dataset, users: np.ndarray, most: int = 20) -> Tasks:
    """Every basket of the users, the first one aside, asked for given all before it; of each user the last `most`."""
    first, count = dataset.first_basket[:-1][users], dataset.n_baskets[users]
    asked = np.minimum(np.maximum(count - 1, 0), most)
    edge = np.repeat(np.cumsum(asked) - asked, asked)
    basket = np.repeat(first + count - asked, asked) + np.arange(asked.sum()) - edge
    cut = dataset.basket_start
    return Tasks(dataset, np.repeat(dataset.start[:-1][users], asked), cut[basket], cut[basket + 1])


def came(vectors: np.ndarray, among: np.ndarray, tasks: Tasks) -> tuple[np.ndarray, np.ndarray]:
    """Of the tasks in whose query there is an item `among` bool (N,): their places, int64 (P,), and the mean of these items'
    vectors, float32 (P, d)."""
    length = tasks.stop - tasks.split
    row = np.repeat(np.arange(len(tasks)), length)
    event = np.repeat(tasks.split - np.cumsum(length) + length, length) + np.arange(length.sum())
    item = tasks.dataset.item[event]
    row, item = row[among[item]], item[among[item]]
    count = np.bincount(row, minlength=len(tasks))
    share = sparse.coo_array(((1 / np.maximum(count, 1))[row], (row, item)), shape=(len(tasks), len(vectors))).tocsr()
    places = np.flatnonzero(count)
    return places, (share[places].astype(np.float32) @ vectors).astype(np.float32)


def unit(rows: np.ndarray) -> np.ndarray:
    """float32: every row at length 1; a row of zeros stays one."""
    return (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)).astype(np.float32)
