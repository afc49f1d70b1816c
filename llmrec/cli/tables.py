"""Tables as people and programs read them: aligned text, CSV, JSON, Parquet, run files of TREC."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llmrec.store import writing_to

if TYPE_CHECKING:
    import pyarrow as pa

_WIDEST = 40
_SUFFIXES = {".txt": "table", ".csv": "csv", ".json": "json", ".parquet": "parquet", ".trec": "trec"}
_NOT_WRITTEN = (".tsv", ".jsonl", ".ndjson", ".xlsx", ".xls", ".gz", ".zip")
FORMATS = tuple(_SUFFIXES.values())


def aligned(table: pa.Table, widest: int | None = _WIDEST) -> str:
    """A table as text, a line a row; Chinese characters count as two columns. widest: texts are cut there, None cuts none."""
    head = table.column_names
    body = [[_cell(value, widest) for value in row.values()] for row in table.to_pylist()]
    numeric = [
        all(value is None or isinstance(value, (int, float)) for value in column.to_pylist()) for column in table.columns
    ]
    width = [max((_width(row[i]) for row in [head, *body]), default=0) for i in range(len(head))]
    lines = []
    for row in [head, *body]:
        cells = []
        for text, size, right in zip(row, width, numeric, strict=True):
            gap = " " * (size - _width(text))
            cells.append(gap + text if right else text + gap)
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def form_of(form: str | None, out: Path | None) -> str:
    """The format to write: the one that was said, or that of the file's suffix, and a table on the screen.

    Raises click.UsageError where the two differ, where neither says anything, and for Parquet without a file.
    """
    if out is None:
        if form == "parquet":
            raise click.UsageError("--format parquet needs a file: say --out lists.parquet")
        return form or "table"
    suffix = out.suffix.lower()
    found = _SUFFIXES.get(suffix)
    if suffix in _NOT_WRITTEN or (found is None and form is None):
        raise click.UsageError(
            f"--out is '{out}', expected a name that ends in {', '.join(_SUFFIXES)}, or another with --format; "
            f"{suffix or 'a name without an ending'} is not among them"
        )
    if form is not None and found not in (None, form):
        raise click.UsageError(f"--format {form} and --out '{out}' differ: give one of them, or a name for {form}")
    return form or str(found)


def put(table: pa.Table, form: str, out: Path | None) -> None:
    """Write a table to a file, or to stdout; form and out as `form_of` allows them. Raises ArtefactError for a file that cannot
    be written."""
    if out is None:
        click.echo(_bytes(table, form, _WIDEST), nl=False)
        return
    with writing_to(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(_bytes(table, form, None))


def _bytes(table: pa.Table, form: str, widest: int | None) -> bytes:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    if form in ("csv", "parquet"):
        sink = pa.BufferOutputStream()
        (pyarrow.csv.write_csv if form == "csv" else pyarrow.parquet.write_table)(table, sink)
        return sink.getvalue().to_pybytes()
    if form == "trec":
        from llmrec.metrics.runs import trec_run

        return trec_run(table).encode()
    if form == "table":
        return (aligned(table, widest) + "\n").encode()
    return (json.dumps(table.to_pylist(), indent=1, ensure_ascii=False, default=str) + "\n").encode()


def _cell(value: Any, widest: int | None) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return (
            f"{value:.0f}"
            if value == round(value) and abs(value) < 1e15
            else f"{value:.4g}"
            if abs(value) < 1
            else f"{value:.2f}"
        )
    text = " ".join(str(value).split())
    return text if widest is None or len(text) <= widest else text[: widest - 1] + "…"


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)
