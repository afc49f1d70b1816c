"""A control for items that nobody had: item kNN, carried over to them from the items whose texts are most alike.

Axis convention: `T` tasks, `N` items, `C` cold items, `W` warm ones, `K` neighbours by text.

    score(cold i) = sum over the k warm items j most alike in text of likeness(i, j)^power * item_knn_score(j | support)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from llmrec.data.dataset import Dataset
from llmrec.data.tasks import Tasks
from llmrec.errors import DataError
from llmrec.evaluation.counts import same_catalogue, support_counts
from llmrec.evaluation.item_item import ItemKnn

_CELLS = 1 << 23  # likenesses held at once


@dataclass(frozen=True)
class Alike:
    """Of each cold item the warm ones most alike in text.

    cold: int64 (C,). warm: int64 (C, K), most alike first. likeness: float64 (C, K), never negative.
    trained: bool (N,), which items are warm.
    """

    cold: np.ndarray
    warm: np.ndarray
    likeness: np.ndarray
    trained: np.ndarray


@dataclass(frozen=True)
class CarriedKnn:
    """A warm item has its own score, a cold one what is carried to it. carry: float64 sparse (N, N), from the row's item to the
    column's."""

    knn: ItemKnn
    carry: sparse.csr_array
    name: str = "attribute kNN"

    def scores(self, tasks: Tasks) -> np.ndarray:
        """float32 (T, N); all zero for an empty history."""
        same_catalogue(tasks, self.carry.shape[0])
        return (support_counts(tasks, self.knn.decay) @ self.knn.similarity @ self.carry).toarray().astype(np.float32)


def alike(dataset: Dataset, users: np.ndarray, text: np.ndarray | sparse.csr_array, k: int) -> Alike:
    """The k warm items most alike to each cold one, by the product of rows of `text`, (N, d) or sparse (N, V), of length 1.

    Warm is what `users` had; ties go to the lower item. Raises DataError where fewer than k items are warm.
    """
    trained = np.bincount(dataset.take(users).item, minlength=dataset.n_items) > 0
    cold, warm = np.flatnonzero(~trained), np.flatnonzero(trained)
    if not 0 < k <= len(warm):
        raise DataError(f"k: expected 1 to {len(warm)}, the items that the training users had, got {k}")
    near, likeness = np.empty((len(cold), k), np.int64), np.empty((len(cold), k))
    block = max(1, _CELLS // len(warm))
    turned = text[warm].T
    for first in range(0, len(cold), block):
        part = slice(first, first + block)
        product = text[cold[part]] @ turned
        dense = product.toarray() if sparse.issparse(product) else product
        best = np.argsort(-dense, axis=1, kind="stable")[:, :k]
        near[part], likeness[part] = warm[best], np.take_along_axis(dense, best, 1)
    return Alike(cold, near, np.maximum(likeness, 0.0), trained)


def carried(knn: ItemKnn, found: Alike, k: int, power: float) -> CarriedKnn:
    """The control with the first `k` of the items that were found. power: how much the most alike count beyond the others."""
    n, k = len(found.trained), min(k, found.warm.shape[1])
    own = np.flatnonzero(found.trained)
    row = np.concatenate([own, found.warm[:, :k].ravel()])
    column = np.concatenate([own, np.repeat(found.cold, k)])
    value = np.concatenate([np.ones(len(own)), (found.likeness[:, :k] ** power).ravel()])
    return CarriedKnn(knn, sparse.coo_array((value, (row, column)), shape=(n, n)).tocsr())
