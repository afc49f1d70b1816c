"""`llmrec recommend`: lists for users known by id, or for the users of a table of histories."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llmrec.cli.options import EXISTING, FilePath, event_format_options, format_given, overheard, told, warn
from llmrec.cli.tables import FORMATS, form_of, put

if TYPE_CHECKING:
    from llmrec.data.ids import Ids


@click.command()
@click.argument("folder", type=FilePath(exists=True, file_okay=False, path_type=Path))
@click.option("--users", metavar="ID,ID", help="Ids of known users, separated by commas.")
@click.option("--histories", type=EXISTING, help="File of events of users, known or new; read as `check` reads it.")
@click.option("--k", type=click.IntRange(min=1), default=10, show_default=True, help="Items per user.")
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    help="Output format; trec is a run file, for ranx or trec_eval.  [default: as --out ends; table on the screen]",
)
@click.option("--out", type=FilePath(dir_okay=False, path_type=Path), help="File to write instead of the screen.")
@click.option("--titles", is_flag=True, help="Add the items' titles.")
@event_format_options
def recommend(
    folder: Path, users: str | None, histories: Path | None, k: int, form: str | None, out: Path | None, titles: bool
) -> None:
    """Recommend items with a recommender that `llmrec fit` saved.

    \b
    Examples:
      llmrec recommend shop/ --users 17850,13047 --titles
      llmrec recommend shop/ --histories clicks.csv --k 20 --format csv --out lists.csv
    """
    if (users is None) == (histories is None):
        raise click.UsageError("give either --users, known by id, or --histories, a table of events.")
    form = form_of(form, out)
    from llmrec.data.frames import to_arrow
    from llmrec.recommender.recommender import Recommender
    from llmrec.store import check_parent

    if out is not None:
        check_parent(out)
    table = None
    if histories is not None:
        reading = format_given().read(histories, None)[0]
        table = reading.table
        for line in reading.losses:
            warn(line)
    with told(), overheard("Note: "):
        recommender = Recommender.from_pretrained(folder)
        if users is not None:
            asked = known_ids(users, recommender.state.known.first.users)
            answer = recommender.recommend(asked, k, titles=titles)
        else:
            answer = recommender.recommend(histories=table, k=k, titles=titles)
    put(to_arrow(answer, "answer"), form, out)


def known_ids(text: str, known: Ids) -> list[Any]:
    """Ids separated by commas, each once, of the type of the known ones. Raises click.UsageError for what is none."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise click.UsageError("--users is empty, expected ids separated by commas.")
    kind = type(known[0]) if len(known) else str
    return list(dict.fromkeys(_known_id(part, kind, known) for part in parts))


def _known_id(part: str, kind: type, known: Ids) -> Any:
    try:
        return kind(part)
    except ValueError as error:
        kinds, example = ("UUIDs", str(known[0])) if kind is uuid.UUID else ("numbers", repr(known[0]))
        raise click.UsageError(f"--users holds {part!r}, but the known ids are {kinds}, such as {example}.") from error
