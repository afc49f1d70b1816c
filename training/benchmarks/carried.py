"""A control for cold items: item kNN, carried over from the warm items with the most similar texts.

Axis convention: `T` tasks, `N` items.

    score(cold i) = sum over the k warm items j most alike in text of likeness(i, j)^power * item_knn_score(j | support)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from llmrec.data.tasks import Tasks
from llmrec.models.counts import same_catalogue, support_counts
from llmrec.models.item_item import ItemKnn
from llmrec.ranking.cold_items import Alike, carry


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


def carried(knn: ItemKnn, found: Alike, k: int, power: float) -> CarriedKnn:
    """The control with the first `k` of the items that were found. power: how much the most alike count beyond the others."""
    own = sparse.diags_array(found.trained.astype(np.float64))
    return CarriedKnn(knn, sparse.csr_array(own + carry(found, k, power)))
