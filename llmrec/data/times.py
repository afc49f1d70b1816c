"""Timestamps of any kind as seconds since 1970-01-01 UTC."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmrec.errors import SchemaError

_PER_SECOND = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}


def seconds(column: pa.ChunkedArray) -> tuple[np.ndarray, str]:
    """float64 (rows,) seconds, NaN where the value is missing or does not parse, and how the column was read.

    Dates and datetimes without a zone are read as UTC. Numbers are seconds, milliseconds, microseconds or nanoseconds by the
    magnitude of their median. Text is ISO 8601 or a number; day/month orders that can be read in two ways are not guessed.
    Raises SchemaError for a type that is no time.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if pa.types.is_null(kind):
        return np.full(len(column), np.nan), "nothing"
    if pa.types.is_timestamp(kind):
        return _floats(column.cast(pa.int64())) / _PER_SECOND[kind.unit], f"datetimes in {kind.unit}"
    if pa.types.is_date(kind):
        return _floats(column.cast(pa.timestamp("s")).cast(pa.int64())), "dates"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return _by_magnitude(_floats(column))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return _from_text(column.cast(pa.large_string()))
    raise SchemaError(f"events: column 'timestamp' is {kind}, expected datetimes, dates, ISO 8601 text or numbers since 1970")


def _floats(column: pa.ChunkedArray) -> np.ndarray:
    values = column.cast(pa.float64(), safe=False).to_numpy()
    return np.where(np.isfinite(values), values, np.nan)


def _by_magnitude(values: np.ndarray) -> tuple[np.ndarray, str]:
    known = np.abs(values[~np.isnan(values)])
    typical = float(np.median(known)) if len(known) else 0.0
    # 1e11 s is the year 5138 and 1e11 ms is 1973: between real dates the units do not overlap.
    unit = "s" if typical < 1e11 else "ms" if typical < 1e14 else "us" if typical < 1e17 else "ns"
    return values / _PER_SECOND[unit], f"numbers in {unit}"


def _from_text(column: pa.ChunkedArray) -> tuple[np.ndarray, str]:
    encoded = column.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.unify_dictionaries().combine_chunks()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    distinct = encoded.dictionary
    try:  # all of one form: Arrow parses them at once
        parsed = _floats(pa.chunked_array([pc.cast(distinct, pa.timestamp("us")).cast(pa.int64())])) / 1e6
        how = "ISO text"
    except pa.ArrowInvalid:  # mixed forms, zones, numbers as text: one by one, over the distinct values only
        pairs = [_one(text) for text in distinct.to_pylist()]
        parsed = np.array([moment for moment, _ in pairs], np.float64)
        number = np.array([is_number for _, is_number in pairs], bool)
        how = "text"
        if number.any():
            parsed[number], unit = _by_magnitude(parsed[number])
            how = f"text holding {unit}"
    return np.append(parsed, np.nan)[codes], how


def _one(text: str) -> tuple[float, bool]:
    """Seconds, or a number of unknown unit and True; NaN where `text` is neither."""
    text = text.strip()
    # Digits alone are a number, except YYYYMMDD: fromisoformat would read some 13-digit milliseconds as a date.
    dated = not text.isdigit() or (len(text) == 8 and "19" <= text[:2] <= "20")
    try:
        moment = datetime.fromisoformat(text if dated else "")
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp(), False
    except ValueError:
        pass  # not ISO: perhaps a number
    try:
        value = float(text)
        return (value, True) if math.isfinite(value) else (math.nan, False)
    except ValueError:
        return math.nan, False
