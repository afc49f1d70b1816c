"""Tables as people and programs read them: aligned text, CSV, JSON, JSON lines, Parquet, run files of TREC."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from datetime import date
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from llmrec.cli.options import Command, FilePath
from llmrec.screen import PLAIN, Column, Kind, Screen, screen_of, text_table
from llmrec.store import whole_file

if TYPE_CHECKING:
    import pyarrow as pa

    from llmrec.data.table_writer import Form

SENTENCE = "sentence"  # the column that is wrapped
_SUFFIXES = {".txt": "table", ".csv": "csv", ".json": "json", ".parquet": "parquet", ".jsonl": "jsonl", ".trec": "trec"}
_NOT_WRITTEN = (".tsv", ".ndjson", ".xlsx", ".xls", ".gz", ".zip")
FORMATS = tuple(_SUFFIXES.values())
IN_PARTS = (".parquet", ".csv", ".json", ".jsonl")  # endings of files that are written part by part
TABLES = tuple(form for form in FORMATS if form != "trec")  # of commands whose answer is no list for users


def aligned(table: pa.Table, screen: Screen = PLAIN) -> str:
    """A table as text, a line a row."""
    values = table.to_pydict()
    columns = [Column(name, _kind(name, column)) for name, column in values.items()]
    return text_table(columns, list(zip(*(map(_cell, column) for column in values.values()), strict=True)), screen)


def output_options(command: Command) -> Command:
    """The options `--format`, `--json`, `--out` and `--quiet` of a command that prints lists for users: its arguments `form`,
    of which `form_of` makes the format, `out` and `quiet`."""
    return _output_options(command, FORMATS, "Output format; trec is a run file, for ranx or trec_eval.")


def table_options(command: Command) -> Command:
    """The same options of a command that prints another table, which makes no run file of TREC."""
    return _output_options(command, TABLES, "Output format.")


def _output_options(command: Command, forms: tuple[str, ...], told: str) -> Command:
    for option in (
        click.option("--quiet", is_flag=True, help="Show no progress and no notes."),
        click.option("--out", type=FilePath(dir_okay=False, path_type=Path), help="File to write instead of the screen."),
        click.option("--json", "form", flag_value="json", help="The same as --format json, for programs."),
        click.option(
            "--format",
            "form",
            type=click.Choice(forms),
            help=f"{told}  [default: as --out ends; table on the screen]",
        ),
    ):
        command = option(command)
    return command


def form_of(form: str | None, out: Path | None, forms: tuple[str, ...] = FORMATS) -> str:
    """The format to write, one of `forms`: the one that was said, or that of the file's suffix, and a table on the screen.

    Raises click.UsageError where the two differ, where neither says anything, and for Parquet without a file.
    """
    if out is None:
        if form == "parquet":
            raise click.UsageError("--format parquet needs a file: say --out lists.parquet")
        return form or "table"
    suffix = out.suffix.lower()
    endings = {ending: known for ending, known in _SUFFIXES.items() if known in forms}
    found = endings.get(suffix)
    if suffix in {*_NOT_WRITTEN, *_SUFFIXES} - {*endings} or (found is None and form is None):
        raise click.UsageError(
            f"--out is '{out}', expected a name that ends in {', '.join(endings)}, or another with --format; "
            f"{suffix or 'a name without an ending'} is not among them"
        )
    if form is not None and found not in (None, form):
        raise click.UsageError(f"--format {form} and --out '{out}' differ: give one of them, or a name for {form}")
    return form or str(found)


def put(table: pa.Table, form: str, out: Path | None) -> None:
    """Write a table to a file, or to stdout; form and out as `form_of` allows them. Raises ArtefactError for a file that cannot
    be written."""
    from llmrec.data.table_writer import write, write_file
    from llmrec.metrics.runs import trec_run

    if form in ("table", "trec"):
        text = trec_run(table) if form == "trec" else aligned(table, PLAIN if out else screen_of(sys.stdout)) + "\n"
        if out is None:
            click.echo(text, nl=False)
        else:
            with whole_file(out) as fresh:
                fresh.write_text(text, encoding="utf-8")
    elif out is None:
        sink = BytesIO()
        write(sink, [table], cast("Form", form))
        click.echo(sink.getvalue(), nl=False)
    else:
        write_file(out, [table], cast("Form", form))


def _kind(name: str, values: Sequence[Any]) -> Kind:
    there = [value for value in values if value is not None]
    if all(isinstance(value, (int, float)) for value in there):
        return "number"
    if name == SENTENCE:
        return "sentence"
    kept = name.endswith(("_id", "timestamp")) or all(isinstance(value, date) for value in there)
    return "whole" if kept else "title"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, float):
        return " ".join(str(value).split())
    if not math.isfinite(value):
        return "" if math.isnan(value) else str(value)
    if value == round(value) and abs(value) < 1e15:
        return f"{value:.0f}"
    return f"{value:.4g}" if abs(value) < 1 else f"{value:.2f}"
