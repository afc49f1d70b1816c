"""Tables that come in parts, written to a file part by part: Parquet, CSV, JSON, or JSON lines."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import pyarrow as pa

from llmrec.data.frames import storage
from llmrec.errors import DataError
from llmrec.store import located, whole_file

Form = Literal["parquet", "csv", "json", "jsonl"]
FORMS: dict[str, Form] = {".parquet": "parquet", ".csv": "csv", ".json": "json", ".jsonl": "jsonl"}
ROW_GROUP = 1 << 17  # rows of a row group of Parquet, at least: readers are slow with many small ones


def form_of(path: str | Path) -> Form:
    """The form that the ending of a file's name says. Raises DataError for another ending."""
    found = FORMS.get(located(path).suffix.lower())
    if found is None:
        raise DataError(f"{path}: expected a name that ends in {', '.join(FORMS)}, got {Path(path).suffix or 'no ending'!r}")
    return found


def write_file(path: str | Path, tables: Iterable[pa.Table], form: Form) -> None:
    """Write tables of one schema to a file as `write` does. The file is there when all of it is written, and not before: if the
    process is stopped, an older file stays. Raises ArtefactError for a path that cannot be written to."""
    with whole_file(path) as fresh, fresh.open("wb") as sink:
        write(sink, tables, form)


def write(sink: BinaryIO, tables: Iterable[pa.Table], form: Form) -> None:
    """Write tables of one schema, at least one, one below the other. No more of them are held at a time than a row group takes,
    or a single one. Those without rows may have another schema."""
    {"parquet": _parquet, "csv": _csv, "json": _json, "jsonl": _json_lines}[form](sink, tables)


def _parquet(sink: BinaryIO, tables: Iterable[pa.Table]) -> None:
    import pyarrow.parquet

    _through(lambda schema: pyarrow.parquet.ParquetWriter(sink, schema), _parts(tables, ROW_GROUP))


def _csv(sink: BinaryIO, tables: Iterable[pa.Table]) -> None:
    import pyarrow.csv

    _through(lambda schema: pyarrow.csv.CSVWriter(sink, schema), map(_readable, _parts(tables, 1)))


def _through(open_writer: Callable[[pa.Schema], Any], parts: Iterable[pa.Table]) -> None:
    writer = None
    try:
        for part in parts:
            writer = writer or open_writer(part.schema)
            writer.write_table(part)
    finally:
        if writer is not None:
            writer.close()


def _json(sink: BinaryIO, tables: Iterable[pa.Table]) -> None:
    between = "["
    for part in _parts(tables, 1):
        for row in part.to_pylist():
            text = json.dumps(row, indent=1, ensure_ascii=False, default=str).replace("\n", "\n ")
            sink.write(f"{between}\n {text}".encode())
            between = ","
    sink.write(b"[]\n" if between == "[" else b"\n]\n")


def _json_lines(sink: BinaryIO, tables: Iterable[pa.Table]) -> None:
    for part in _parts(tables, 1):
        sink.writelines(f"{json.dumps(row, ensure_ascii=False, default=str)}\n".encode() for row in part.to_pylist())


def _parts(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """The tables put together until each has so many rows, the last one fewer; none without rows, unless there is no other."""
    held: list[pa.Table] = []
    first, empty = True, None
    for table in tables:
        if not len(table):
            empty = table
            continue
        held.append(table)
        if sum(map(len, held)) >= rows:
            yield pa.concat_tables(held)
            held, first = [], False
    if held or (first and empty is not None):
        yield pa.concat_tables(held or [cast(pa.Table, empty)])


def _readable(table: pa.Table) -> pa.Table:
    """With UUIDs as text, which CSV has no type for."""
    for place, name in enumerate(table.column_names):
        column = table.column(name)
        if storage(column) is not column:
            table = table.set_column(place, name, pa.array([None if v is None else str(v) for v in column.to_pylist()]))
    return table
