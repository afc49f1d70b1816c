"""Baselines that score an item by its relation to each item of the history: item kNN, EASE, windowed Markov.

Axis convention: `T` tasks, `U` training users, `N` items; the first axis of an (N, N) matrix is the item of the history.
The products run row by row through scipy's sparse kernels, not through BLAS, whose rounding depends on the batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse
from scipy.linalg import lapack

from llmrec.data.dataset import Dataset
from llmrec.data.tasks import Tasks
from llmrec.errors import DataError
from llmrec.models.counts import (
    basket_items,
    check_decay,
    same_catalogue,
    support_counts,
    user_item_weights,
    user_items,
    user_of_baskets,
)

_CELLS = 1 << 21  # pairs of items compared at once: 120 MB where each pair shares a user
_EXACT_ITEMS = 12_500  # up to here the (N, N) system of EASE is solved in float64, 1.25 GB


@dataclass(frozen=True)
class ItemKnn:
    """Summed similarity to the history. similarity: float64 sparse (N, N). decay: of the history, per basket back."""

    similarity: sparse.csr_array
    decay: float
    name: str = "item kNN"

    def scores(self, tasks: Tasks) -> np.ndarray:
        """float32 (T, N); all zero for an empty history."""
        same_catalogue(tasks, self.similarity.shape[0])
        return (support_counts(tasks, self.decay) @ self.similarity).toarray().astype(np.float32)


def fit_item_knn(
    dataset: Dataset,
    users: np.ndarray,
    neighbours: int = 200,
    shrink: float = 0.0,
    log: bool = False,
    decay: float = 1.0,
    include_self: bool = False,
) -> ItemKnn:
    """Cosine between the items' columns of the users x items matrix, only the most similar `neighbours` of each item (Sarwar
    et al., WWW 2001).

    Where events have sample weights, each entry is multiplied by the largest weight of the user's events with the item. A
    cosine knows no scale: where all users weigh an item alike, only `shrink` tells a small weight from a large one.
    shrink: added to the product of norms, so that two items shared by few users do not count as alike.
    log: entries log(1 + baskets) instead of 1. decay: weight of the history per basket back, in (0, 1].
    include_self: an item is its own neighbour with similarity 1, beside the others. Needed if people buy again; without
        it an item of the history is scored by the rest of the history only.
    Items as similar as the last neighbour are all kept, so that the order of the catalogue never decides.
    """
    check_decay(decay)
    if neighbours < 1 or shrink < 0:
        raise DataError(f"expected neighbours >= 1 and shrink >= 0, got neighbours={neighbours} and shrink={shrink}")
    matrix = interactions(dataset, users, log)
    items = matrix.shape[1]
    norm = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=0)).ravel())
    columns, parts = matrix.tocsc(), []
    block = max(1, _CELLS // max(items, 1))
    for first in range(0, items, block):
        similar = (columns[:, first : first + block].T.tocsr() @ matrix).tocsr()
        length = np.diff(similar.indptr)
        row = first + np.repeat(np.arange(len(length)), length)
        similar.data /= np.maximum(norm[row] * norm[similar.indices] + shrink, np.finfo(float).tiny)
        similar.data[row == similar.indices] = 0
        for one in np.flatnonzero(length > neighbours):  # most items share users with fewer: nothing to cut there
            there = similar.data[similar.indptr[one] : similar.indptr[one + 1]]
            there[there < np.partition(there, len(there) - neighbours)[-neighbours]] = 0
        similar.eliminate_zeros()
        similar.sort_indices()
        parts.append(similar)
    similarity = sparse.vstack(parts, format="csr") if parts else sparse.csr_array((items, items))
    if include_self:
        similarity = similarity + sparse.eye_array(items, format="csr")
    return ItemKnn(similarity.tocsr(), decay)


@dataclass(frozen=True)
class Ease:
    """Ridge regression of every item on all others. weight: float32 (N, N). decay: of the history, per basket back."""

    weight: np.ndarray
    decay: float
    name: str = "EASE"

    def scores(self, tasks: Tasks) -> np.ndarray:
        """float32 (T, N); all zero for an empty history."""
        same_catalogue(tasks, len(self.weight))
        return support_counts(tasks, self.decay).astype(np.float32) @ self.weight


def fit_ease(
    dataset: Dataset,
    users: np.ndarray,
    ridge: float,
    log: bool = False,
    decay: float = 1.0,
    repeat: float = 0.0,
    exact: bool | None = None,
) -> Ease:
    """The closed form of EASE: with P the inverse of X'X + ridge I, weights -P[i, j] / P[j, j] and a zero diagonal (Steck, WWW
    2019).

    X is the users x items matrix with sample weights, as for `fit_item_knn`; without them it holds ones.
    ridge: above zero; about 10 to 1,000. log, decay: as for `fit_item_knn`.
    repeat: weight of an item's own history count. 0 is EASE, which scores a purchased item by other items only; if
        people buy again, set it above zero (1 makes a purchase count like a perfect predictor of itself).
    exact: solve in float64; None up to 12,500 items (about a minute and 3 GB at 12,000), above that in float32 to save memory.
    Raises DataError for a ridge of zero or below.
    """
    check_decay(decay)
    if not ridge > 0:
        raise DataError(f"ridge: expected a number above 0, got {ridge}; without it an unbought item makes the system singular")
    matrix = interactions(dataset, users, log)
    weight = ease_weights(matrix, ridge, matrix.shape[1] <= _EXACT_ITEMS if exact is None else exact)
    weight[np.diag_indices_from(weight)] = repeat
    return Ease(weight, decay)


def ease_weights(matrix: sparse.csr_array, ridge: float, exact: bool) -> np.ndarray:
    """float32 (n, n): the weights of EASE for a matrix users x items (U, n), from the row's item to the column's; -1 on the
    diagonal. exact: solve in float64. Raises DataError where the system cannot be solved."""
    gram = (matrix.T @ matrix).astype(np.float64 if exact else np.float32).toarray(order="F")
    gram[np.diag_indices_from(gram)] += ridge
    factor, invert = (lapack.dpotrf, lapack.dpotri) if exact else (lapack.spotrf, lapack.spotri)
    # in place, half the work of a general inverse; positive definite because ridge > 0
    inverse, failed = factor(gram, lower=1, overwrite_a=1)
    if failed == 0:
        inverse, failed = invert(inverse, lower=1, overwrite_c=1)
    if failed:
        raise DataError(f"ridge: the system is not positive definite with ridge={ridge}; take a larger one")
    _mirror(inverse)
    return np.ascontiguousarray(inverse / -np.diag(inverse), dtype=np.float32)


@dataclass(frozen=True)
class Markov:
    """What others bought soon after the items of the last baskets.

    follows: float64 sparse (N, N), chance of the column in the baskets after the row, less what shrinkage took. With sample
        weights it is the mean over cuts of the column item's largest weight there, 0 where it is absent.
    exit_rate: float64 (N,), the share that shrinkage took from the row and gave to `prior`.
    prior: float64 (N,), chance of each item in the baskets after any basket, with sample weights as for `follows`.
    last: baskets of the history that are read. decay: their weight per basket back.
    usual: `mean_prior` of the catalogue that was counted, where this is over another one; None for the mean of `prior`.
    """

    follows: sparse.csr_array
    exit_rate: np.ndarray
    prior: np.ndarray
    last: int
    decay: float
    name: str = "windowed Markov"
    usual: float | None = None

    @cached_property
    def mean_prior(self) -> float:
        """The mean of `prior` over the items that were counted, taken once."""
        return float(self.prior.mean()) if self.usual is None else self.usual

    def scores(self, tasks: Tasks) -> np.ndarray:
        """float32 (T, N); `prior` for an empty history."""
        same_catalogue(tasks, len(self.prior))
        history = support_counts(tasks, self.decay, self.last)
        given = history @ self.exit_rate + (np.diff(history.indptr) == 0)
        return ((history @ self.follows).toarray() + given[:, None] * self.prior).astype(np.float32)


def fit_markov(
    dataset: Dataset, users: np.ndarray, last: int = 5, horizon: int = 10, shrink: float = 10.0, decay: float = 1.0
) -> Markov:
    """Counts of the items in the next `horizon` baskets given the items in the last `last`, at every cut of every history.

    An item i is followed by j with chance (count[i, j] + shrink * prior[j]) / (cuts[i] + shrink): after `shrink` cuts,
    an item's own followers weigh as much as the prior. Windows are shorter at both ends of a
    history, and an item that is twice in one counts once. A task's score is the sum over the history, see `Markov`.

    Sample weights apply to what follows: j adds the largest weight of its events in the window to count[i, j] and to the
    prior. What precedes is read in full, so `cuts` is not weighted. No chance is above the largest weight, which is 1 where no
    event counts more.
    Raises DataError for windows below one basket and a negative shrink.
    """
    check_decay(decay)
    if last < 1 or horizon < 1 or shrink < 0:
        raise DataError(f"expected last >= 1, horizon >= 1, shrink >= 0; got last={last}, horizon={horizon}, shrink={shrink}")
    train = dataset.take(users).counted
    baskets = basket_items(train)
    ordinal = np.arange(baskets.shape[0])
    begin, end = train.first_basket[:-1], train.first_basket[1:]
    user = user_of_baskets(train)
    cut = ordinal[ordinal > begin[user]]  # between a basket and the one before it
    before = _any_of(baskets, np.maximum(begin[user[cut]], cut - last), cut)
    if train.sample_weight is None:
        after = _any_of(baskets, cut, np.minimum(end[user[cut]], cut + horizon))
    else:
        after = _most_within(baskets, user, horizon)[cut]
    together = (before.T @ after).tocsr()
    cuts = np.asarray(before.sum(axis=0)).ravel()
    base = np.asarray(after.sum(axis=0)).ravel() / max(len(cut), 1)
    whole = np.maximum(cuts + shrink, np.finfo(float).tiny)
    taken = np.where(cuts + shrink > 0, shrink / whole, 1.0)
    return Markov((sparse.diags_array(1 / whole) @ together).tocsr(), taken, base, last, decay)


def interactions(dataset: Dataset, users: np.ndarray, log: bool) -> sparse.csr_array:
    """float64 (U, N): 1 where the user bought the item, or log(1 + number of baskets); times the largest sample weight of the
    user's events with the item."""
    part = dataset.take(users).counted
    matrix = user_items(part)
    matrix.data = np.log1p(matrix.data) if log else np.ones_like(matrix.data)
    return matrix if part.sample_weight is None else sparse.csr_array(matrix.multiply(user_item_weights(part)))


def _any_of(baskets: sparse.csr_array, first: np.ndarray, stop: np.ndarray) -> sparse.csr_array:
    """float64 (len(first), N): 1 where any of the baskets `first[c] ... stop[c] - 1` holds the item."""
    length = stop - first
    edge = np.concatenate([[0], np.cumsum(length)])
    member = np.repeat(first - edge[:-1], length) + np.arange(edge[-1])
    windows = sparse.csr_array((np.ones(len(member)), member, edge), shape=(len(first), baskets.shape[0])) @ baskets
    windows.data = np.ones_like(windows.data)
    return windows


def _most_within(baskets: sparse.csr_array, user: np.ndarray, horizon: int) -> sparse.csr_array:
    """float64 (B, N): the largest weight of the item in the basket and the `horizon` - 1 after it of the same user.

    baskets: float64 (B, N), weights above 0. user: int64 (B,), ascending.
    """
    span, ordinal = 1, np.arange(len(user))
    horizon = min(horizon, int(np.bincount(user).max(initial=1)))
    while span < horizon:  # the window of each basket is joined to the one that begins `step` later
        step = min(span, horizon - span)
        here = ordinal[:-step][user[:-step] == user[step:]]
        later = sparse.csr_array((np.ones(len(here)), (here, here + step)), shape=(len(user), len(user)))
        baskets = baskets.maximum(later @ baskets).tocsr()
        span += step
    return baskets


def _mirror(lower: np.ndarray) -> None:
    """Copy the lower triangle of a square matrix onto the upper one, in place and block by block."""
    block = 1024
    for first in range(0, len(lower), block):
        stop = first + block
        corner = np.tril(lower[first:stop, first:stop])
        lower[first:stop, first:stop] = corner + np.tril(corner, -1).T
        lower[first:stop, stop:] = lower[stop:, first:stop].T
