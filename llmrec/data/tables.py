"""Tables of events and items as whoever has them, under the library's names."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from llmrec.data.columns import EVENT_ALIASES, NUMBERS, event_columns, item_columns
from llmrec.data.files import AsWritten, Naming, read_plain
from llmrec.data.frames import is_text, plain, to_arrow
from llmrec.data.places import Place, placed, typed_table
from llmrec.data.reading import Reading, read
from llmrec.data.table_format import TableFormat
from llmrec.data.written_dates import machine_written
from llmrec.errors import LlmrecError, SchemaError

# The most usual times as programs write them, which need no closer look.
_BY_PROGRAMS = r"^([0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9:.]+)?(Z|[+-][0-9:]+)?|[0-9]+(\.[0-9]+)?)$"


def read_events(
    events: Any, columns: Mapping[str, str] | None = None, with_item_text: bool = False, context: Collection[str] = ()
) -> tuple[pa.Table, tuple[str, ...]]:
    """A table of events under the library's names, and notes; see `opened` and `columns.event_columns`.

    context: columns that a CSV file keeps as they are written.
    """

    def naming(names: list[str]) -> list[str]:
        return renamed(names, lambda table: event_columns(table, columns, with_item_text)[0])

    found = opened(events, "events", naming, columns, lambda name: name in context and name not in EVENT_ALIASES)
    if isinstance(found, Reading):
        table, notes = event_columns(found.table, None, with_item_text)
        return plain(table), (*said_of(found), *notes)
    return event_columns(found, columns, with_item_text)


def read_items(items: Any, columns: Mapping[str, str] | None = None) -> tuple[pa.Table, tuple[str, ...]]:
    """A table of items under the library's names, and notes; see `opened` and `columns.item_columns`."""
    found = opened(items, "items", lambda names: renamed(names, lambda table: item_columns(table, columns)[0]), columns)
    if isinstance(found, Reading):
        table, notes = item_columns(found.table)
        return plain(table), (*said_of(found), *notes)
    return item_columns(found, columns)


def opened(
    source: Any,
    what: str,
    naming: Naming,
    columns: Mapping[str, str] | None = None,
    as_written: AsWritten | None = None,
    required: tuple[str, ...] | None = None,
) -> pa.Table | Reading:
    """A table as whoever has it, under its own names, or what `reading.read` makes of a file that is not a plain one.

    source: a frame, see `frames.to_arrow`, or a path or an address: whatever `reading.read` takes.
    naming, as_written: see `files.read_plain`. columns: names in the file -> names of the library. required: see
        `reading.read`.
    Raises SchemaError and DataError, see these functions.
    """
    if not isinstance(source, (str, Path, Place)):
        return to_arrow(source, what)
    place = placed(source, what)
    table = typed_table(place, what)
    if table is not None:
        return plain(table)
    try:
        table = read_plain(place.path, what, naming, as_written)
    except SchemaError:
        if columns:  # what a person said of the names is wrong
            raise
        try:
            return read(place, what, required=required)  # names in another language
        except SchemaError:
            pass
        except LlmrecError as error:  # the names are understood, or stand further down
            raise _in_python(error, place, what) from error
        raise
    if table is not None and not _by_people(table, naming(table.column_names), what):
        return plain(table)
    try:
        return read(place, what, TableFormat(columns=tuple((columns or {}).items()) or None), required=required)
    except LlmrecError as error:
        raise _in_python(error, place, what) from error


def _in_python(error: LlmrecError, place: Place, what: str) -> LlmrecError:
    """The error with a word on its options."""
    return type(error)(
        f"{error} (options are of the command; in Python --columns A=b is columns={{'A': 'b'}}, --item-columns is item_columns="
        " in fit and columns= elsewhere, and for the others pass the table of "
        f"llmrec.data.reading.read({place.said!r}, {what!r}, table_format(...)))"
    )


def _by_people(table: pa.Table, names: list[str], what: str) -> bool:
    """Whether a column that is read as numbers or times holds some as people write them: $1,200.50, 31.01.2026.

    names: of the columns, the library's.
    """
    read_as = {"events": NUMBERS, "items": ("price",)}.get(what, ())
    for name, column in zip(names, table.columns, strict=True):
        if not is_text(column.type):
            continue
        if name in read_as:
            return True
        if name == "timestamp" and what == "events":
            distinct = column.unique().drop_null()
            other = distinct.filter(pc.invert(pc.match_substring_regex(distinct, _BY_PROGRAMS)))
            if not machine_written([text.strip() for text in other.to_pylist()]):
                return True
    return False


def said_of(reading: Reading) -> tuple[str, ...]:
    """Notes on how a file was read and what was left out or repaired."""
    return (*reading.notes, *reading.losses, *reading.repairs)


def renamed(names: list[str], how: Callable[[pa.Table], pa.Table]) -> list[str]:
    """What `how`, such as `event_columns`, calls the columns of these names; one that it leaves out keeps its name."""
    found = how(pa.Table.from_arrays([pa.array([place]) for place in range(len(names))], names=names))
    ours = {column[0].as_py(): name for name, column in zip(found.column_names, found.columns, strict=True)}
    return [ours.get(place, name) for place, name in enumerate(names)]
