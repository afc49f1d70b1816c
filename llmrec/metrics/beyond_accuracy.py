"""Beyond accuracy: coverage of the catalogue, novelty, and calibration of the first k places.

Axis convention: `T` users (or tasks), `N` items, `C` categories.

As in `metrics`, equal scores say nothing about order: of items tied at the k-th place each has the same chance to be shown,
and the measures are taken over these chances. So a model that scores everything alike covers what random lists cover.
`allowed` is as for `metrics.place`: an item that is not allowed leaves the ranking; `-inf` only ranks last.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy import sparse

from llmrec.errors import DataError

_CELLS = 1 << 22  # cells ranked at once: a few copies of 32 MB


def coverage(scores: np.ndarray, k: int, allowed: np.ndarray | None = None) -> float:
    """Share of the catalogue that is in the first `k` places of at least one user, in 0 ... 1; 0 without users.

    scores: float (T, N), higher is better. The denominator is all N items, allowed or not. Ties of different users are
    broken independently, and the expected share is returned. It grows with the number of users: compare like with like.
    "Catalogue coverage" of Ge, Delgado-Battenfeld and Jannach, "Beyond accuracy", RecSys 2010.
    Raises DataError for a NaN score, k below 1 and shapes that disagree.
    """
    scores = _scores(scores, k, allowed)
    missed = np.ones(scores.shape[1])
    for _, chance in _shown(scores, k, allowed):
        missed *= np.prod(1 - chance, axis=0)
    return float((1 - missed).sum() / max(len(missed), 1))


def novelty(scores: np.ndarray, count: np.ndarray, k: int, allowed: np.ndarray | None = None) -> np.ndarray:
    """float64 (T,), bits: mean of -log2(popularity share) over the first `k` places. NaN for a user with nothing to show.

    count: float (N,), how often each item was taken in the training data. An item's share is
        (count + 1) / sum(count + 1): the one added gives an item that nobody took the highest novelty, and a finite one.
    Mean self-information of Zhou et al., "Solving the apparent diversity-accuracy dilemma of recommender systems",
    PNAS 107 (2010), with the item's share of all events for its share of users.
    Raises DataError as `coverage`, and for counts that are not N finite numbers of at least 0.
    """
    scores = _scores(scores, k, allowed)
    count = np.asarray(count, np.float64)
    if count.shape != scores.shape[1:] or not np.isfinite(count).all() or (count < 0).any():
        raise DataError(f"count: expected {scores.shape[1]} finite numbers >= 0, one per item, got shape {count.shape}")
    bits = np.log2((count + 1).sum()) - np.log2(count + 1)
    found = np.full(len(scores), np.nan)
    for rows, chance in _shown(scores, k, allowed):
        found[rows] = _ratio((chance * bits).sum(axis=1), chance.sum(axis=1))
    return found


def calibration(
    scores: np.ndarray,
    history: Sequence[np.ndarray],
    categories: np.ndarray | sparse.sparray,
    k: int,
    allowed: np.ndarray | None = None,
    smoothing: float = 0.01,
) -> np.ndarray:
    """float64 (T,), nats: how far the categories of the first `k` places are from those of the history; 0 is calibrated.

    With p the category distribution of the history and q that of the list, the Kullback-Leibler divergence
    sum p log(p / q'), where q' = (1 - smoothing) q + smoothing p keeps it finite; it is at most -log(smoothing), 4.6.
    Steck, "Calibrated recommendations", RecSys 2018, which names 0.01. With ties, q is the expected distribution.

    history: T arrays of item indices; one named twice weighs double.
    categories: (N, C), non-negative, dense or sparse: the categories of each item, for example `one_hot` of a
        column. An item of several categories belongs to each in equal parts (in proportion, if its numbers differ); an
        item without any has no part in p or q.
    NaN for a user whose history, or whose list, has no item with a category.
    Raises DataError as `coverage`, and for histories or categories that do not fit, or smoothing outside (0, 1).
    """
    scores = _scores(scores, k, allowed)
    if not 0 < smoothing < 1:
        raise DataError(f"smoothing: expected 0 < smoothing < 1, got {smoothing}; 0.01 is usual")
    share = _shares(categories, scores.shape[1])
    wanted = _distribution(_counts(history, scores.shape) @ share)
    found = np.full(len(scores), np.nan)
    for rows, chance in _shown(scores, k, allowed):
        p, q = wanted[rows], _distribution(sparse.csr_array(chance) @ share)
        mixed = (1 - smoothing) * q + smoothing * p
        found[rows] = (p * np.log(np.divide(p, mixed, out=np.ones_like(p), where=~(p <= 0)))).sum(axis=1)
    return found


def _shown(scores: np.ndarray, k: int, allowed: np.ndarray | None) -> Iterator[tuple[slice, np.ndarray]]:
    """Blocks of users: their rows, and float64 (rows, N), the chance of each item to be in the first `k` places."""
    users, items = scores.shape
    block = max(1, _CELLS // max(items, 1))
    for first in range(0, users, block):
        rows = slice(first, min(first + block, users))
        may = np.ones((rows.stop - first, items), bool) if allowed is None else allowed[rows]
        if k >= items:
            yield rows, may.astype(np.float64)
            continue
        part = scores[rows]
        if allowed is not None:
            part = np.where(may, part, part.dtype.type(-np.inf))
        cut = np.partition(part, items - k, axis=1)[:, items - k, None]
        above, tied = part > cut, (part == cut) & may
        free = k - np.count_nonzero(above, axis=1, keepdims=True)
        yield rows, above + tied * np.minimum(free / np.maximum(np.count_nonzero(tied, axis=1, keepdims=True), 1), 1.0)


def _scores(scores: np.ndarray, k: int, allowed: np.ndarray | None) -> np.ndarray:
    scores = np.asarray(scores)
    if scores.ndim != 2:
        raise DataError(f"scores: expected (users, items), got shape {scores.shape}; score one user as scores[None, :]")
    if not np.issubdtype(scores.dtype, np.floating):
        scores = scores.astype(np.float64)
    if np.isnan(scores).any():
        row, column = np.argwhere(np.isnan(scores))[0]
        raise DataError(f"scores[{row}, {column}] is NaN: a ranking needs numbers; give -inf to rank an item last")
    if k < 1:
        raise DataError(f"k: expected at least 1 place, got {k}")
    if allowed is not None and (np.shape(allowed) != scores.shape or np.asarray(allowed).dtype != bool):
        raise DataError(f"allowed: expected bool {scores.shape}, got {np.asarray(allowed).dtype} {np.shape(allowed)}")
    return scores


def _shares(categories: np.ndarray | sparse.sparray, items: int) -> sparse.csr_array:
    """float64 sparse (N, C): rows that sum to 1, or to 0 for an item without a category."""
    matrix = sparse.csr_array(categories, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != items:
        raise DataError(f"categories: expected ({items}, categories), one row per item, got shape {matrix.shape}")
    if not np.isfinite(matrix.data).all() or (matrix.data < 0).any():
        raise DataError("categories: expected finite numbers >= 0, how much an item belongs to each category")
    total = matrix.sum(axis=1)
    return (sparse.diags_array(np.divide(1.0, total, out=np.zeros(items), where=total > 0)) @ matrix).tocsr()


def _counts(history: Sequence[np.ndarray], shape: tuple[int, ...]) -> sparse.csr_array:
    """float64 sparse (T, N): how often the history names each item."""
    if len(history) != shape[0]:
        raise DataError(f"history: expected {shape[0]} arrays, one per row of scores, got {len(history)}")
    length = np.array([len(taken) for taken in history], np.int64)
    item = np.concatenate([np.asarray(taken) for taken in history if len(taken)]) if length.sum() else np.zeros(0, np.int64)
    if not np.issubdtype(item.dtype, np.integer):
        raise DataError(f"history: expected arrays of item indices (int), got {item.dtype}")
    if len(item) and not 0 <= item.min() <= item.max() < shape[1]:
        raise DataError(f"history: expected item indices in 0..{shape[1] - 1}, got {item.min()}..{item.max()}")
    return sparse.coo_array((np.ones(len(item)), (np.repeat(np.arange(shape[0]), length), item)), shape=shape).tocsr()


def _distribution(weight: sparse.csr_array) -> np.ndarray:
    """float64 (rows, C): rows that sum to 1; NaN where there is nothing to divide."""
    dense = weight.toarray()
    return _ratio(dense, np.broadcast_to(dense.sum(axis=1, keepdims=True), dense.shape))


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
