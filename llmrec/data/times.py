"""Convert timestamps of any kind to seconds since 1970-01-01 UTC."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmrec.data.frames import coded, is_number, is_text
from llmrec.data.number_times import number_times
from llmrec.data.report import counted
from llmrec.data.written_dates import turned
from llmrec.errors import DataError, SchemaError

_PER_SECOND = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
DAY = 86_400.0
_LIKELY, _PAST, _FUTURE = np.datetime64("1990-01-01", "s"), np.datetime64("1980-01-01", "s"), np.datetime64("2099-01-01", "s")


def seconds(column: pa.ChunkedArray) -> tuple[np.ndarray, str]:
    """float64 (rows,) seconds, NaN where the value is missing or does not parse, and how the column was read.

    Dates and datetimes without a zone are read as UTC. For numbers see `number_times`. Text is ISO 8601 or a number;
    day/month orders that can be read in two ways are not guessed.
    Raises SchemaError for a type that is no time, DataError for numbers that are no times.
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
    if is_number(kind):
        return number_times(_floats(column))
    if is_text(kind):
        return _from_text(column.cast(pa.large_string()))
    raise SchemaError(f"events: column 'timestamp' is {kind}, expected datetimes, dates, ISO 8601 text or numbers since 1970")


def _floats(column: pa.ChunkedArray) -> np.ndarray:
    values = column.cast(pa.float64(), safe=False).to_numpy()
    return np.where(np.isfinite(values), values, np.nan)


def time_notes(column: pa.ChunkedArray, time: np.ndarray, user: pa.ChunkedArray, baskets: bool) -> tuple[str, ...]:
    """What there is to know of timestamps that were read: an order only, whole days, a far future or past, lost precision.

    column: as it came. time: float64 (rows,) seconds, user: ids, of the rows that are left. baskets: whether there are basket
    ids.
    """
    notes = []
    kind, none = column.type, not len(time)
    if pa.types.is_float16(kind) or pa.types.is_float32(kind):
        gap = float(np.spacing(np.float32(np.nanmax(np.abs(_floats(column)), initial=0))))
        if gap > 1e-3:
            notes.append(f"events: 'timestamp' is {kind}, in which times differ only in steps of {gap:,.4g}; pass float64")
    if is_number(kind) and not none and np.abs(time).max() < 1e8:
        notes.append(
            f"events: 'timestamp' holds numbers from {time.min():,.10g} to {time.max():,.10g}, read as seconds since 1970: "
            "they serve as an order, and their dates mean nothing"
        )
        return tuple(notes)
    late = time >= _FUTURE.astype(np.int64)
    if late.any():
        notes.append(
            f"events: {counted(int(late.sum()), 'timestamp')} far in the future, up to {_date(time.max())}; taken as they are"
        )
    if not none and time.max() < _LIKELY.astype(np.int64):
        notes.append(f"events: all times are before 1990, such as {_date(time[0])}; is the unit right?")
    early = time < _PAST.astype(np.int64)
    if early.any() and not early.all():
        notes.append(
            f"events: {counted(int(early.sum()), 'timestamp')} before 1980, from {_date(time.min())}; taken as they are"
        )
    if not none and (time % DAY == 0).all() and not baskets:
        day = np.unique(time, return_inverse=True)[1]
        _, count = np.unique(coded(user)[0] * (int(day.max()) + 1) + day, return_counts=True)
        same = int(count[count > 1].sum())
        shared = f"{same:,} events share their user and day with another" if same else "no user has two events on one day"
        notes.append(
            f"events: all timestamps are whole days; {shared}. Without basket_id each event is a basket of its own, the order "
            "within a day is shuffled by the seed, and equal rows of one day count once (step 'exact duplicates'). Pass times "
            "of day, or basket_id"
        )
    return tuple(notes)


def _date(time: float) -> str:
    return str(np.datetime64(int(np.clip(time, -6.3e10, 2.5e11 * 10)), "s").astype("datetime64[D]"))


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
        texts = distinct.to_pylist()
        _check_order(texts)
        pairs = [as_time(text) for text in texts]
        parsed = np.array([moment for moment, _ in pairs], np.float64)
        number = np.array([is_number for _, is_number in pairs], bool)
        how = "text"
        if number.any():
            parsed[number], unit = number_times(parsed[number])
            how = f"text holding {unit}"
    return np.append(parsed, np.nan)[codes], how


def _check_order(texts: list[str]) -> None:
    if (other := turned(texts)) is not None:
        raise DataError(
            f"events: column 'timestamp': {other!r} is not a date in the order year, month, day, only in another order: two "
            "orders are mixed, or the day always comes before the month. Then convert the column with "
            'pandas.to_datetime(column, format="%Y-%d-%m"); in a file write dates as 2026-04-03'
        )


def as_time(text: str) -> tuple[float, bool]:
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
