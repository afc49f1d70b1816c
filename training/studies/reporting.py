"""What the commands of studies print at their end, and the report that they write."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from llmrec.metrics.report import Result, table, write_report


def print_tables(rows: Sequence[Result], name: str, metrics: Iterable[str], errors: Container[str]) -> None:
    """A table of each metric. errors: those of which less is better."""
    for metric in metrics:
        click.echo(f"{metric}\n{table(rows, name, metric, versus='', higher_is_better=metric not in errors)}\n")


def print_gains(rows: Sequence[Result]) -> None:
    """A line for each paired difference."""
    for row in rows:
        if row.versus:
            gain = f"{row.value:+.4f} [{row.low:+.4f}, {row.high:+.4f}] ({row.n})"
            click.echo(f"{row.setting}, {row.metric}: {row.method} - {row.versus}: {gain}")


def save_report(output: Path | None, rows: Sequence[Result], extra: Mapping[str, Any]) -> None:
    """Write the JSON report and say so; nothing without `output`."""
    if output is not None:
        write_report(output, rows, dict(extra))
        click.echo(f"written: {output}")
