"""Tables as people and programs read them: aligned text, CSV, JSON, Parquet."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import pyarrow as pa

_WIDEST = 40
FORMATS = ("table", "csv", "json", "parquet")


def aligned(table: pa.Table) -> str:
    """A table as text, a line a row; long texts are cut, and Chinese characters count as two columns."""
    head = table.column_names
    body = [[_cell(value) for value in row.values()] for row in table.to_pylist()]
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


def put(table: pa.Table, form: str, out: Path | None) -> None:
    """Write a table to a file, or to stdout. Raises click.UsageError for Parquet without a file."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
    if form == "parquet":
        if out is None:
            raise click.UsageError("--format parquet needs a file: say --out lists.parquet")
        pyarrow.parquet.write_table(table, out)
    elif form == "csv":
        if out is not None:
            pyarrow.csv.write_csv(table, out)
        else:
            sink = pa.BufferOutputStream()
            pyarrow.csv.write_csv(table, sink)
            click.echo(sink.getvalue().to_pybytes().decode("utf-8"), nl=False)
    else:
        text = aligned(table) if form == "table" else json.dumps(table.to_pylist(), indent=1, ensure_ascii=False, default=str)
        if out is not None:
            out.write_text(text + "\n", encoding="utf-8")
        else:
            click.echo(text)


def _cell(value: Any) -> str:
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
    return text if len(text) <= _WIDEST else text[: _WIDEST - 1] + "…"


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)
