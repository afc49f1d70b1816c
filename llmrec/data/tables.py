"""Tables of events and items as whoever has them, under the library's names."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import pyarrow as pa

from llmrec.data.columns import EVENT_ALIASES, event_columns, item_columns
from llmrec.data.frames import to_arrow


def read_events(
    events: Any, columns: Mapping[str, str] | None = None, with_item_text: bool = False, context: Collection[str] = ()
) -> tuple[pa.Table, tuple[str, ...]]:
    """A table of events under the library's names, and notes; see `frames.to_arrow` and `columns.event_columns`.

    context: columns that a CSV file keeps as they are written.
    """

    def naming(names: list[str]) -> list[str]:
        return event_columns(empty_table(names), columns, with_item_text)[0].column_names

    table = to_arrow(events, "events", naming, lambda name: name in context and name not in EVENT_ALIASES)
    return event_columns(table, columns, with_item_text)


def read_items(items: Any, columns: Mapping[str, str] | None = None) -> tuple[pa.Table, tuple[str, ...]]:
    """A table of items under the library's names, and notes; see `frames.to_arrow` and `columns.item_columns`."""
    table = to_arrow(items, "items", lambda names: item_columns(empty_table(names), columns)[0].column_names)
    return item_columns(table, columns)


def empty_table(names: list[str]) -> pa.Table:
    """A table of these columns without rows or types."""
    return pa.Table.from_arrays([pa.nulls(0)] * len(names), names=names)
