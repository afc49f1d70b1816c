"""Tables out of files in any format: what a file does not say is found in it, held to in every row, and reported.

A reading that could be another one is an error that asks. `read` gives a table under the library's names, for `build` and
`Recommender.fit`; the plain formats, UTF-8 with commas and Parquet, need none of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmrec.data import typed
from llmrec.data.columns import EVENT_ALIASES, ITEM_ALIASES, NUMBERS, fold
from llmrec.data.decoding import as_utf8, doubts_of, raw_bytes
from llmrec.data.encodings import is_utf8
from llmrec.data.files import ID_NAMES, JSON, PACKED, UNTYPED
from llmrec.data.frames import is_text, plain
from llmrec.data.json_rows import read_json
from llmrec.data.meanings import Meanings, column_meanings, folded, known_names, untagged
from llmrec.data.places import Place, placed, typed_table
from llmrec.data.published import published_layout, with_categories
from llmrec.data.report import Step
from llmrec.data.rows import UNIT, Broken, first_rows, read_rows
from llmrec.data.separators import check_names, find_separator
from llmrec.data.table_format import ORDERS, TableFormat
from llmrec.data.typed import Column
from llmrec.errors import DataError

FEW = 0.01  # share of the rows that may be broken, and are left out and named, where a person has not said what to do
REPAIRED, UNREADABLE = "as written", "unreadable values"  # steps
_HEAD = 1 << 16
_TABLES = ("events", "items", "users")
OnBadRows = Literal["error", "few", "skip"]


@dataclass(frozen=True)
class Reading:
    """A table out of a file, and how it was read.

    table: under the library's names. format: with everything that was found. steps, notes: for the report of the cleaning.
    broken: rows that are not in the table. unread: names of columns that mean nothing to the library. assumed: what was left
    open and read as in other files of the shop, a sentence each.
    """

    table: pa.Table
    format: TableFormat
    steps: tuple[Step, ...]
    notes: tuple[str, ...]
    broken: tuple[Broken, ...]
    unread: tuple[str, ...]
    assumed: tuple[str, ...] = ()

    @property
    def losses(self) -> tuple[str, ...]:
        """A sentence for every step that left out rows or values."""
        return tuple(
            f"{step.rows_dropped:,} of {step.rows_in:,} rows of {step.table} were left out in the step {step.name!r} "
            f"({step.detail})"
            if step.rows_dropped
            else f"{step.table}: {step.detail}"
            for step in self.steps
            if step.rows_dropped or (step.detail and step.name != REPAIRED)
        )

    @property
    def repairs(self) -> tuple[str, ...]:
        """A sentence for every step that read values otherwise than they are written, by which nothing is lost."""
        return tuple(f"{step.table}: {step.detail}" for step in self.steps if step.detail and step.name == REPAIRED)


@dataclass(frozen=True)
class _Raw:
    """Columns as they stand in a file: names, values, the line of each row (0: not known), broken rows, whether all is text."""

    names: tuple[str, ...]
    table: pa.Table
    line: np.ndarray
    broken: tuple[Broken, ...]
    untyped: bool
    doubts: tuple[str, ...] = ()
    mixed: Mapping[str, int] = field(default_factory=dict)  # columns of several types -> the row where the type changes


def read(
    path: str | Path | Place,
    what: str = "events",
    table_format: TableFormat = TableFormat(),  # noqa: B008  (frozen)
    on_bad_rows: OnBadRows = "few",
    shop: TableFormat = TableFormat(),  # noqa: B008  (frozen)
    required: tuple[str, ...] | None = None,
) -> Reading:
    """The table in a file: text with any separator, encoding, decimal sign and date format, JSON lines, or Parquet.

    path: .csv, .tsv, .txt and the like, .json, .jsonl, .parquet, a folder of Parquet files or of a saved Hugging Face dataset;
        text also compressed by gzip, bzip2 or xz. Or an address on the hub, `hf://datasets/owner/name` and what may be behind
        it, see `hub_tables.fetched_table`.
    what: "events", "items" or "users": which columns to look for, by names in English, German, French, Spanish and Chinese.
        For users only `user_id`; every other column is an attribute under its own name.
    table_format: the known parts of the format; the rest is inferred.
    on_bad_rows: rows with too many or too few fields are an error ("error"), left out and named in `broken` and `steps`
        ("skip"), or left out where there is one, or they are at most 1 in 100 ("few").
    shop: the decimal sign and the order of dates in other files of the same shop. A file that leaves one of them open is read
        by it, which `assumed` and the notes say.
    required: columns without which the table is an error, by the library's names; None for those that a fit needs.

    Ids stay text where a number would not keep them as they are written ("007"). A column is read with a decimal comma, and
    dates with the day first, only where its values allow nothing else.
    Raises DataError and SchemaError that name the file, the line, the column and the option that helps (of the command; in
    Python `table_format` takes it, as `on_bad_rows` is taken here): for bytes that are not in the encoding, an encoding,
    separator, number or date (03/04/2026) that may be read in two ways, columns whose meaning is not clear, ids and times that
    a spreadsheet has shortened.
    """
    for name, value, allowed in (("what", what, _TABLES), ("on_bad_rows", on_bad_rows, get_args(OnBadRows))):
        if value not in allowed:
            raise DataError(f"{name} is {value!r}, expected one of {', '.join(map(repr, allowed))}")
    place = placed(path, what)
    named = f"{what}: {place.said!r}"
    raw, found = _raw(place, what, named, table_format)
    total = len(raw.table) + len(raw.broken)
    _check_broken(raw.broken, total, on_bad_rows, named)
    if not len(raw.table):
        why = f" ({raw.broken[0]})" if raw.broken else ""
        raise DataError(f"{named}: holds a header line but no readable row{why}; expected at least one")
    given = (*(found.columns or ()), *((name, "") for name in found.left_out))
    meanings = column_meanings(list(raw.names), what, given, required)
    _check_date_parts(raw, meanings, named)
    table, found, done = _typed(raw, meanings, replace(found, columns=meanings.pairs), shop, what, named)
    assumed = tuple(f"{what}: {said}" for said in done.assumed)
    steps = (
        Step("broken rows", what, total, len(raw.broken), 0, _shown(raw.broken)),
        Step(REPAIRED, what, len(table), 0, done.repaired, "; ".join(filter(None, done.repairs))),
        Step(UNREADABLE, what, len(table), 0, done.lost, "; ".join(filter(None, done.losses))),
    )
    notes = (
        _format_note(place.name, what, found, raw.untyped),
        *_column_notes(meanings, what),
        *(f"{what}: {doubt}" for doubt in raw.doubts),
        *assumed,
    )
    return Reading(table, found, steps, notes, raw.broken, meanings.unread, assumed)


def few(broken: int, rows: int) -> bool:
    """Whether so many broken rows, of all, are left out without being asked: one, or 1 in 100."""
    return broken <= max(1, FEW * rows)


def detect(path: str | Path | Place, what: str = "events", table_format: TableFormat = TableFormat()) -> TableFormat:  # noqa: B008
    """The format of a file with everything that `read` finds, looking at every row; see there for the errors."""
    return read(path, what, table_format, "skip").format


def _raw(place: Place, what: str, named: str, known: TableFormat) -> tuple[_Raw, TableFormat]:
    if (typed_columns := typed_table(place, what)) is not None:
        table = plain(typed_columns)
        known = replace(known, encoding=None, separator=None, names=None, skip_rows=0)  # said of another file
        return _Raw(tuple(table.column_names), table, np.zeros(len(table), np.int64), (), False), known
    path, data = place.path, raw_bytes(place.path, named)
    layout = published_layout(path, what, data) if known.names is None else None
    if layout is not None:
        known = replace(known, names=layout.names, separator=known.separator or layout.separator)
    data, encoding = as_utf8(
        data,
        known.encoding or ("latin-1" if layout is not None and not is_utf8(iter([data])) else None),
        named,
        lambda line: known_names(line.replace(";", "\t").replace(",", "\t").split("\t")),
    )
    known, doubts = replace(known, encoding=encoding), doubts_of(data)
    if not data.strip():
        raise DataError(f"{named} is empty, expected a line with the names of the columns, and rows")
    inner = Path(path.stem).suffix.lower() if path.suffix.lower() in PACKED else path.suffix.lower()
    if inner in JSON or data.lstrip()[:2] in (b'{"', b"[{"):
        rows = read_json(data, named)
        return _Raw(tuple(rows.table.column_names), rows.table, rows.line, rows.broken, False, doubts, rows.mixed), known
    raw, known = _text(data, what, named, known)
    if layout is not None:
        table, names = with_categories(raw.table, raw.names, layout)
        doubts = (f"{place.name} has no header and is read as MovieLens's: {', '.join(names)}", *doubts)
        raw = replace(raw, table=table, names=names)
    return replace(raw, doubts=doubts), known


def _text(data: bytes, what: str, named: str, known: TableFormat) -> tuple[_Raw, TableFormat]:
    skip, separator, names = known.skip_rows, known.separator, known.names
    head = data[:_HEAD].decode("utf-8", errors="ignore")
    if len(data) > _HEAD:
        head = head[: max(head.rfind("\n"), head.rfind("\r")) + 1] or head
    lines = head.splitlines(keepends=True)[skip:]
    if lines and lines[0].lower().startswith("sep=") and len(lines[0].strip("\r\n")) == 5:
        skip, separator, lines = skip + 1, separator or lines[0][4], lines[1:]  # a line for a spreadsheet
    if not "".join(lines).strip():
        raise DataError(
            f"{named}: nothing is left below the first {skip} lines; expected a header line. Give a smaller --skip-rows"
        )
    separator = separator or find_separator("".join(lines), named, names, what)
    single, quote = separator, _quote(data, separator) if known.quote is None else known.quote
    if len(separator) > 1:
        if UNIT.encode() in data:
            raise DataError(f"{named}: holds the character {UNIT!r}, so that {separator!r} cannot separate its fields")
        data, single = data.replace(separator.encode(), UNIT.encode()), UNIT
    some = first_rows(data, single, quote, skip, 200)
    if known.quote is None and some and len(some[0][1]) > 1 and all(_single_quoted(name) for name in some[0][1]):
        quote = "'"
        some = first_rows(data, single, quote, skip, 200)
    if names is None and some:
        check_names(some, named, separator, what, [theirs for theirs, _ in known.columns or ()])
    elif names is not None and some and known_names(some[0][1]) > 1:
        raise DataError(
            f"{named}, line {some[0][0]}: holds names such as {some[0][1][0]!r}, but names of columns are given. Say "
            f"--skip-rows {some[0][0]} to leave it out, or leave out --names"
        )
    try:
        rows = read_rows(data, single, quote, names, skip)
    except (DataError, pa.ArrowInvalid) as error:
        raise DataError(f"{named}: {error}") from error
    found = replace(known, separator=separator, quote=quote, skip_rows=skip)
    return _Raw(rows.names, rows.table, rows.line, rows.broken, True), found


def _quote(data: bytes, separator: str) -> str:
    """What is around texts: nothing in files with tabs or "::" that quote no whole field, where a quote may begin a title."""
    if separator == "::":
        return ""
    whole = re.search(rb'(^|[\t\r\n])"([^"]|"")*"(?=[\t\r\n]|$)', data) if separator == "\t" else True
    return '"' if whole else ""


def _single_quoted(name: str) -> bool:
    return len(name) > 1 and name[0] == name[-1] == "'"


def _check_broken(broken: tuple[Broken, ...], total: int, on_bad_rows: OnBadRows, named: str) -> None:
    if not broken or on_bad_rows == "skip" or (on_bad_rows == "few" and few(len(broken), total)):
        return
    more = f" ({len(broken):,} of {total:,} rows are broken)" if len(broken) > 1 else ""
    raise DataError(
        f"{named}, {broken[0]}{more}. Fix the row (a text that holds the separator needs quotes), or leave such rows out with "
        "--on-bad-rows skip"
    )


def _check_date_parts(raw: _Raw, meanings: Meanings, named: str) -> None:
    """Raises DataError where the timestamp is a day of the month, and its month or year are columns of their own."""
    theirs = next((theirs for theirs, ours in meanings.pairs if ours == "timestamp"), None)
    if theirs is None or not meanings.parts:
        return
    values = raw.table.column(raw.names.index(theirs)).cast(pa.large_string())
    if pc.all(pc.match_substring_regex(values, r"^\s*([1-9]|[012][0-9]|3[01])?(\.0)?\s*$")).as_py():
        raise DataError(
            f"{named}: columns {', '.join(map(repr, (*meanings.parts, theirs)))} are parts of a date, expected one column. "
            f'Join them in the export as 2026-04-03, or say --columns "{theirs}=timestamp" to read one alone'
        )


@dataclass
class _Done:
    """What reading the values did: numbers repaired and lost, and in words what was repaired and lost of each column, "" for
    nothing, and what was read as in other files."""

    repaired: int = 0
    lost: int = 0
    repairs: list[str] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)
    assumed: list[str] = field(default_factory=list)


def _typed(
    raw: _Raw, meanings: Meanings, found: TableFormat, shop: TableFormat, what: str, named: str
) -> tuple[pa.Table, TableFormat, _Done]:
    """The table under the library's names with columns of their types, the format with what its values told, and what was
    repaired and lost."""
    columns = {
        ours: _column(raw, raw.names.index(theirs), ours, named) for theirs, ours in meanings.pairs if raw.names.count(theirs)
    }
    for column in columns.values():
        if column.name in raw.mixed and column.ours in (*ID_NAMES, "timestamp"):
            raise DataError(
                f"{column.at(raw.mixed[column.name])}: the type changes here, so that one {column.ours} may be two "
                "values; expected values of one type. Write them all as text or all as numbers"
            )
    values = {ours: column.values for ours, column in columns.items()}
    text = {ours: column for ours, column in columns.items() if is_text(column.values.type)}
    done = _Done()
    numeric = [column for ours, column in text.items() if ours in NUMBERS]
    read_as, decimal, done.assumed = typed.numbers(numeric, found.decimal, shop.decimal)
    for column, read_column in zip(numeric, read_as, strict=True):
        values[column.ours] = typed.floats(read_column)
        done.repaired += read_column.repaired
        done.lost += int(read_column.lost.sum())
        repaired, lost = typed.said_of_numbers(column, read_column)
        done.repairs.append(repaired)
        done.losses.append(lost)
    order = None
    if "timestamp" in text:
        values["timestamp"], order, lost, assumed = typed.times(text["timestamp"], found.date_order, shop.date_order)
        done.losses.append(lost)
        done.assumed += [assumed] if assumed else []
    for ours in ID_NAMES:
        if ours in text and raw.untyped:
            values[ours], repaired, lost = typed.ids(text[ours], decimal)
            done.repairs.append(repaired)
            done.losses.append(lost)
    values |= _others(raw, meanings, decimal, what, named)
    found = replace(found, decimal=found.decimal or decimal, date_order=found.date_order or order)
    table = pa.table(values)
    return table.replace_schema_metadata({UNTYPED: b"1"} if raw.untyped else None), found, done


def _others(raw: _Raw, meanings: Meanings, decimal: str | None, what: str, named: str) -> dict[str, pa.ChunkedArray]:
    """Columns that mean nothing to the library: in events for the comparison of rows, in items and users for templates, rules
    and attributes, as numbers where every value is one. Left out are names that `build` would read as something."""
    items, users = what == "items", what == "users"
    taken = {ours for _, ours in meanings.pairs}
    aliases = {} if users else ITEM_ALIASES if items else EVENT_ALIASES
    others = {name for ours, names in aliases.items() if ours not in taken for name in names}
    found: dict[str, pa.ChunkedArray] = {}
    for name in meanings.unread:
        if name in taken or {folded(name), fold(name)} & others:
            continue
        column = _column(raw, raw.names.index(name), name, named)
        # Attributes of users and the context of events with a decimal point are read later, as they are of any table.
        read_here = raw.untyped and (items or pc.any(pc.match_substring(column.values, ",")).as_py())
        numbers = typed.all_numbers(column, decimal) if read_here else None
        bare = untagged(name)
        found[name if bare in (*taken, *raw.names, *found) else bare] = column.values if numbers is None else numbers
    return found


def _column(raw: _Raw, place: int, ours: str, named: str) -> Column:
    values = raw.table.column(place)
    if is_text(values.type):
        values = values.cast(pa.large_string())
    line = raw.line
    return Column(raw.names[place], ours, named, lambda row: f", line {int(line[row]):,}" if line[row] else "", values)


def _shown(broken: tuple[Broken, ...]) -> str:
    more = f"; and {len(broken) - 3:,} more" if len(broken) > 3 else ""
    return "; ".join(map(str, broken[:3])) + more


def _format_note(name: str, what: str, found: TableFormat, untyped: bool) -> str:
    if not untyped:
        return f"{what}: {name} is read as {'Parquet' if found.encoding is None else 'JSON'}"
    decimal = {",": "a decimal comma", ".": "a decimal point"}.get(found.decimal or "", "")
    dates = f"dates as {ORDERS[found.date_order]}" if found.date_order else ""
    parts = [f"encoding {found.encoding}", f"separator {found.separator!r}", decimal, dates]
    return f"{what}: {name} is read with {', '.join(part for part in parts if part)}"


def _column_notes(meanings: Meanings, what: str) -> list[str]:
    renamed = [f"{theirs!r} is {ours}" for theirs, ours in meanings.pairs if theirs != ours]
    notes = [f"{what}: {', '.join(renamed)}"] if renamed else []
    notes += [f"{what}: {note}" for note in meanings.notes]
    return notes
