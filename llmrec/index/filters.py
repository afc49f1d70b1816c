"""Checks of the arrays given to an index, and filters over its rows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from llmrec.errors import DataError

TABLE = 1 << 27  # bytes that a look-up table may take


class Filter:
    """Who may get what. Everything here speaks of rows of the index, not of items.

    rows: int64, the rows that some query may get, listed only when asked for; count: how many; whole: whether these are all.
    allowance: how many more to fetch for the exclusions of most queries; the few with many are asked again.
    """

    def __init__(self, ids: np.ndarray, n: int, allowed: np.ndarray | None, excluded: Sequence[np.ndarray] | None):
        self.ids, self.own = ids, None
        self.some: np.ndarray | None = None
        self.allowance = 0
        self.pairs = np.zeros(0, np.int64)
        if allowed is not None:
            allowed = np.asarray(allowed)
            if allowed.dtype != bool or allowed.ndim not in (1, 2) or (allowed.ndim == 2 and len(allowed) != n):
                raise DataError(
                    f"allowed: expected bool of shape (n_items,) or ({n}, n_items), got {allowed.dtype} {allowed.shape}; "
                    "make a mask with one entry per catalogue item"
                )
            if allowed.shape[-1] <= ids[-1]:
                raise DataError(f"allowed: expected more than {ids[-1]} items, got {allowed.shape[-1]}; cover the catalogue")
            self.own = allowed if allowed.ndim == 2 else None
            self.some = np.flatnonzero(np.logical_or.reduce(np.atleast_2d(allowed), axis=0)[ids])
        if excluded is not None:
            if len(excluded) != n:
                raise DataError(f"excluded: expected one array for each of {n} queries, got {len(excluded)}; use empty arrays")
            counts = [len(items) for items in excluded]
            items = np.concatenate([np.zeros(0, np.int64), *(np.asarray(part, np.int64) for part in excluded)])
            query, held = np.repeat(np.arange(n), counts), (items >= 0) & (items <= ids[-1])
            self.pairs = np.sort(self._pair(query[held], items[held]))
            self.allowance = 2 * len(items) // max(n, 1)
        self.count = len(ids) if self.some is None else len(self.some)
        self.whole = self.count == len(ids)

    @cached_property
    def rows(self) -> np.ndarray:
        return np.arange(len(self.ids)) if self.some is None else self.some

    def _pair(self, query: np.ndarray, item: np.ndarray) -> np.ndarray:
        return query * (self.ids[-1] + 1) + item

    def of(self, query: int) -> np.ndarray:
        """int64: the rows that one query may get."""
        return self.rows[~self.drops(np.array([query]), self.rows[None])[0]]

    def drops(self, query: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """bool like `rows` (q, w): which of the rows, all from `self.rows` or -1, the queries (q,) must not get."""
        item, query = self.ids[rows], query[:, None]
        gone = rows < 0
        if self.own is not None:
            gone = gone | ~self.own[query, item]
        if len(self.pairs):
            gone = gone | isin_sorted(self._pair(query, item), self.pairs)
        return gone


def isin_sorted(wanted: np.ndarray, known: np.ndarray) -> np.ndarray:
    """bool like `wanted` (int64, from 0 on): which are in `known` (int64 (n,), ascending)."""
    if len(known) == 0 or wanted.size == 0:
        return np.zeros(wanted.shape, bool)
    span = int(max(known[-1], wanted.max())) + 1
    if span <= min(TABLE, 64 * (wanted.size + len(known))):  # several times faster than to bisect
        table = np.zeros(span, bool)
        table[known] = True
        return table[wanted]
    return known[np.minimum(np.searchsorted(known, wanted), len(known) - 1)] == wanted


def matrix(values: np.ndarray, name: str, width: int | None = None) -> np.ndarray:
    """`values` as float32 (rows, width), not copied if it is that already; a DataError names the rows that are not finite."""
    with np.errstate(over="ignore"):  # becomes infinite, and is named below
        values = np.ascontiguousarray(values, np.float32)
    if values.ndim != 2 or values.shape[1] != (width or max(values.shape[1], 1)):
        raise DataError(
            f"{name}: expected shape (rows, {width or 'd'}), got {values.shape}; encode them with the model of the index"
        )
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
        raise DataError(f"{name}: rows {some(np.flatnonzero(~finite))} hold values that are not finite; encode them again")
    return values


def item_ids(ids: np.ndarray, n: int) -> np.ndarray:
    """`ids` as int64 (n,), copied; a DataError names those that are negative or given twice."""
    ids = np.array(ids)
    if ids.shape != (n,) or (n and not np.issubdtype(ids.dtype, np.integer)):
        raise DataError(
            f"ids: expected {n} integers, one for each vector, got {ids.dtype} {ids.shape}; use internal item indices"
        )
    values, counts = np.unique(ids, return_counts=True)
    wrong = values[(counts > 1) | (values < 0)]
    if len(wrong):
        raise DataError(f"ids: {some(wrong)} are negative or given twice; give each item one index from 0 on")
    return ids.astype(np.int64)


def some(values: np.ndarray) -> str:
    """The first few of many, for a message."""
    return ", ".join(map(str, values[:5].tolist())) + (f" and {len(values) - 5} more" if len(values) > 5 else "")
