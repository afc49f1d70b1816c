"""The context of a request, such as hour, device or page: columns of the events, each known when its basket begins.

Its codes lie among the attributes of the events, under names of their own, so that whatever merges, cuts or saves events keeps
them; `Dataset.context` says how they are encoded.
"""

from __future__ import annotations

import datetime
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from llmrec.data.attributes import Attributes, Column, Encoding, encode, learn_encoding, missing
from llmrec.data.columns import EVENT_ALIASES, EVENT_ITEM_TEXT
from llmrec.data.ids import tidy
from llmrec.errors import DataError

HOUR, WEEKDAY = "hour", "weekday"  # taken from the timestamp, in UTC, where no column has that name; Monday is 0
_PREFIX = "context:"
_FIRST_WEEKDAY = 3  # 1970-01-01 was a Thursday
_SHOWN = 5  # levels in a message


def code_name(name: str) -> str:
    """Under what name of `Dataset.attributes` the codes of a context column are."""
    return f"{_PREFIX}{name}"


def fit_context(table: pa.Table, names: Sequence[str]) -> tuple[Encoding, dict[str, np.ndarray], tuple[str, ...]]:
    """The encoding of context columns, learned from cleaned events, the codes float32 (rows,) by `code_name`, and notes.

    Raises DataError for a name that is not there or is the library's own, and where nothing can be read; SchemaError as
    `learn_encoding`.
    """
    if isinstance(names, str):
        raise DataError(f"context is the text {names!r}, expected a list of columns of the events; say [{names!r}]")
    for name in names:
        if name in EVENT_ITEM_TEXT:
            raise DataError(
                f"context: {name!r} says what the item of an event is, which is not known when a request comes; leave it out, "
                "or rename the column if it holds something else"
            )
        if name in EVENT_ALIASES:
            raise DataError(f"context: {name!r} is read as it is in every event, expected other columns; leave it out")
        if name not in table.column_names and name not in (HOUR, WEEKDAY):
            raise DataError(
                f"context: events have no column {name!r}, expected one of {', '.join(map(repr, (*_others(table), HOUR)))} or "
                f"{WEEKDAY!r}; {HOUR} and {WEEKDAY} come from the timestamp"
            )
    columns = _columns(table, names)
    encoding, notes = learn_encoding(columns, "context")
    if not encoding.columns:
        raise DataError(f"context: no column can be read. {'; '.join(notes)}")
    own = table.column_names
    encoding = Encoding(tuple(replace(column, derived=column.name not in own) for column in encoding.columns))
    return encoding, _codes(encode(encoding, columns, "context")[0]), notes


def context_codes(table: pa.Table, encoding: Encoding | None) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """The codes of later events, and notes on what is not read; missing where a column is not in the table.

    Hour and weekday come from where they came from when the encoding was learned: the timestamp or a column of that name.
    """
    if encoding is None:
        return {}, ()
    derived = [column.name for column in encoding.columns if column.derived]
    unread = tuple(
        f"events: column {name!r} is not read: the model was fitted with {name} of the timestamp"
        for name in derived
        if name in table.column_names
    )
    columns = _columns(table, encoding.names, derived)
    if not columns.num_columns:
        return _codes(missing(encoding, len(table))), unread
    found, notes = encode(encoding, columns, "context")
    return _codes(found), (*unread, *notes)


def request_context(encoding: Encoding | None, context: Mapping[str, Any]) -> tuple[Attributes, tuple[str, ...]]:
    """One row: the context of a request, and notes on values that were not learned and count as missing. None, NaN, pandas' NA
    and blank text are missing without a note.

    Raises DataError for a name that was not fitted, for what is no dict, and for a value that is neither text, a flag nor a
    number; SchemaError as `encode`.
    """
    if not isinstance(context, Mapping):
        raise DataError(f'context is {context!r}, expected a dict, such as {{"hour": 20}}')
    if encoding is None:
        raise DataError("context was given, but this model was fitted without; name the columns in fit(..., context=[...])")
    if unknown := sorted(set(context) - set(encoding.names), key=str):
        raise DataError(
            f"context: {unknown[0]!r} was not fitted, expected one of {', '.join(map(repr, encoding.names))}; leave it out, or "
            "fit with it"
        )
    row = {}
    for name, value in context.items():
        try:
            # from_pandas makes NA missing, and NaT too, which is refused like any other date
            row[name] = pa.array([value], from_pandas=not isinstance(value, datetime.datetime))
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise DataError(f"context[{name!r}] is {value!r}, expected text, a flag or a number") from error
    if not row:
        return missing(encoding, 1), ()
    found, _ = encode(encoding, pa.table(row), "context")
    lost = [
        column
        for column, known in zip(encoding.columns, found.known[0], strict=True)
        if column.name in row and not known and not _absent(row[column.name][0].as_py())
    ]
    return found, tuple(f"context: {column.name} is {context[column.name]!r}, {_expected(column)}" for column in lost)


def event_context(encoding: Encoding, attributes: Mapping[str, np.ndarray], events: np.ndarray) -> Attributes:
    """The context of some events (int rows, -1 for none) from `Dataset.attributes`."""
    codes = np.full((len(events), len(encoding.columns)), np.nan, np.float32)
    there = events >= 0
    for place, name in enumerate(encoding.names):
        values = attributes.get(code_name(name))
        if values is not None:
            codes[there, place] = values[events[there]]
    return Attributes(encoding, codes)


def _codes(found: Attributes) -> dict[str, np.ndarray]:
    return {code_name(name): found.codes[:, place] for place, name in enumerate(found.encoding.names)}


def _columns(table: pa.Table, names: Sequence[str], derived: Collection[str] | None = None) -> pa.Table:
    """Those of the named columns that there are. derived: which of hour and weekday the timestamp (seconds) gives; None for
    those that the table lacks."""
    time = table.column("timestamp").to_numpy()
    of_time = {HOUR: time // 3600 % 24, WEEKDAY: (time // 86_400 + _FIRST_WEEKDAY) % 7}
    found = {}
    for name in names:
        there = name in table.column_names
        if name in of_time and (not there if derived is None else name in derived):
            found[name] = pa.chunked_array([of_time[name]])
        elif there:
            found[name] = table.column(name)
    return pa.table(found)


def _absent(value: Any) -> bool:
    """Whether a value says nothing: None, NaN or blank text."""
    return value is None or bool(value != value) or (isinstance(value, str) and not tidy(value))


def _expected(column: Column) -> str:
    """What a note says of a value of a column that counts as missing."""
    if not column.levels:
        return "which counts as missing; expected a finite number"
    some, more = ", ".join(map(repr, column.levels[:_SHOWN])), len(column.levels) - _SHOWN
    known = f"{some} and {more} more" if more > 0 else some
    return f"which was rare or absent in fit, and counts as missing; expected {known}"


def _others(table: pa.Table) -> list[str]:
    return [name for name in table.column_names if name not in EVENT_ALIASES]
