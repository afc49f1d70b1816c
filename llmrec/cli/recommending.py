"""`llmrec recommend`: lists for users known by id, for all of them, or for the users of a table of histories."""

from __future__ import annotations

import uuid
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llmrec.cli.options import EXISTING, FilePath, event_format_options, format_given, losses_of, overheard, told, warn
from llmrec.cli.tables import form_of, output_options, put

if TYPE_CHECKING:
    from llmrec.data.ids import Ids


@click.command()
@click.argument("folder", type=FilePath(exists=True, file_okay=False, path_type=Path))
@click.option("--users", metavar="ID,ID", help="Ids of known users, separated by commas.")
@click.option("--histories", type=EXISTING, help="File of events of users, known or new; read as `check` reads it.")
@click.option("--all", "everybody", is_flag=True, help="All users who were saved, batch by batch to a file.")
@click.option("--k", type=click.IntRange(min=1), default=10, show_default=True, help="Items per user.")
@click.option("--rules", type=EXISTING, help="YAML file of the shop's rules: filters, at_most, boost, pin, ...")
@click.option("--titles", is_flag=True, help="Add the items' titles.")
@output_options
@event_format_options
def recommend(
    folder: Path,
    users: str | None,
    histories: Path | None,
    everybody: bool,
    k: int,
    rules: Path | None,
    titles: bool,
    form: str | None,
    out: Path | None,
    quiet: bool,
) -> None:
    """Recommend items with a recommender that `llmrec fit` saved.

    \b
    Examples:
      llmrec recommend shop/ --users 17850,13047 --titles
      llmrec recommend shop/ --histories clicks.csv --k 20 --out lists.csv
      llmrec recommend shop/ --all --out lists.parquet
      llmrec recommend shop/ --users 17850 --rules rules.yaml

    \b
    rules.yaml, of which every line may be left out:
      filters: ["price < 50", in_stock, "category in ['Wine', 'Beer']"]
      at_most: {brand: 1}
      boost: [{where: on_sale, factor: 1.5}]
      pin: {1: item-7}

    Lists of --all and --histories go to a .parquet, .csv, .json or .jsonl file batch by batch: memory does not grow with their
    number.
    """
    if (users is not None) + (histories is not None) + everybody != 1:
        raise click.UsageError("give either --users, known by id, or --histories, a table of events, or --all.")
    form = form_of(form, out)
    batched = users is None and out is not None and out.suffix.lower() == f".{form}" and form != "trec"
    if everybody and not batched:
        raise click.UsageError("--all writes a file: say --out lists.parquet, or another name in .csv, .json or .jsonl.")
    from llmrec.data.frames import to_arrow
    from llmrec.recommender.recommender import Recommender
    from llmrec.rules.rules import Rules
    from llmrec.store import check_parent

    if out is not None:
        check_parent(out)
    table = None
    if histories is not None:
        reading = format_given().read(histories, None)[0]
        table = reading.table
        for line in losses_of(reading):
            warn(line)
    with told(), nullcontext() if quiet else overheard("" if batched else "Note: "):
        ruled = None if rules is None else Rules.from_yaml(rules)
        recommender = Recommender.from_pretrained(folder)
        if batched and out is not None:
            recommender.recommend_all(out, k, histories=table, titles=titles, verbose=not quiet, rules=ruled)
            return
        if users is not None:
            asked = known_ids(users, recommender.state.known.first.users)
            answer = recommender.recommend(asked, k, titles=titles, rules=ruled)
        else:
            answer = recommender.recommend(histories=table, k=k, titles=titles, rules=ruled)
    put(to_arrow(answer, "answer"), form, out)


def known_ids(text: str, known: Ids, option: str = "--users") -> list[Any]:
    """Ids separated by commas, each once, of the type of the known ones. Raises click.UsageError, which names the option, for
    what is none."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise click.UsageError(f"{option} is empty, expected ids separated by commas.")
    kind = type(known[0]) if len(known) else str
    return list(dict.fromkeys(_known_id(part, kind, known, option) for part in parts))


def _known_id(part: str, kind: type, known: Ids, option: str) -> Any:
    try:
        return kind(part)
    except ValueError as error:
        kinds, example = ("UUIDs", str(known[0])) if kind is uuid.UUID else ("numbers", repr(known[0]))
        raise click.UsageError(f"{option} holds {part!r}, but the known ids are {kinds}, such as {example}.") from error
