"""Ranking metrics of whole score matrices, per user, with ties settled by expectation.

Axis convention: `T` users (or tasks), `N` items, `P` pairs of a user and one of its relevant items.

Equal scores say nothing about order, so each metric is its exact mean over all orders of the tied items: a model that
scores everything alike gets what a random order gets, and the order of the catalogue can never help. Only two numbers of
each relevant item are needed for that, how many items lie above it and how many share its score; `rank_targets` finds them with
one sort a row, and everything else is arithmetic on `P` pairs.

    >>> import numpy as np
    >>> scores = np.array([[3.0, 2.0, 1.0], [1.0, 1.0, 1.0]])
    >>> recall(scores, [np.array([1]), np.array([1])], k=2).round(3).tolist()
    [1.0, 0.667]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llmrec.errors import DataError

_CELLS = 1 << 22  # cells sorted at once: a copy of 32 MB at most


@dataclass(frozen=True)
class TargetRanks:
    """Where the relevant items of every user stand; all metrics follow from it.

    user: int64 (P,), ascending row of each relevant item.
    above: int64 (P,), items scored strictly higher.
    tied: int64 (P,), items with the same score, itself included: the item is at each of the ranks
        `above + 1 ... above + tied` with equal probability.
    relevant: int64 (T,), relevant items of each user that take part.
    ranked: int64 (T,), items of each user that take part.
    """

    user: np.ndarray
    above: np.ndarray
    tied: np.ndarray
    relevant: np.ndarray
    ranked: np.ndarray

    def ndcg(self, k: int) -> np.ndarray:
        """float64 (T,): see `ndcg`."""
        gain = _cumulative(1 / np.log2(np.arange(2, min(_at_least_one(k), self._deepest) + 2)))
        found = self._sum(self._mean_over_tie(gain))
        ideal = gain[np.minimum(self.relevant, len(gain) - 1)]
        return _ratio(found, ideal)

    def recall(self, k: int) -> np.ndarray:
        """float64 (T,): see `recall`."""
        hits = _cumulative(np.ones(min(_at_least_one(k), self._deepest)))
        return _ratio(self._sum(self._mean_over_tie(hits)), self.relevant)

    def hit_rate(self, k: int) -> np.ndarray:
        """float64 (T,): see `hit_rate`."""
        above, tied, relevant, scored = self._best_tie()
        shown = np.clip(_at_least_one(k) - above, 0, tied)  # how many of the tied items fit above the cut
        # P(no relevant one among `shown` of `tied`) = prod_j (tied - shown - j) / (tied - j), j = 0 ... relevant - 1
        step = np.arange(relevant.max(initial=0))
        miss = np.clip(tied - shown - step[:, None], 0, None) / np.maximum(tied - step[:, None], 1)
        return _fill(scored, 1 - np.where(step[:, None] < relevant, miss, 1.0).prod(axis=0))

    def auc(self) -> np.ndarray:
        """float64 (T,): see `auc`."""
        relevant, other = self.relevant, self.ranked - self.relevant
        ranks = self._sum(self.above + (self.tied + 1) / 2)
        wrong = ranks - relevant * (relevant + 1) / 2  # pairs in the wrong order, a tie counting one half
        return _ratio(relevant * other - wrong, relevant * other)

    def mrr(self) -> np.ndarray:
        """float64 (T,): see `mrr`."""
        above, tied, relevant, scored = self._best_tie()
        first = 1 / (above + 1.0)
        for row in np.flatnonzero(tied > relevant):  # a tie with others: the first relevant one is at rank above + 1 + j
            j = np.arange(tied[row] - relevant[row] + 1)
            # P(j) = P(0) * prod_{i<j} (tied - relevant - i) / (tied - 1 - i)
            fall = np.cumprod((tied[row] - relevant[row] - j[:-1]) / (tied[row] - 1 - j[:-1]))
            chance = relevant[row] / tied[row] * np.concatenate([[1.0], fall])
            first[row] = (chance / (above[row] + 1.0 + j)).sum()  # not `@`: BLAS threads cost more than they do here
        return _fill(scored, first)

    def mean_average_precision(self, k: int | None = None) -> np.ndarray:
        """float64 (T,): see `mean_average_precision`."""
        last = self._deepest if k is None else min(_at_least_one(k), self._deepest)
        order = np.lexsort((self.above, self.user))  # a sum in order of rank does not depend on the names of the items
        user, above, tied = self.user[order], self.above[order], self.tied[order]
        higher, inside = _relevant_around(user, above)
        # At rank r = above + j (j = 1 ... tied, equally likely) an item has j - 1 others of its tie before it, each of them
        # relevant with the same chance; so r times its expected precision is 1 + higher + (j - 1) * share, linear in r.
        share = (inside - 1) / np.maximum(tied - 1, 1)
        harmonic = _cumulative(1 / np.arange(1, last + 1))
        top, bottom = np.minimum(above, last), np.minimum(above + tied, last)
        fixed = (1 + higher - share * (above + 1)) * (harmonic[bottom] - harmonic[top])
        found = np.bincount(user, (fixed + share * (bottom - top)) / tied, minlength=len(self.relevant))
        return _ratio(found, np.minimum(self.relevant, last))

    @property
    def _deepest(self) -> int:
        return int(self.ranked.max(initial=1))

    def _sum(self, values: np.ndarray) -> np.ndarray:
        return np.bincount(self.user, values, minlength=len(self.relevant))

    def _mean_over_tie(self, cumulative: np.ndarray) -> np.ndarray:
        last = len(cumulative) - 1
        top, bottom = np.minimum(self.above, last), np.minimum(self.above + self.tied, last)
        return (cumulative[bottom] - cumulative[top]) / self.tied

    def _best_tie(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(above, tied, relevant in the tie) of the best relevant item of each user that has one, and which users (T,) do."""
        order = np.lexsort((self.above, self.user))
        user, above, tied = self.user[order], self.above[order], self.tied[order]
        scored = self.relevant > 0
        best = np.searchsorted(user, np.flatnonzero(scored))
        level = np.full(len(scored), -1)
        level[scored] = above[best]
        same = np.bincount(user[above == level[user]], minlength=len(scored))
        return above[best], tied[best], same[scored], scored


def rank_targets(scores: np.ndarray, relevant: Sequence[np.ndarray], allowed: np.ndarray | None = None) -> TargetRanks:
    """Find every relevant item's place.

    scores: float (T, N), higher is better. `-inf` ranks last, tied with every other `-inf`.
    relevant: T arrays of item indices; an index named twice counts once.
    allowed: bool (T, N), or None for all. An item that is not allowed leaves the ranking, and leaves `relevant` too, as
        if the catalogue did not hold it. To count an item that was never retrieved as a miss, score it `-inf` instead.
    Raises DataError for a NaN score, for shapes that disagree and for indices outside the catalogue.
    """
    scores = np.asarray(scores)
    if scores.ndim != 2:
        raise DataError(f"scores: expected (users, items), got shape {scores.shape}; score one user as scores[None, :]")
    if not np.issubdtype(scores.dtype, np.floating):
        scores = scores.astype(np.float64)
    users, items = scores.shape
    if len(relevant) != users:
        raise DataError(f"relevant: expected {users} arrays, one per row of scores, got {len(relevant)}")
    user, item = _pairs(relevant, items)
    ranked = np.full(users, items)
    if allowed is not None:
        allowed = np.asarray(allowed)
        if allowed.shape != scores.shape or allowed.dtype != bool:
            raise DataError(f"allowed: expected bool {scores.shape}, got {allowed.dtype} {allowed.shape}")
        ranked = np.count_nonzero(allowed, axis=1)
        kept = allowed[user, item]
        user, item = user[kept], item[kept]
    above, tied = np.zeros(len(user), np.int64), np.zeros(len(user), np.int64)
    block = max(1, _CELLS // max(items, 1))
    for first in range(0, users, block):
        part = scores[first : first + block]
        if np.isnan(part).any():
            row, column = np.argwhere(np.isnan(part))[0]
            raise DataError(f"scores[{first + row}, {column}] is NaN: a ranking needs numbers; give -inf to rank an item last")
        pairs = slice(*np.searchsorted(user, [first, first + block]))
        row = user[pairs] - first
        value = part[row, item[pairs]]
        gone = items - ranked[first : first + block]
        if allowed is not None:
            part = np.where(allowed[first : first + block], part, part.dtype.type(-np.inf))
        part = np.sort(part, axis=1)
        at_most, below = _search(part, row, value, after=True), _search(part, row, value, after=False)
        above[pairs] = items - at_most
        tied[pairs] = at_most - below - np.where(value == -np.inf, gone[row], 0)  # the removed ones sit among the -inf
    return TargetRanks(user, above, tied, np.bincount(user, minlength=users), ranked)


def ndcg(scores: np.ndarray, relevant: Sequence[np.ndarray], k: int, allowed: np.ndarray | None = None) -> np.ndarray:
    """float64 (T,): expected discounted gain of the first `k` places over the best possible one, which has
    min(k, number of relevant) relevant items on top. Binary relevance, discount 1 / log2(rank + 1). NaN for a user
    without relevant items. Arguments and errors as for `rank_targets`."""
    return rank_targets(scores, relevant, allowed).ndcg(k)


def recall(scores: np.ndarray, relevant: Sequence[np.ndarray], k: int, allowed: np.ndarray | None = None) -> np.ndarray:
    """float64 (T,): expected share of the relevant items that are in the first `k` places; the denominator is all
    relevant items even where they are more than `k`. NaN for a user without any. Arguments and errors as for `rank_targets`."""
    return rank_targets(scores, relevant, allowed).recall(k)


def hit_rate(scores: np.ndarray, relevant: Sequence[np.ndarray], k: int, allowed: np.ndarray | None = None) -> np.ndarray:
    """float64 (T,): probability that the first `k` places hold at least one relevant item. NaN for a user without any.
    Arguments and errors as for `rank_targets`."""
    return rank_targets(scores, relevant, allowed).hit_rate(k)


def auc(scores: np.ndarray, relevant: Sequence[np.ndarray], allowed: np.ndarray | None = None) -> np.ndarray:
    """float64 (T,): probability that a relevant item outscores another one, a tie counting one half. NaN for a user
    whose items are all relevant or all not. Arguments and errors as for `rank_targets`."""
    return rank_targets(scores, relevant, allowed).auc()


def mrr(scores: np.ndarray, relevant: Sequence[np.ndarray], allowed: np.ndarray | None = None) -> np.ndarray:
    """float64 (T,): expected 1 / rank of the first relevant item. NaN for a user without any. Arguments and errors as
    for `rank_targets`."""
    return rank_targets(scores, relevant, allowed).mrr()


def mean_average_precision(
    scores: np.ndarray, relevant: Sequence[np.ndarray], k: int | None = None, allowed: np.ndarray | None = None
) -> np.ndarray:
    """float64 (T,): expected average precision of each user; their mean is MAP.

    The sum, over the relevant items in the first `k` places, of the share of relevant items among the places down to that
    item, over min(k, number of relevant). That is the best the sum can be, so that 1 can be reached where `k` places cannot
    hold all relevant items, as for `ndcg`; TREC's definition (and that of ranx) divides by all of them, and the two are one
    where `k` is None, which means the whole ranking. NaN for a user without any. Arguments and errors as for `rank_targets`.
    """
    return rank_targets(scores, relevant, allowed).mean_average_precision(k)


def _pairs(relevant: Sequence[np.ndarray], items: int) -> tuple[np.ndarray, np.ndarray]:
    """Distinct (user, item) pairs, int64 (P,) each, users ascending."""
    counts = np.array([len(wanted) for wanted in relevant], np.int64)
    wanted = np.concatenate([np.asarray(w) for w in relevant if len(w)]) if counts.sum() else np.zeros(0, np.int64)
    if not np.issubdtype(wanted.dtype, np.integer):
        raise DataError(f"relevant: expected arrays of item indices (int), got {wanted.dtype}; use np.flatnonzero on a mask")
    if len(wanted) and not 0 <= wanted.min() <= wanted.max() < items:
        raise DataError(f"relevant: expected item indices in 0..{items - 1}, got {wanted.min()}..{wanted.max()}")
    key = np.unique(np.repeat(np.arange(len(counts)), counts) * items + wanted.astype(np.int64))
    return np.divmod(key, max(items, 1))


def _search(ascending: np.ndarray, row: np.ndarray, value: np.ndarray, after: bool) -> np.ndarray:
    """int64 (P,): np.searchsorted of each value in its own row of a (rows, N) array, all pairs in step."""
    low, high = np.zeros(len(row), np.int64), np.full(len(row), ascending.shape[1])
    while (low < high).any():
        middle = (low + high) // 2
        here = ascending[row, np.minimum(middle, ascending.shape[1] - 1)]
        right = (here <= value if after else here < value) & (low < high)
        low, high = np.where(right, middle + 1, low), np.where(right, high, middle)
    return low


def _relevant_around(user: np.ndarray, above: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int64 (P,) each: how many of a user's relevant items lie strictly higher, and how many share the score (itself too).
    user, above: as in `TargetRanks`, sorted by both."""
    new = np.ones(len(user), bool)
    new[1:] = (np.diff(user) != 0) | (np.diff(above) != 0)
    tie, first = np.cumsum(new) - 1, np.flatnonzero(new)
    return first[tie] - np.searchsorted(user, user), np.diff(first, append=len(user))[tie]


def _cumulative(gain: np.ndarray) -> np.ndarray:
    return np.concatenate([[0.0], np.cumsum(gain)])


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=np.asarray(whole) > 0)


def _fill(mask: np.ndarray, values: np.ndarray) -> np.ndarray:
    out = np.full(len(mask), np.nan)
    out[mask] = values
    return out


def _at_least_one(k: int) -> int:
    if k < 1:
        raise DataError(f"k: expected at least 1 place, got {k}")
    return k
