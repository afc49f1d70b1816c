"""What the buyers of cold items had, as sums of item vectors, to which events are added without a look at the older ones.

Axis convention: `N` items, `M` cold items with buyers, `d` width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from llmrec.data.pair_counts import PairCounts
from llmrec.ranking.first_buyers import FirstBuyers

TINY = 1e-9
Rows = Callable[[np.ndarray], np.ndarray]
"""Items, int64 (n,) -> their unit vectors, float32 (n, d)."""


@dataclass(frozen=True, eq=False)
class BuyerSums:
    """item: int64 (M,), ascending, the cold items that somebody bought who had a warm one. told: float64 (M, d), sum of the
    vectors of the warm items that buyers had, each by its weight. total: float64 (M,), sum of the weights. layers: of
    `FirstBuyers.together`, which are in the sums."""

    item: np.ndarray
    told: np.ndarray
    total: np.ndarray
    layers: tuple[tuple[np.ndarray, np.ndarray], ...]

    def take(self, place: np.ndarray) -> BuyerSums:
        """Of some of the M items."""
        return BuyerSums(self.item[place], self.told[place], self.total[place], self.layers)


def buyer_sums(known: FirstBuyers, popularity: np.ndarray, unit: Rows, before: BuyerSums | None = None) -> BuyerSums:
    """The sums of what is known. popularity: float32 (N,), of training users. before: the sums of an earlier state of `known`
    over the same items; then only layers that changed since are read."""
    now, old = known.together.layers, () if before is None else before.layers
    row, column, value = _difference(now, old)
    some = ~known.cold[row]
    row, column, value = row[some], column[some], value[some] * rarity(popularity[row[some]])
    new, place = np.unique(column, return_inverse=True)
    rows, at = np.unique(row, return_inverse=True)
    more = sparse.csr_array((value, (place, at)), shape=(len(new), len(rows))) @ unit(rows).astype(np.float64)
    total = np.bincount(place, value, len(new)).astype(np.float64)
    if before is not None:
        items = before.item if np.isin(new, before.item).all() else np.union1d(before.item, new)
        there, here = (np.searchsorted(items, some) for some in (before.item, new))
        sums, weights = np.zeros((len(items), more.shape[1])), np.zeros(len(items))
        sums[there], weights[there] = before.told, before.total
        sums[here] += more
        weights[here] += total
        new, more, total = items, sums, weights
    found, left = BuyerSums(new, more, total, now), np.flatnonzero(total > TINY)  # not items whose buyers were all forgotten
    return found if len(left) == len(new) else found.take(left)


def rarity(popularity: np.ndarray) -> np.ndarray:
    """float64: what an item of a history weighs: less the more users have it."""
    return 1 / np.sqrt(np.maximum(popularity.astype(np.float64), 1.0))


def _difference(
    now: tuple[tuple[np.ndarray, np.ndarray], ...], old: tuple[tuple[np.ndarray, np.ndarray], ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, columns and numbers of the pairs in `now`, less those in `old`; layers that are in both are not read."""
    kept, gone = {id(layer[0]) for layer in now}, {id(layer[0]) for layer in old}
    parts = [PairCounts((layer,)).entries for layer in now if id(layer[0]) not in gone]
    less = [PairCounts((layer,)).entries for layer in old if id(layer[0]) not in kept]
    nothing = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    row, column, value = zip(nothing, *parts, *((row, column, -value) for row, column, value in less), strict=True)
    return np.concatenate(row), np.concatenate(column), np.concatenate(value)
