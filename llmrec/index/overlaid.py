"""An index in which some vectors are replaced: these are searched in a small index of their own, and the large one is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llmrec.index.faiss_index import Index, build, search


@dataclass(frozen=True, eq=False)
class Overlaid:
    """base: an index of the items 0, 1, ..., N - 1. moved: of those whose vectors are replaced; None for none. stay: bool (N,),
    all others."""

    base: Index
    moved: Index | None = None
    stay: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.base)

    def vectors(self, items: np.ndarray) -> np.ndarray:
        """float32 (n, d): where the items, int64 (n,), are."""
        found = self.base.vectors[items]
        if self.moved is None:
            return found
        place = np.minimum(np.searchsorted(self.moved.ids, items), len(self.moved) - 1)
        here = self.moved.ids[place] == items
        found = found.copy()
        found[here] = self.moved.vectors[place[here]]
        return found

    def search(
        self,
        queries: np.ndarray,
        k: int,
        allowed: np.ndarray | None = None,
        excluded: Sequence[np.ndarray] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `llmrec.index.faiss_index.search`, but for `allowed`, which is bool (N,) for all queries, or None."""
        if self.moved is None or self.stay is None:
            return search(self.base, queries, k, allowed, excluded)
        stay = self.stay if allowed is None else self.stay & allowed
        mask = np.ones(len(self), bool) if allowed is None else allowed
        parts = [
            search(self.base, queries, k, stay, excluded),
            search(self.moved, queries, min(k, len(self.moved)), mask, excluded),
        ]
        score, item = (np.concatenate(part, axis=1) for part in zip(*parts, strict=True))
        best = np.lexsort((item, -score), axis=1)[:, :k]
        return np.take_along_axis(score, best, 1), np.take_along_axis(item, best, 1)


def overlaid(base: Index, vectors: np.ndarray, items: np.ndarray) -> Overlaid:
    """The index with the items, int64 (n,), at `vectors`, float32 (n, d)."""
    if not len(items):
        return Overlaid(base)
    stay = np.ones(len(base), bool)
    stay[items] = False
    return Overlaid(base, build(vectors, items), stay)
