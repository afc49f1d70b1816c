"""Values of columns: compared row by row, and read as numbers."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from llmrec.data.frames import coded, is_number, is_text, storage
from llmrec.errors import SchemaError

FLAGS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}  # text in lower case


def repeated(table: pa.Table) -> np.ndarray:
    """bool (rows,): the row equals an earlier one in every column."""
    codes = [_comparable(column) for column in table.columns]
    digest = np.zeros(len(table), np.uint64)
    for code in codes:
        digest = mixed(digest ^ code.view(np.uint64))
    # Few rows share a digest with another; only those are compared value by value.
    order = np.argsort(digest, kind="stable")
    pair = np.flatnonzero(digest[order][1:] == digest[order][:-1])
    some = np.unique(order[np.concatenate([pair, pair + 1])])
    some = some[np.lexsort([code[some] for code in codes])] if len(some) else some
    same = np.ones(max(len(some) - 1, 0), bool)
    for code in codes:
        same &= code[some[1:]] == code[some[:-1]]
    result = np.zeros(len(table), bool)
    result[some[1:][same]] = True
    return result


def mixed(value: np.ndarray) -> np.ndarray:
    """uint64 to uint64, one to one (splitmix64's finaliser): every bit that comes moves about half of those that go."""
    value = value + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def _comparable(column: pa.ChunkedArray) -> np.ndarray:
    """int64 (rows,): equal where the values are equal; null equals null, and NaN is null."""
    kind = column.type
    if pa.types.is_nested(kind):
        column = pa.chunked_array([pa.array([repr(value) for value in column.to_pylist()], pa.large_string())])
    elif kind == pa.int64() and column.null_count == 0:
        return column.to_numpy()
    elif pa.types.is_floating(kind):
        values = column.cast(pa.float64()).to_numpy() + 0.0  # + 0.0: minus zero equals zero
        return np.where(np.isnan(values), np.nan, values).view(np.int64)
    elif pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
    encoded = storage(column).combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.unify_dictionaries().combine_chunks()
    return encoded.indices.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False)


def numbers(column: pa.ChunkedArray, name: str, what: str) -> tuple[np.ndarray, np.ndarray, object]:
    """float64 values, bool of those that were there and are no number, and an example of them."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind, none = column.type, np.zeros(len(column), bool)
    if is_text(kind):
        code, texts = coded(column.cast(pa.large_string()))
        values = np.array([_number(text) for text in texts] + [np.nan])
        bad = np.isnan(values) & np.array([text.strip().lower() not in ("", "nan") for text in texts] + [False])
        if bad.any() and np.isnan(values).all():
            example = texts[int(np.argmax(bad))]
            raise SchemaError(f"{what}: column {name!r} should hold numbers, got text such as {example!r}; convert it first")
        return values[code], bad[code], texts[int(np.argmax(bad))] if bad.any() else None
    if pa.types.is_null(kind) or is_number(kind):
        values = column.cast(pa.float64(), safe=False).to_numpy()
        return np.where(np.isnan(values), np.nan, values), none, None  # one kind of NaN: rows are compared and hashed by bits
    if pa.types.is_boolean(kind):
        return column.cast(pa.int8()).cast(pa.float64()).to_numpy(), none, None
    raise SchemaError(f"{what}: column {name!r} should hold numbers, got {kind}; convert or drop it first")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan
