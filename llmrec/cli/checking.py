"""`llmrec check`: how files are read, what cleaning would drop, and the command that trains on them."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llmrec.cli.options import (
    TABLE,
    FormatOptions,
    chosen_settings,
    format_given,
    format_options,
    in_options,
    told,
    warn_if_few,
    with_reading,
)
from llmrec.cli.tables import aligned
from llmrec.data.report import counted, report_text
from llmrec.screen import Column, Screen, paragraph, screen_of, text_table

if TYPE_CHECKING:
    from llmrec.data.clean import CleaningReport
    from llmrec.data.dataset import Dataset
    from llmrec.data.reading import Reading
    from llmrec.recommender.settings import Settings

_ROWS = 3
_BROKEN = 5  # rows that are shown


@click.command()
@click.argument("events", type=TABLE)
@click.argument("items", type=TABLE, required=False)
@format_options
@click.option(
    "--settings",
    default="default",
    show_default=True,
    metavar="quick|default|best|FILE.yaml",
    help="As in `llmrec fit`: with event types that are `negative` in the file, returns are kept.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.option("--quiet", is_flag=True, help="Print only the command to train with.")
def check(events: Path | str, items: Path | str | None, settings: str, as_json: bool, quiet: bool) -> None:
    """Show how files are read, and the command to train on them.

    Also shows what cleaning would drop. Nothing is written.

    EVENTS, ITEMS: .csv, .tsv, .txt, JSON lines or .parquet, text also as .gz, in any encoding, with any separator; a folder of
    .parquet files or of a saved Hugging Face dataset; or a table on the hub, hf://datasets/owner/name or
    hf://datasets/owner/name/FILE. Anything that could be read in two ways, such as the date 03/04/2026, is an error that names
    the option to settle it.

    \b
    Examples:
      llmrec check export.csv
      llmrec check orders.csv products.csv --columns "Kd=user_id" --date-format dmy
    """
    from llmrec.data.build import build
    from llmrec.data.clean import Cleaning
    from llmrec.signed.labels import scale_of

    chosen = chosen_settings(settings)
    written = format_given()
    lenient = written if written.on_bad_rows == "error" else replace(written, on_bad_rows="skip")
    readings = lenient.read(events, items)
    command = _command(events, items, settings, written, readings)
    screen = screen_of(sys.stdout)
    if not as_json and not quiet:
        for path, reading in zip((events, items), readings, strict=True):
            if reading is not None and path is not None:
                click.echo(_shown(path, reading, screen) + "\n")
    first, second = readings
    with told():
        dataset, report = build(
            first.table,
            None if second is None else second.table,
            cleaning=Cleaning(on_duplicate=written.on_duplicate),
            negative=chosen.signed.negative,
        )
    scale_of(dataset, chosen.signed)  # an event type that no event has is an error here as in fit
    warn_if_few(dataset.n_users)
    if as_json:
        click.echo(
            json.dumps(_facts(events, items, readings, dataset, report, command), indent=1, ensure_ascii=False, default=str)
        )
    elif quiet:
        click.echo(command)
    else:
        said = report_text(with_reading(report, *readings), screen)
        click.echo(f"What cleaning does to it\n{said}\n\n{_kept(dataset, chosen, screen)}\n\nTrain on it:\n  {command}")


def _command(
    events: Path | str,
    items: Path | str | None,
    settings: str,
    written: FormatOptions,
    readings: tuple[Reading, Reading | None],
) -> str:
    from llmrec.data.reading import few

    order = readings[0].format.date_order
    there = [reading for reading in readings if reading is not None]
    many = any(not few(len(reading.broken), len(reading.table) + len(reading.broken)) for reading in there)
    exact = replace(written, date_format=written.date_format or order, on_bad_rows="skip" if many else written.on_bad_rows)
    files = [str(events), *(["--items", str(items)] if items else [])]
    how = [] if settings == "default" else ["--settings", settings]
    return shlex.join(["llmrec", "fit", *files, "--out", "shop/", *how, *exact.words()])


def _shown(path: Path | str, reading: Reading, screen: Screen) -> str:
    """The guess: format, columns, broken rows and the first rows as they were read."""
    from llmrec.data.reading import REPAIRED, UNREADABLE
    from llmrec.data.table_format import ORDERS

    found, table = reading.format, reading.table
    facts = {
        "rows": f"{len(table):,}",
        "encoding": found.encoding,
        "separator": repr(found.separator) if found.separator else None,
        "decimal": {",": "comma", ".": "point"}.get(found.decimal or ""),
        "dates": ORDERS.get(found.date_order or ""),
        "columns": ", ".join(f"{theirs} -> {ours}" if theirs != ours else ours for theirs, ours in found.columns or ()),
        "not read": ", ".join(reading.unread),
    }
    broken = [str(row) for row in reading.broken[:_BROKEN]]
    if len(reading.broken) > _BROKEN:
        broken.append(f"and {len(reading.broken) - _BROKEN:,} more")
    rows = [(name, fact) for name, fact in facts.items() if fact]
    rows += [("" if number else "broken rows", row) for number, row in enumerate(broken)]
    shown = {REPAIRED: "repaired", UNREADABLE: "unreadable"}
    rows += [(shown[step.name], step.detail) for step in reading.steps if step.name in shown and step.detail]
    said = text_table((Column(""), Column("", "sentence")), [(f"  {name:<12}", fact) for name, fact in rows], screen)
    first = aligned(table.slice(0, _ROWS).select([ours for _, ours in found.columns or ()]), screen)
    return f"{path}\n{said}\n\n{first}"


def _kept(dataset: Dataset, settings: Settings, screen: Screen) -> str:
    from llmrec.recommender.auto import facts, resolve

    train = resolve(settings, facts(dataset, blend_users=0)).train
    assert train.known is not None and train.horizon is not None
    least = train.known[0] + train.horizon
    left = [counted(dataset.n_events, "event"), counted(dataset.n_users, "user"), counted(dataset.n_items, "item")]
    return paragraph(
        f"Left: {left[0]} of {left[1]} with {left[2]}. Training learns from the "
        f"{counted(int((dataset.n_baskets >= least).sum()), 'user')} with {counted(least, 'basket')} or more",
        screen,
    )


def _facts(
    events: Path | str,
    items: Path | str | None,
    readings: tuple[Reading, Reading | None],
    dataset: Dataset,
    report: CleaningReport,
    command: str,
) -> dict[str, Any]:
    found = {}
    for name, path, reading in zip(("events", "items"), (events, items), readings, strict=True):
        if reading is not None:
            found[name] = {
                "file": str(path),
                "format": reading.format.to_dict(),
                "not_understood": list(reading.unread),
                "rows": len(reading.table),
                "broken": [{"line": row.line, "why": row.why, "text": row.text} for row in reading.broken],
                "first_rows": reading.table.slice(0, _ROWS).to_pylist(),
                "notes": [in_options(note) for note in reading.notes],
            }
    left = {"events": dataset.n_events, "users": dataset.n_users, "items": dataset.n_items}
    return found | {"cleaning": with_reading(report, *readings).to_dict(), "left": left, "command": command}
