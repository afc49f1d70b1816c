"""Sparse tables over the catalogue, read at the cost of the rows and cells that are asked for."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from llmrec.data.tasks import expand_ranges

BLOCK = 1 << 22  # cells of a dense table that is made at a time, at most


def whole_pays(rows: int, terms: int, cells: int) -> bool:
    """Whether a sparse product of so many rows and terms is sooner made as a whole, in time that also grows with the `cells` of
    a dense table, than row by row: by what each takes in nanoseconds on one core, calls of NumPy and scipy included."""
    return 300_000 + 2 * cells < 40_000 * rows + 15 * terms


def cells(table: sparse.csr_array, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Entries (C,) of a csr table without duplicates at the cells (row, column), int (C,) each; 0 where none is stored.

    The columns of the table are put into ascending order in place.
    """
    table.sort_indices()
    n = table.shape[1]
    keys = np.repeat(np.arange(table.shape[0], dtype=np.int64), np.diff(table.indptr)) * n + table.indices
    wanted = row.astype(np.int64) * n + column
    if not len(keys):
        return np.zeros(len(wanted), np.float32)
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, table.data[place], 0.0)


def product(left: sparse.csr_array, right: sparse.csr_array) -> sparse.csr_array:
    """`left @ right` in the types of `right`: of mixed types scipy copies all of `right`, even for a single row of `left`."""
    index = right.indices.dtype
    parts = left.data.astype(right.dtype), left.indices.astype(index), left.indptr.astype(index)
    return sparse.csr_array(sparse.csr_array(parts, shape=left.shape) @ right)


def product_at(
    start: np.ndarray,
    column: np.ndarray,
    weights: np.ndarray,
    right: sparse.csr_array,
    cell_start: np.ndarray,
    cell: np.ndarray,
) -> np.ndarray:
    """Entries float64 (W, C) of W products `left @ right` at some cells. Where the terms are few, nothing as long as a row of
    `right` is made; where they are many, BLOCK cells of the products at a time.

    start: int (T + 1,), where the entries of each row of `left` begin. column: int (H,), their columns, the same in all W.
    weights: float64 (W, H), their values. right: csr without duplicates. cell_start: int (T + 1,), where the cells of each row
    begin. cell: int (C,), their columns, distinct within a row. What a cell comes to does not depend on the other rows.
    """
    found, some = np.zeros((len(weights), len(cell))), weights.any(0)
    if not some.all():  # such as of baskets that lie too far back
        start, column, weights = np.concatenate([[0], np.cumsum(some)])[start], column[some], weights[:, some]
    terms = np.concatenate([[0], np.cumsum(right.indptr[column + 1] - right.indptr[column])])[start]
    step = max(1, BLOCK // right.shape[1])
    for first in range(0, len(start) - 1, step):
        rows = slice(first, min(first + step, len(start) - 1))
        part = start[first : rows.stop + 1], column, weights, right, cell_start[first : rows.stop + 1], cell, found
        cells = (rows.stop - first) * right.shape[1]
        if whole_pays(rows.stop - first, int(terms[rows.stop] - terms[first]), cells):
            _read_from_dense(*part)
        else:
            _look_up(*part)
    return found


def _read_from_dense(
    start: np.ndarray,
    column: np.ndarray,
    weights: np.ndarray,
    right: sparse.csr_array,
    cell_start: np.ndarray,
    cell: np.ndarray,
    found: np.ndarray,
) -> None:
    """Cells `cell_start[0] ... cell_start[-1]` of `found` out of the whole products, made one after the other."""
    mine, here = slice(start[0], start[-1]), slice(cell_start[0], cell_start[-1])
    used, place = np.unique(column[mine], return_inverse=True)
    some = sparse.csr_array(right[used], dtype=np.float64)  # adds up in the order of the columns, as `_look_up` does
    row, shape = np.repeat(np.arange(len(start) - 1), np.diff(cell_start)), (len(start) - 1, len(used))
    for values, weight in zip(found, weights, strict=True):
        left = sparse.csr_array((weight[mine], place.astype(some.indices.dtype), start - start[0]), shape=shape)
        values[here] = product(left, some).toarray()[row, cell[here]]


def _look_up(
    start: np.ndarray,
    column: np.ndarray,
    weights: np.ndarray,
    right: sparse.csr_array,
    cell_start: np.ndarray,
    cell: np.ndarray,
    found: np.ndarray,
) -> None:
    """The same cells row by row, to the same bits; nothing as long as a row of `right` is made."""
    for t in range(len(start) - 1):
        mine, cells_here = slice(start[t], start[t + 1]), slice(cell_start[t], cell_start[t + 1])
        owner, place = expand_ranges(right.indptr[column[mine]], right.indptr[column[mine] + 1])
        asked = cell[cells_here]
        if not len(place) or not len(asked):
            continue
        order = np.argsort(asked, kind="stable")
        asked, met = asked[order], right.indices[place]
        at = np.minimum(np.searchsorted(asked, met), len(asked) - 1)
        hit = np.flatnonzero(asked[at] == met)
        at, owner, value = at[hit], owner[hit], right.data[place[hit]].astype(np.float64)
        for row, weight in zip(found, weights, strict=True):
            row[cell_start[t] + order] = np.bincount(at, weight[mine][owner] * value, len(asked))
