"""Categories and words as sparse counts, one row per item."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy import sparse

from llmrec.errors import DataError


def one_hot(values: Iterable, separator: str | None = None, name: str = "values") -> sparse.csr_array:
    """float64 sparse (N, C): 1 where the item has the value; the columns are the distinct values, ascending as text.

    values: per item a text, a whole number, a boolean, None, or a list of these. separator: cuts each text into several.
    Raises DataError, by `name`, for a float: cut quantities into ranges first.
    """
    cells = [
        [part.strip() for value in _listed(entry) for part in _parts(value, separator, f"{name}[{row}]") if part.strip()]
        for row, entry in enumerate(values)
    ]
    count = bags(cells)
    count.data = np.ones_like(count.data)
    return count


def bags(documents: list[list[str]]) -> sparse.csr_array:
    """float64 sparse (D, V): how often each document holds each word; the words ascending."""
    code = {word: column for column, word in enumerate(sorted({word for document in documents for word in document}))}
    column = np.array([code[word] for document in documents for word in document], np.int64)
    row = np.repeat(np.arange(len(documents)), [len(document) for document in documents])
    return sparse.coo_array((np.ones(len(column)), (row, column)), shape=(len(documents), len(code))).tocsr()


def _listed(entry: object) -> list:
    return list(entry) if isinstance(entry, (list, tuple, np.ndarray)) else [entry]


def _parts(value: object, separator: str | None, where: str) -> list[str]:
    if value is None:
        return []
    if isinstance(value, str):
        return value.split(separator) if separator else [value]
    if isinstance(value, (bool, int, np.integer, np.bool_)):
        return [str(value)]
    raise DataError(f"{where}: expected text, a whole number, a boolean or a list of these, got {value!r}; cut it into ranges")
