"""Sparse tables over the catalogue, read at the cost of the rows and cells that are asked for."""

from __future__ import annotations

import numpy as np
from scipy import sparse


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
