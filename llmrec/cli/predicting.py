"""`llmrec predict`: how likely users like items, from ratings, likes and dislikes."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from llmrec.cli.options import FOLDER, MOVED_RANKER, TABLE, USERS, event_format_options, format_given, overheard, tell_of, told
from llmrec.cli.rankers import recommender_of
from llmrec.cli.recommending import known_ids, warn_of_strangers
from llmrec.cli.tables import TABLES, form_of, put, table_options


@click.command()
@click.argument("folder", type=FOLDER)
@USERS
@click.option(
    "--histories",
    type=TABLE,
    help="File of events of users, known or new, with a column rating or event_type; read as for recommend.",
)
@click.option("--items", metavar="ID,ID", help="Ids of items, separated by commas.  [default: all that are not hidden]")
@click.option(
    "--level",
    type=float,
    default=0.9,
    show_default=True,
    help="Probability that the rating lies between low and high.",
)
@click.option("--titles", is_flag=True, help="Add the items' titles.")
@MOVED_RANKER
@table_options
@event_format_options
def predict(
    folder: Path,
    users: str | None,
    histories: Path | str | None,
    items: str | None,
    level: float,
    titles: bool,
    ranker: Path | None,
    form: str | None,
    out: Path | None,
    quiet: bool,
) -> None:
    """Predict the probability that users like items.

    FOLDER: a recommender fitted on ratings, or on likes and dislikes.

    \b
    Examples:
      llmrec fit ratings.csv --items films.csv --out films/
      llmrec predict films/ --users 196,186 --items 242,302 --titles
      llmrec predict films/ --histories new_ratings.csv --items 242,302
      llmrec predict films/ --histories new_ratings.csv --out likes.parquet

    \b
    One row for each user and item:
      probability   that the user likes the item
      expected      the expected rating; with likes and dislikes alone, 1 for a like and 0 for a dislike
      low, high     the rating lies between them with the probability of --level
      labels        number of the user's ratings, likes and dislikes

    \b
    Name event types that are likes and dislikes in the settings of `llmrec fit`:
      signed: {positive: [purchase], negative: [return]}

    A user without labels gets the prediction for an average user. All rows are held in memory: with many users, pass --items.
    """
    if (users is None) == (histories is None):
        raise click.UsageError("give either --users, known by id, or --histories, a table of events.")
    form = form_of(form, out, TABLES)
    from llmrec.data.frames import to_arrow
    from llmrec.data.ids import Ids
    from llmrec.data.requests import with_titles
    from llmrec.store import check_parent

    if out is not None:
        check_parent(out)
    reading = format_given().read_one(histories, "events", folder)
    tell_of(reading, quiet=quiet)
    with told(), nullcontext() if quiet else overheard("Note: "):
        recommender = recommender_of(folder, ranker)
        catalogue, known = recommender.state.catalogue, recommender.state.known
        about = None if items is None else known_ids(items, catalogue.ids, "--items")
        asked: Any = None
        if users is not None:
            asked = known_ids(users, known.first.users)
            if known.first.n_users:  # else the library warns
                warn_of_strangers(asked, known.knows(Ids(asked)), "the prediction for an average user")
        answer = recommender.predict(asked, about, None if reading is None else reading.table, level=level)
    shown = to_arrow(answer, "answer")
    if titles:
        shown = with_titles(shown, catalogue, catalogue.ids.find(shown.column("item_id").to_pylist()))
    put(shown, form, out)
