"""`llmrec open`: a new scene, such as a category or a country, from the known ones that `llmrec fit --scene` learned."""

from __future__ import annotations

import json
import math
import shlex
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llmrec.cli.options import (
    FOLDER,
    MOVED_RANKER,
    TABLE,
    FilePath,
    FormatOptions,
    format_given,
    format_options,
    overheard,
    tell_of,
    told,
)
from llmrec.cli.tables import aligned
from llmrec.data.report import counted
from llmrec.screen import PLAIN, Column, Screen, paragraph, screen_of, text_table

if TYPE_CHECKING:
    import pyarrow as pa

    from llmrec.data.reading import Reading
    from llmrec.recommender.recommender import Recommender
    from llmrec.scenes.api import Known
    from llmrec.scenes.new import SceneRecommender

_SHOWN = 3
_COMPARISON = tuple(map(Column, ("method", "NDCG@10", "adapted minus it", "")))


@click.command("open")
@click.argument("folder", type=FOLDER)
@click.option(
    "--events",
    type=TABLE,
    help="File of all events so far of the scene's first customers; without it the scene is not adapted.",
)
@click.option("--items", type=TABLE, help="File of the scene's items; without it, those of the recommender.")
@click.option("--scene", metavar="VALUE", help="The new value of the scene column.  [default: detected]")
@click.option("--out", type=FilePath(file_okay=False, path_type=Path), required=True, help="Folder for the scene.")
@MOVED_RANKER
@click.option("--no-comparison", is_flag=True, help="Skip the comparison with zero steps and popularity, which takes longest.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of everything random.")
@format_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.option("--quiet", is_flag=True, help="Print only the command to recommend with.")
def open_scene(
    folder: Path,
    events: Path | str | None,
    items: Path | str | None,
    scene: str | None,
    out: Path,
    ranker: Path | None,
    no_comparison: bool,
    seed: int,
    as_json: bool,
    quiet: bool,
) -> None:
    """Start a new scene from item texts and first customers.

    First customers are used if that helps.

    FOLDER: written by `llmrec fit --scene COLUMN`. Then `llmrec recommend` recommends items of the scene for any histories.

    \b
    Examples:
      llmrec fit orders.csv --items products.csv --scene category --out shop/
      llmrec open shop/ --items new_products.csv --events first_orders.csv --out scene/
      llmrec recommend scene/ --histories clicks.csv
    """
    from llmrec.data.clean import Cleaning
    from llmrec.scenes.api import Scenes
    from llmrec.scenes.new import KIND
    from llmrec.store import check_target

    check_target(out, KIND)
    written = format_given()
    first, second = (written.read_one(path, what, folder) for path, what in ((events, "events"), (items, "items")))
    tell_of(first, second, quiet=quiet)
    with told(), nullcontext() if quiet else overheard("Note: "):
        known = Scenes.from_pretrained(folder, seed=seed, ranker=ranker)
        value = scene if scene is not None else new_value(known.known, first, second)
        cleaning = Cleaning(on_duplicate=written.on_duplicate)
        opened = known.open(None if second is None else second.table, value, cleaning=cleaning)
        if first is not None:
            opened = opened.adapt(first.table)
        compared = None if first is None or no_comparison else opened.compare(first.table)
    opened.save_pretrained(out)
    asked = ["clicks.csv"] if events is None else [str(events), *written.event_words()]
    command = shlex.join(["llmrec", "recommend", str(out), "--histories", *asked, "--titles"])
    if as_json:
        click.echo(json.dumps(_facts(out, opened, value, compared, command), indent=1, ensure_ascii=False))
    elif quiet:
        click.echo(command)
    else:
        click.echo("\n\n".join([*_told(out, opened, compared, screen_of(sys.stdout)), f"Recommend with:\n  {command}"]))


def new_value(known: Known, events: Reading | None, items: Reading | None) -> str | None:
    """The value of the known scenes' column that is new: the only one in the table that has the column; None where no table
    has. Raises click.UsageError where there are several, or none that is new."""
    column, reading = known.column, events if known.of_events else items
    if column is None or reading is None or column not in reading.table.column_names:
        if items is None and column is not None and not known.of_events:
            raise click.UsageError(f"give --items, a file of the new scene's items, or --scene, its value of {column!r}.")
        return None
    values = list(dict.fromkeys(str(value) for value in reading.table.column(column).to_pylist() if value is not None))
    new = [value for value in values if value not in known.names]
    if len(new) == 1:
        return new[0]
    shown = ", ".join(map(repr, (new or values)[:_SHOWN])) + (" …" if len(new or values) > _SHOWN else "")
    what = "hold several new values" if new else "hold no new value" if values else "hold no value"
    raise click.UsageError(f"the {'events' if known.of_events else 'items'} {what} of {column!r}: {shown}. Say --scene VALUE.")


def scene_column(scene: str, events: Reading, items: Reading | None) -> str:
    """The library's name of the column that tells scenes apart, which may be given as the file has it. Raises SchemaError where
    no table has it, or both have."""
    from llmrec.scenes.columns import check_tables

    named = dict(pair for reading in (events, items) if reading is not None for pair in reading.format.columns or ())
    column = named.get(scene, scene)
    check_tables(events.table, None if items is None else items.table, column)
    return column


def check_known(scene: str, events: Reading, items: Reading | None, written: FormatOptions, seed: int) -> None:
    """Raises DataError where too little is known to learn from the values of the column `scene`, before hours of training."""
    from llmrec.data.clean import Cleaning
    from llmrec.scenes.api import check_scenes

    cleaning = Cleaning(on_duplicate=written.on_duplicate)
    check_scenes(events.table, None if items is None else items.table, scene, cleaning, seed)


def learn_scenes(
    recommender: Recommender,
    out: Path,
    scene: str,
    repeat_purchases: bool,
    events: Reading,
    items: Reading | None,
    written: FormatOptions,
    verbose: bool,
) -> None:
    """Learn from the values of the column `scene`, and save the recommender with what was learned. A ranker that it was fitted
    with is weighed for new scenes also where it is left out of its own answers, then without the adapter that `fit` learned."""
    from llmrec.data.clean import Cleaning
    from llmrec.scenes.api import Scenes
    from llmrec.scenes.ranker_weights import without_plan

    ranker = recommender.state.own_ranker or without_plan(recommender.ranker)
    known = Scenes(seed=recommender.seed, recommender=recommender, ranker=ranker)
    known.fit(
        events.table,
        None if items is None else items.table,
        scene=scene,
        repeat_purchases=repeat_purchases,
        cleaning=Cleaning(on_duplicate=written.on_duplicate),
        verbose=verbose,
    )
    known.save_pretrained(out, recommender=True, histories=True)


def _told(out: Path, opened: SceneRecommender, compared: Any, screen: Screen) -> list[str]:
    from llmrec.data.frames import to_arrow

    among = counted(int(opened.scene.shelf.among.sum()), "item")
    moved = opened.scene.reranker
    by = "" if moved is None else f"; {type(moved.ranker).__name__} moves the first {moved.top} items"
    by += f", after {opened.ranker_steps} steps of its adapter" if opened.ranker_steps else ""
    lines = [f"{out}: {among}, {counted(opened.customers, 'first customer')}, adapted by: {opened.name}{by}"]
    if opened.evidence is not None:
        report = to_arrow(opened.selection_report, "report")
        head = (
            "Designs, by their gain over zero steps in nats per event: known, in known scenes; held, on held-out events of "
            "these customers; expected, of both"
        )
        lines.append(f"{paragraph(head, screen)}\n{aligned(report, screen)}")
    if compared is not None:
        lines.append(comparison_text(to_arrow(compared, "comparison"), screen))
    return lines


def comparison_text(table: pa.Table, screen: Screen = PLAIN) -> str:
    """The comparison as a table, and what it says."""
    rows = table.to_pylist()
    if not rows:
        return "No comparison: no customer has a basket before the last one here."
    head = f"What each of {counted(rows[0]['customers'], 'customer')} bought last, ranked by what the others bought"
    body = []
    for row in rows:
        line = [row["method"], f"{row['ndcg@10']:.4f}\n[{row['low']:.4f}, {row['high']:.4f}]", "", ""]
        if row["adapted_minus"] is not None:
            low, high = row["minus_low"], row["minus_high"]
            line[2] = f"{row['adapted_minus']:+.4f}\n[{low:+.4f}, {high:+.4f}]"
            line[3] = "adapted is better" if low > 0 else "adapted is worse" if high < 0 else "no clear difference"
        body.append(line)
    return f"{paragraph(head, screen)}\n{text_table(_COMPARISON, body, screen)}"


def _facts(out: Path, opened: SceneRecommender, value: str | None, compared: Any, command: str) -> dict[str, Any]:
    from llmrec.data.frames import to_arrow

    def rows(frame: Any) -> list[dict[str, Any]]:
        found = to_arrow(frame, "report").to_pylist()
        return [  # NaN and infinity are no JSON
            {name: None if isinstance(cell, float) and not math.isfinite(cell) else cell for name, cell in row.items()}
            for row in found
        ]

    return {
        "folder": str(out),
        "scene": value,
        "items": int(opened.scene.shelf.among.sum()),
        "customers": opened.customers,
        "chosen": opened.name,
        "selection": rows(opened.selection_report),
        "comparison": None if compared is None else rows(compared),
        "command": command,
    }
