"""Candidates: the union of items near in vector space, bought together, bought before, and popular.

Whatever no source brings, no ranker can put on top: `recall` caps everything after it. Report it always, in all and by source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from scipy import sparse

from llmrec.data.cells import product, whole_pays
from llmrec.data.dataset import Dataset
from llmrec.data.tasks import expand_ranges
from llmrec.errors import DataError
from llmrec.index.faiss_index import Index, search
from llmrec.index.filters import isin_sorted
from llmrec.models.counts import user_item_weights

REPEAT, TOGETHER, TEXT, POPULAR = 1, 2, 4, 8
NAMES = {REPEAT: "repeat", TOGETHER: "co-occurrence", TEXT: "text", POPULAR: "popular"}
ROWS = 1024  # items whose neighbours are counted at a time


@dataclass(frozen=True)
class Sources:
    """How many candidates each source proposes at most; 0 turns it off.

    text_k: items nearest to the user vector; if weights of first buyers were learned, also the cold items with the most
        similar texts, at most 100.
    knn_k: items bought by the buyers of the support's items.
    popular_k: items with the highest popularity.
    repeats: True proposes every item of the support; False: only new items, so no source proposes an item of the support.
    """

    text_k: int = 100
    knn_k: int = 100
    popular_k: int = 100
    repeats: bool = True


@dataclass(frozen=True, eq=False)
class Candidates:
    """Candidates of `T` tasks as flat arrays; those of task `t` are `start[t]:start[t + 1]`, distinct and ascending.

    start: int64 (T + 1,).
    item: int32 (C,), internal item index.
    source: uint8 (C,), the sources that proposed it: a sum of REPEAT, TOGETHER, TEXT and POPULAR.
    """

    start: np.ndarray
    item: np.ndarray
    source: np.ndarray

    def __len__(self) -> int:
        return len(self.start) - 1

    @cached_property
    def task(self) -> np.ndarray:
        """int32 (C,): the task of each candidate."""
        return np.repeat(np.arange(len(self), dtype=np.int32), np.diff(self.start))

    def of(self, task: int) -> np.ndarray:
        """int32: the candidates of one task."""
        return self.item[self.start[task] : self.start[task + 1]]

    def padded(self) -> np.ndarray:
        """int32 (T, width of the longest): the candidates of each task, then -1."""
        counts = np.diff(self.start)
        table = np.full((len(self), int(counts.max(initial=0))), -1, np.int32)
        table[np.arange(table.shape[1]) < counts[:, None]] = self.item
        return table


def names(source: np.ndarray) -> list[str]:
    """Values of the column `source` of an answer, such as "repeat+text"; only "popular" alone is not personal."""
    known = ["+".join(name for bit, name in NAMES.items() if code & bit) for code in range(1 + sum(NAMES))]
    return [known[code] for code in source]


def candidates(
    user_vectors: np.ndarray | None,
    index: Index | None,
    support: sparse.csr_array,
    together: sparse.csr_array | None,
    popular: np.ndarray | None,
    sources: Sources,
    allowed: np.ndarray | None = None,
    seen: sparse.csr_array | None = None,
    more: Sequence[tuple[int, np.ndarray, np.ndarray]] = (),
    barred: sparse.csr_array | None = None,
) -> Candidates:
    """The candidates of `T` tasks over `N` items. A source that is turned off may be given None.

    user_vectors, index: float32 (T, d) and the items' index, for text.
    support: csr (T, N), how often (or how much) each task's support holds each item; zeros are not in it.
    together: csr (N, N) from `neighbours`; an item scores the sum over the support of weight times similarity.
    popular: int (P,), distinct items, the most popular first, see `by_popularity`; those that are not in it are not popular.
    allowed: bool (N,) or (T, N), items that may be recommended (in stock, in the scene); it holds for every source.
    seen: csr (T, N), what is not offered where repeats are off, such as what a user disliked; None for the support alone.
    more: sources, and int (P,) tasks and items that each brings beyond the others, such as (POPULAR, tasks, items) for what is
        popular among users like the task's.
    barred: csr bool (T, N), items that single tasks must not get from any source; None for none.
    Ties everywhere go to the lower item, so that the answer is always the same.
    Raises DataError for shapes that do not fit and values that are not finite.
    """
    support = _support(support)
    tasks, items = support.shape
    _check(support.shape, user_vectors, index, together, popular, sources, allowed)
    seen = None if sources.repeats else support if seen is None else _support(seen)
    if barred is not None:
        barred = _support(barred)
        seen = barred if seen is None else _support(seen + barred)
    found: list[tuple[int, np.ndarray, np.ndarray]] = []  # source, tasks, items
    if sources.repeats:
        row, item = _coordinates(support)
        found.append((REPEAT, *_only_allowed(row, item, allowed, barred)))
    if sources.knn_k and together is not None:
        found.append((TOGETHER, *_bought_together(support, together, sources.knn_k, allowed, seen)))
    if sources.text_k and index is not None and user_vectors is not None:
        excluded = None if seen is None else np.split(seen.indices, seen.indptr[1:-1])
        if tasks:
            _, near = search(index, user_vectors, min(sources.text_k, len(index)), allowed, excluded)
            row, place = np.nonzero(near >= 0)
            found.append((TEXT, row, near[row, place]))
    if sources.popular_k and popular is not None:
        found.append((POPULAR, *_popular(tasks, popular, sources.popular_k, allowed, seen)))
    for bit, row, item in more:
        may = _is_allowed(row, item, allowed, seen)
        found.append((bit, row[may], item[may]))
    return _united(found, tasks, items)


def united(parts: Sequence[Candidates], items: int) -> Candidates:
    """Candidates of the same T tasks over `items` items, from several searches, as one: each item once, by all its sources."""
    found = [(part.source, part.task, part.item) for part in parts]
    return _united(found, len(parts[0]), items)


def _united(found: Sequence[tuple[int | np.ndarray, np.ndarray, np.ndarray]], tasks: int, items: int) -> Candidates:
    key = np.concatenate([np.zeros(0, np.int64), *(row.astype(np.int64) * items + item for _, row, item in found)])
    bits = np.concatenate([np.zeros(0, np.uint8), *(np.broadcast_to(np.uint8(bit), len(row)) for bit, row, _ in found)])
    order = np.argsort(key, kind="stable")
    key, bits = key[order], bits[order]
    first = np.flatnonzero(np.diff(key, prepend=-1))
    source = np.bitwise_or.reduceat(bits, first) if len(first) else bits
    start = np.searchsorted(key[first], np.arange(tasks + 1, dtype=np.int64) * items)
    return Candidates(start.astype(np.int64), (key[first] % max(items, 1)).astype(np.int32), source)


def recall(found: Candidates, relevant: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Per task the share of its relevant items that are candidates: float64 (T,), NaN for a task without relevant items.

    relevant: per task an array of distinct internal item indices, as `Tasks.relevant` gives.
    Returns "all", and by name the recall of every source alone.
    """
    if len(relevant) != len(found):
        raise DataError(
            f"relevant: expected one array for each of {len(found)} tasks, got {len(relevant)}; pass the same tasks"
        )
    counts = np.array([len(items) for items in relevant], np.int64)
    wanted = np.concatenate([np.zeros(0, np.int64), *relevant]).astype(np.int64)
    span = 1 + max(wanted.max(initial=0), found.item.max(initial=0))
    hit = np.isin(found.task.astype(np.int64) * span + found.item, np.repeat(np.arange(len(found)), counts) * span + wanted)
    whole = np.where(counts > 0, counts, np.nan)
    answer = {"all": np.bincount(found.task[hit], minlength=len(found)) / whole}
    for bit, name in NAMES.items():
        answer[name] = np.bincount(found.task[hit & (found.source & bit > 0)], minlength=len(found)) / whole
    return answer


def neighbours(dataset: Dataset, users: np.ndarray, k: int = 100, shrink: float = 10.0) -> sparse.csr_array:
    """Items bought by the same users: csr float32 (N, N), row by row the k most similar other items, columns ascending.

    Similarity is c_ij / (sqrt(c_i c_j) + shrink), c_i users with item i and c_ij with both: the cosine, pulled to zero where
    few users speak for it. Ties go to the lower item. With sample weights, c_ij is the sum over users of w_i w_j and c_i that
    of w_i squared, where w_i is the largest weight of the user's events with item i.

    users: indices of the users to count: training users, never those to be tested on.
    Raises DataError for k below 1 or a negative shrink.
    """
    if k < 1 or not shrink >= 0:
        raise DataError(f"k, shrink: expected k >= 1 and shrink >= 0, got {k} and {shrink}")
    part = dataset.take(users).counted
    bought = user_item_weights(part)
    root = np.sqrt(np.bincount(bought.indices, bought.data**2, part.n_items))
    if part.sample_weight is None:
        bought = bought.astype(np.float32)  # counts of users are exact in it
    by_item, blocks = bought.T.tocsr(), []
    for first in range(0, part.n_items, ROWS):
        both = (by_item[first : first + ROWS] @ bought).tocsr()
        row, item = _coordinates(both)
        both.data = np.where(row + first == item, 0, both.data / (root[row + first] * root[item] + shrink)).astype(np.float32)
        blocks.append(_top(both, k))
    found = sparse.vstack(blocks, format="csr") if blocks else sparse.csr_array((0, 0), dtype=np.float32)
    found.sort_indices()
    return found


def _top(scores: sparse.csr_array, k: int) -> sparse.csr_array:
    """The k largest positive entries of each row; of equal ones those in the lower columns. Columns come in no order."""
    keep = scores.data > 0
    for row in np.flatnonzero(np.diff(scores.indptr) > k):
        part = slice(scores.indptr[row], scores.indptr[row + 1])
        data = scores.data[part]
        edge = np.partition(data, len(data) - k)[len(data) - k]
        if edge > 0:
            above, level = data > edge, np.flatnonzero(data == edge)
            level = level[np.argsort(scores.indices[part][level])]
            above[level[: k - np.count_nonzero(above)]] = True
            keep[part] = above
    indptr = np.concatenate([[0], np.cumsum(keep)])[scores.indptr]
    return sparse.csr_array((scores.data[keep], scores.indices[keep], indptr), shape=scores.shape)


def _bought_together(
    support: sparse.csr_array, together: sparse.csr_array, k: int, allowed: np.ndarray | None, seen: sparse.csr_array | None
) -> tuple[np.ndarray, np.ndarray]:
    """Where few terms are added up, task by task, so that nothing is as long as the catalogue."""
    terms = np.diff(together.indptr)[support.indices].sum() if support.nnz else 0
    if whole_pays(support.shape[0], int(terms), support.shape[1]):
        scores = product(support, together)  # adds up in the order of the support, as below
        row, item = _coordinates(scores)
        scores.data[~_is_allowed(row, item, allowed, seen)] = 0
        return _coordinates(_top(scores, k))
    rows, items = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for task, (first, stop) in enumerate(pairwise(support.indptr)):
        held = support.indices[first:stop]
        owner, place = expand_ranges(together.indptr[held], together.indptr[held + 1])
        item, at = np.unique(together.indices[place], return_inverse=True)
        score = np.zeros(len(item), np.float32)
        np.add.at(score, at, support.data[first:stop][owner] * together.data[place])
        keep = (score > 0) & _is_allowed(np.full(len(item), task), item, allowed, seen)
        item, score = item[keep], score[keep]
        if len(item) > k:  # of equal scores the lower items
            item = item[np.argsort(-score, kind="stable")[:k]]
        rows.append(np.full(len(item), task))
        items.append(item)
    return np.concatenate(rows), np.concatenate(items)


def by_popularity(popularity: np.ndarray) -> np.ndarray:
    """int64 (N,): all items, the most popular first, the lower item among equals. popularity: (N,).

    Raises DataError for values that are not finite.
    """
    if not np.isfinite(popularity).all():
        raise DataError("popularity: expected finite numbers, got NaN or infinity; count events, 0 for none")
    return np.argsort(-popularity, kind="stable")


def first_allowed(order: np.ndarray, count: int, allowed: np.ndarray | None) -> np.ndarray:
    """The first `count` items of `order` (int (P,)) that are `allowed` (bool (N,), None for all), or as many as there are.

    Looks no further than it must: at `count` items, and then at twice as many each time.
    """
    if allowed is None:
        return order[:count]
    width = max(count, 1)
    while True:
        found = order[:width][allowed[order[:width]]]
        if len(found) >= count or width >= len(order):
            return found[:count]
        width *= 2


def _popular(
    tasks: int, popular: np.ndarray, k: int, allowed: np.ndarray | None, seen: sparse.csr_array | None
) -> tuple[np.ndarray, np.ndarray]:
    """Each task takes the first k allowed items of one popularity list."""
    if allowed is None or allowed.ndim == 1:  # none has to look further than this
        best = first_allowed(popular, k + (0 if seen is None else int(np.diff(seen.indptr).max(initial=0))), allowed)
        allowed = None
    else:
        best = popular
    row, item = np.repeat(np.arange(tasks), len(best)), np.tile(best, tasks)
    may = _is_allowed(row, item, allowed, seen).reshape(tasks, len(best))
    row, place = np.nonzero(may & (np.cumsum(may, axis=1) <= k))
    return row, best[place]


def _is_allowed(row: np.ndarray, item: np.ndarray, allowed: np.ndarray | None, seen: sparse.csr_array | None) -> np.ndarray:
    """bool: which (task, item) pairs are allowed and not seen."""
    may = np.ones(len(row), bool)
    if allowed is not None:
        may &= allowed[item] if allowed.ndim == 1 else allowed[row, item]
    if seen is not None and seen.nnz:
        known_row, known = _coordinates(seen)
        keys = known_row.astype(np.int64) * seen.shape[1] + known  # ascending: rows in order, columns sorted
        may &= ~isin_sorted(row.astype(np.int64) * seen.shape[1] + item, keys)
    return may


def _only_allowed(
    row: np.ndarray, item: np.ndarray, allowed: np.ndarray | None, barred: sparse.csr_array | None
) -> tuple[np.ndarray, np.ndarray]:
    may = _is_allowed(row, item, allowed, barred)
    return row[may], item[may]


def _coordinates(table: sparse.csr_array) -> tuple[np.ndarray, np.ndarray]:
    return np.repeat(np.arange(table.shape[0]), np.diff(table.indptr)), table.indices


def _support(support: sparse.csr_array) -> sparse.csr_array:
    support = sparse.csr_array(support, dtype=np.float32, copy=True)
    support.eliminate_zeros()
    support.sort_indices()
    return support


def _check(
    shape: tuple[int, int],
    user_vectors: np.ndarray | None,
    index: Index | None,
    together: sparse.csr_array | None,
    popular: np.ndarray | None,
    sources: Sources,
    allowed: np.ndarray | None,
) -> None:
    tasks, items = shape
    if min(sources.text_k, sources.knn_k, sources.popular_k) < 0:
        raise DataError(f"sources: expected counts from 0 on, got {sources}; 0 turns a source off")
    if sources.text_k:
        if index is None or user_vectors is None:
            raise DataError("index, user_vectors: expected both for text candidates, got None; pass them or set text_k=0")
        if len(user_vectors) != tasks or index.ids[-1] >= items:
            raise DataError(
                f"user_vectors, index: expected {tasks} vectors and items below {items} as in support, "
                f"got {len(user_vectors)} and an item {index.ids[-1]}; make both from the same tasks and catalogue"
            )
    if sources.knn_k and (together is None or together.shape != (items, items)):
        raise DataError(
            f"together: expected shape {(items, items)}, got {None if together is None else together.shape}; "
            "make it from the same catalogue, or turn the source off"
        )
    if sources.popular_k and (popular is None or popular.ndim != 1 or popular.dtype.kind != "i" or len(popular) > items):
        got = None if popular is None else f"{popular.dtype} {popular.shape}"
        raise DataError(
            f"popular: expected at most {items} items as int (P,), the most popular first, got {got}; "
            "use by_popularity, or turn the source off"
        )
    if allowed is not None and (allowed.dtype != bool or allowed.shape not in ((items,), (tasks, items))):
        raise DataError(f"allowed: expected bool ({items},) or ({tasks}, {items}), got {allowed.dtype} {allowed.shape}")
