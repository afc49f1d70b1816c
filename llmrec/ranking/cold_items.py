"""Cold items: give an item without purchases the statistics of the warm items with the most similar texts.

Axis convention: `N` items, `C` cold items, `W` warm ones, `K` neighbours by text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from llmrec.data.dataset import Dataset
from llmrec.errors import DataError

_CELLS = 1 << 23  # likenesses held at once


@dataclass(frozen=True)
class Alike:
    """The warm items nearest to each cold item by text.

    cold: int64 (C,). warm: int64 (C, K), most alike first. likeness: float64 (C, K), never negative.
    trained: bool (N,), which items are warm.
    """

    cold: np.ndarray
    warm: np.ndarray
    likeness: np.ndarray
    trained: np.ndarray


def alike(dataset: Dataset, users: np.ndarray, text: np.ndarray | sparse.csr_array, k: int) -> Alike:
    """The k warm items most alike to each cold one, by the product of rows of `text`, (N, d) or sparse (N, V), of length 1.

    Items that `users` purchased are warm; ties go to the lower item. Raises DataError where fewer than k items are warm.
    """
    trained = np.bincount(dataset.take(users).item, minlength=dataset.n_items) > 0
    warm = np.flatnonzero(trained)
    if not 0 < k <= len(warm):
        raise DataError(f"k: expected 1 to {len(warm)}, the items purchased by training users, got {k}")
    turned = text[warm].T

    def likeness(part: np.ndarray) -> np.ndarray:
        product = text[part] @ turned
        return product.toarray() if sparse.issparse(product) else product

    return nearest(trained, np.flatnonzero(~trained), likeness, k)


def nearest(trained: np.ndarray, cold: np.ndarray, likeness: Callable[[np.ndarray], np.ndarray], k: int) -> Alike:
    """The k warm items most alike to each of the items `cold`, int64; ties go to the lower item.

    trained: bool (N,), which items are warm, k of them at least. likeness: of some items, int64, to all warm ones in order.
    """
    warm = np.flatnonzero(trained)
    near, value = np.empty((len(cold), k), np.int64), np.empty((len(cold), k))
    block = max(1, _CELLS // len(warm))
    for first in range(0, len(cold), block):
        part = slice(first, first + block)
        dense = likeness(cold[part])
        best = _largest(dense, k)
        near[part], value[part] = warm[best], np.take_along_axis(dense, best, 1)
    return Alike(cold, near, np.maximum(value, 0.0), trained)


def carry(found: Alike, k: int, power: float) -> sparse.csr_array:
    """float64 (N, N), from the warm item of the row to the cold one of the column: likeness^power, where the warm one is among
    the first `k` that were found. power: how much the most alike count beyond the others."""
    n, k = len(found.trained), min(k, found.warm.shape[1])
    row, column = found.warm[:, :k].ravel(), np.repeat(found.cold, k)
    return sparse.coo_array(((found.likeness[:, :k] ** power).ravel(), (row, column)), shape=(n, n)).tocsr()


def _largest(table: np.ndarray, k: int) -> np.ndarray:
    """int64 (C, k): columns of the k largest of each row, largest first; of equal ones the lower column first."""
    edge = np.partition(table, table.shape[1] - k, axis=1)[:, table.shape[1] - k, None]
    above, level = table > edge, table == edge
    left = k - above.sum(1, keepdims=True)
    column = np.nonzero(above | (level & (level.cumsum(1) <= left)))[1].reshape(len(table), k)
    order = np.argsort(-np.take_along_axis(table, column, 1), axis=1, kind="stable")
    return np.take_along_axis(column, order, 1)
