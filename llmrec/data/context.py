"""The context of a request, such as hour, device or page: columns of the events, each known when its basket begins.

Its codes lie among the attributes of the events, under names of their own, so that whatever merges, cuts or saves events keeps
them; `Dataset.context` says how they are encoded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from llmrec.data.attributes import Attributes, Encoding, encode, learn_encoding
from llmrec.data.columns import EVENT_ALIASES, EVENT_ITEM_TEXT
from llmrec.errors import DataError

HOUR, WEEKDAY = "hour", "weekday"  # taken from the timestamp, in UTC, where no column has that name; Monday is 0
_PREFIX = "context:"
_FIRST_WEEKDAY = 3  # 1970-01-01 was a Thursday


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
                f"context: events have no column {name!r}, expected one of {', '.join(map(repr, _others(table)))}, "
                f"{HOUR!r} or {WEEKDAY!r}, which the timestamp gives"
            )
    columns = _columns(table, names)
    encoding, notes = learn_encoding(columns, "context")
    if not encoding.columns:
        raise DataError(f"context: no column can be read. {'; '.join(notes)}")
    return encoding, _codes(encode(encoding, columns, "context")[0]), notes


def context_codes(table: pa.Table, encoding: Encoding | None) -> dict[str, np.ndarray]:
    """The codes of later events; missing where a column is not in the table."""
    if encoding is None:
        return {}
    return _codes(encode(encoding, _columns(table, encoding.names), "context")[0])


def request_context(encoding: Encoding | None, context: Mapping[str, Any]) -> Attributes:
    """One row: the context of a request. Raises DataError for a name that was not fitted, and for what is no dict."""
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
            row[name] = pa.array([value])
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise DataError(f"context[{name!r}] is {value!r}, expected text, a flag or a number") from error
    return encode(encoding, pa.table(row) if row else pa.table({"": [None]}), "context")[0]


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


def _columns(table: pa.Table, names: Sequence[str]) -> pa.Table:
    """The named columns; hour and weekday from the timestamp (seconds) where there is no such column."""
    time = table.column("timestamp").to_numpy()
    derived = {HOUR: time // 3600 % 24, WEEKDAY: (time // 86_400 + _FIRST_WEEKDAY) % 7}
    found = {}
    for name in names:
        if name in table.column_names:
            found[name] = table.column(name)
        elif name in derived:
            found[name] = pa.chunked_array([derived[name]])
    return pa.table(found) if found else pa.table({"": pa.nulls(len(table))})


def _others(table: pa.Table) -> list[str]:
    return [name for name in table.column_names if name not in EVENT_ALIASES]
