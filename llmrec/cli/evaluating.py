"""`llmrec evaluate`: how well a recommender ranks for users who were held out, beside simple controls."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llmrec.cli.options import (
    MOVED_RANKER,
    TABLE,
    FilePath,
    event_format_options,
    format_given,
    overheard,
    tell_of,
    told,
    user_format_options,
)
from llmrec.cli.rankers import recommender_of
from llmrec.cli.tables import TABLES, form_of, put, table_options
from llmrec.data.report import counted
from llmrec.screen import PLAIN, Column, Screen, paragraph, screen_of, text_table

if TYPE_CHECKING:
    from llmrec.metrics.report import Result

METRICS = {"ndcg@10": "NDCG@10", "recall@10": "Recall@10", "auc": "AUC"}
LEGEND = "▲ llmrec is better, ▼ llmrec is worse, = no clear difference. Brackets: 95% intervals over users."


@click.command()
@click.argument("folder", type=FilePath(exists=True, file_okay=False, path_type=Path))
@click.argument("events", type=TABLE)
@click.option(
    "--known",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="Known baskets of each user; 0 needs a recommender fitted with --users.",
)
@click.option(
    "--users", type=TABLE, help="File of user_id and attributes, for a recommender fitted with --users; see --user-columns."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the intervals.")
@MOVED_RANKER
@table_options
@event_format_options
@user_format_options
def evaluate(
    folder: Path,
    events: Path | str,
    known: int,
    users: Path | str | None,
    seed: int,
    ranker: Path | None,
    form: str | None,
    out: Path | None,
    quiet: bool,
) -> None:
    """Measure how well later baskets of held-out users are ranked.

    Their first baskets are given. Compares `recommend` with zero steps, popularity and most frequent, by NDCG@10, Recall@10 and
    AUC. EVENTS: a file as `llmrec check` reads it, of users who were held out of `llmrec fit`.

    \b
    Examples:
      llmrec evaluate shop/ held_out.csv
      llmrec evaluate shop/ held_out.csv --known 3 --out report.json
    """
    form = form_of(form, out, TABLES)
    from llmrec.store import check_parent

    if out is not None:
        check_parent(out)
    written = format_given()
    reading, people = (written.read_one(path, what, folder) for path, what in ((events, "events"), (users, "users")))
    assert reading is not None  # EVENTS is required
    tell_of(reading, people, quiet=quiet)
    with told(), nullcontext() if quiet else overheard("Note: "):
        recommender = recommender_of(folder, ranker)
        found = recommender.evaluate(reading.table, known, seed=seed, users=None if people is None else people.table)
    if form == "table" and out is None:
        click.echo(readable(found, known, recommender.state.settings.train.horizon, screen_of(sys.stdout)))
        return
    import pyarrow as pa

    put(pa.Table.from_pylist([asdict(row) for row in found]), form, out)


def readable(rows: Sequence[Result], known: int, horizon: int, screen: Screen = PLAIN) -> str:
    """Two tables: each method by each metric, and the differences of ours from the others."""
    from llmrec.evaluation.summary import baskets

    plain, gaps = ([row for row in rows if bool(row.versus) is versus] for versus in (False, True))
    methods = list(dict.fromkeys(row.method for row in plain))
    head = f"{plain[0].n:,} users; known: {counted(known, 'basket')}; to be found: the items of the next {baskets(horizon)}"
    cells = {(row.method, row.metric): f"{row.value:.4f}\n[{row.low:.4f}, {row.high:.4f}]" for row in plain}
    differences = {(row.versus, row.metric): _difference(row) for row in gaps}
    others = [method for method in methods if (method, next(iter(METRICS))) in differences]
    tables = [
        text_table(
            [Column(corner), *map(Column, METRICS.values())],
            [[method, *(found[method, metric] for metric in METRICS)] for method in down],
            screen,
        )
        for corner, down, found in (("method", methods, cells), (f"{methods[0]} minus", others, differences))
    ]
    return "\n\n".join([paragraph(head, screen), *tables, paragraph(LEGEND, screen)])


def _difference(row: Result) -> str:
    assert row.low is not None and row.high is not None  # a difference has an interval
    mark = "=" if row.low <= 0 <= row.high else "▲" if row.low > 0 else "▼"
    return f"{row.value:+.4f}\n[{row.low:+.4f}, {row.high:+.4f}] {mark}"
