"""`llmrec recommend`: lists for users known by id, or for the users of a table of histories."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llmrec.cli.options import EXISTING, FilePath, event_format_options, format_given, told
from llmrec.cli.tables import FORMATS, put

if TYPE_CHECKING:
    from llmrec.data.ids import Ids


@click.command()
@click.argument("folder", type=FilePath(exists=True, file_okay=False, path_type=Path))
@click.option("--users", metavar="ID,ID", help="Users known by id, with commas between.")
@click.option("--histories", type=EXISTING, help="A table of events of users, who need not be known; read as by `check`.")
@click.option("--k", type=click.IntRange(min=1), default=10, show_default=True, help="Items a user.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True, help="What to write.")
@click.option("--out", type=FilePath(dir_okay=False, path_type=Path), help="File to write instead of the screen.")
@click.option("--titles", is_flag=True, help="With the titles of the items.")
@event_format_options
def recommend(
    folder: Path, users: str | None, histories: Path | None, k: int, form: str, out: Path | None, titles: bool
) -> None:
    """Recommend items with a recommender that `llmrec fit` saved.

    \b
    Examples:
      llmrec recommend shop/ --users 17850,13047 --titles
      llmrec recommend shop/ --histories clicks.csv --k 20 --format csv --out lists.csv
    """
    if (users is None) == (histories is None):
        raise click.UsageError("give either --users, known by id, or --histories, a table of events.")
    if form == "parquet" and out is None:
        raise click.UsageError("--format parquet needs a file: say --out lists.parquet.")
    from llmrec.data.frames import to_arrow
    from llmrec.recommender.recommender import Recommender

    table = None
    if histories is not None:
        table = format_given().read(histories, None)[0].table
    with told():
        recommender = Recommender.from_pretrained(folder)
        if users is not None:
            asked = known_ids(users, recommender.state.known.first.users)
            answer = recommender.recommend(asked, k, titles=titles)
        else:
            answer = recommender.recommend(histories=table, k=k, titles=titles)
    put(to_arrow(answer, "answer"), form, out)


def known_ids(text: str, known: Ids) -> list[Any]:
    """Ids with commas between, of the type of the known ones. Raises click.UsageError for what is none."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise click.UsageError(f"--users holds {text!r}, expected ids with commas between.")
    kind = type(known[0]) if len(known) else str
    try:
        return [uuid.UUID(part) if kind is uuid.UUID else kind(part) for part in parts]
    except ValueError as error:
        raise click.UsageError(f"--users holds {text!r}, but the known ids are numbers such as {known[0]!r}.") from error
