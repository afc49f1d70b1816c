"""`llmrec recommend`: lists for users known by id, or for the users of a table of histories."""

from __future__ import annotations

import re
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llmrec.cli.options import (
    EXISTING,
    FOLDER,
    FilePath,
    event_format_options,
    format_given,
    overheard,
    told,
    user_format_options,
    warn_of_losses,
)
from llmrec.cli.tables import FORMATS, form_of, put

if TYPE_CHECKING:
    from llmrec.data.ids import Ids


@click.command()
@click.argument("folder", type=FOLDER)
@click.option("--users", metavar="ID,ID", help="Ids of known users, separated by commas.")
@click.option("--histories", type=EXISTING, help="File of events of users, known or new; read as `check` reads it.")
@click.option(
    "--attributes",
    type=EXISTING,
    help="File of user_id and attributes, of a recommender fitted with --users; alone, its users are answered by these.",
)
@click.option(
    "--context",
    metavar='"NAME=VALUE"',
    multiple=True,
    help="What is known of the request, of a recommender fitted with --context; may be repeated.",
)
@click.option("--adapter", type=FOLDER, help="Read the histories under this adapter, which `llmrec adapt` wrote.")
@click.option("--k", type=click.IntRange(min=1), default=10, show_default=True, help="Items per user.")
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    help="Output format.  [default: as --out ends; table on the screen]",
)
@click.option("--out", type=FilePath(dir_okay=False, path_type=Path), help="File to write instead of the screen.")
@click.option("--titles", is_flag=True, help="Add the items' titles.")
@event_format_options
@user_format_options
def recommend(
    folder: Path,
    users: str | None,
    histories: Path | None,
    attributes: Path | None,
    context: tuple[str, ...],
    adapter: Path | None,
    k: int,
    form: str | None,
    out: Path | None,
    titles: bool,
) -> None:
    """Recommend items with a recommender that `llmrec fit` saved, or for a scene that `llmrec open` started.

    \b
    Examples:
      llmrec recommend shop/ --users 17850,13047 --titles
      llmrec recommend shop/ --histories clicks.csv --k 20 --format csv --out lists.csv
      llmrec recommend shop/ --attributes newcomers.csv --context "device=mobile"
      llmrec recommend scene/ --histories clicks.csv
    """
    given = [users is not None, histories is not None, attributes is not None and histories is None]
    if sum(given) != 1:
        raise click.UsageError(
            "give either --users, known by id, or --histories, a table of events, or --attributes, a table of users, which may "
            "also stand beside --histories."
        )
    form = form_of(form, out)
    from llmrec.data.frames import to_arrow
    from llmrec.scenes.new import KIND as SCENE
    from llmrec.store import check_parent, saved_kind

    if out is not None:
        check_parent(out)
    events, people = (format_given().read_one(path, what) for path, what in ((histories, "events"), (attributes, "users")))
    warn_of_losses(events, people)
    tables = [None if reading is None else reading.table for reading in (events, people)]
    with told(), overheard("Note: "):
        if saved_kind(folder) == SCENE:
            if attributes or context or adapter:
                raise click.UsageError(f"'{folder}' is a scene, which is asked by --users or --histories alone.")
            answer = _of_scene(folder, users, tables[0], k, titles)
        else:
            answer = _of_shop(folder, users, tables[0], tables[1], context_of(context), adapter, k, titles)
    put(to_arrow(answer, "answer"), form, out)


def _of_scene(folder: Path, users: str | None, histories: Any, k: int, titles: bool) -> Any:
    from llmrec.data.ids import Ids
    from llmrec.scenes.new import SceneRecommender

    scene = SceneRecommender.from_pretrained(folder)
    return scene.recommend(None if users is None else known_ids(users, Ids([])), k, histories=histories, titles=titles)


def _of_shop(
    folder: Path,
    users: str | None,
    histories: Any,
    attributes: Any,
    context: dict[str, Any] | None,
    adapter: Path | None,
    k: int,
    titles: bool,
) -> Any:
    from llmrec.recommender.recommender import Recommender
    from llmrec.recommender.user_adapter import UserAdapter

    recommender = Recommender.from_pretrained(folder)
    asked: dict[str, Any] = {"k": k, "titles": titles}
    if users is not None:
        asked["users"] = known_ids(users, recommender.state.known.first.users)
    for name, value in (("histories", histories), ("users", attributes), ("context", context)):
        if value is not None:
            asked[name] = value
    if adapter is not None:
        asked["adapter"] = UserAdapter.from_pretrained(adapter, recommender)
    return recommender.recommend(**asked)


def context_of(said: tuple[str, ...]) -> dict[str, Any] | None:
    """What is known of a request: NAME=VALUE by name, numbers as numbers; None for nothing. Raises click.UsageError."""
    found: dict[str, Any] = {}
    for pair in said:
        name, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or not name:
            raise click.UsageError(f'--context is {pair!r}, expected a name and its value, as in "device=mobile".')
        found[name] = int(value) if re.fullmatch("-?(0|[1-9][0-9]*)", value) else value
    return found or None


def known_ids(text: str, known: Ids) -> list[Any]:
    """Ids separated by commas, each once, of the type of the known ones. Raises click.UsageError for what is none."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise click.UsageError("--users is empty, expected ids separated by commas.")
    return list(dict.fromkeys(known_id(part, known) for part in parts))


def known_id(text: str, known: Ids, option: str = "--users") -> Any:
    """An id of the type of the known ones. Raises click.UsageError for what is none."""
    kind = type(known[0]) if len(known) else str
    try:
        return kind(text)
    except ValueError as error:
        kinds, example = ("UUIDs", str(known[0])) if kind is uuid.UUID else ("numbers", repr(known[0]))
        raise click.UsageError(f"{option} holds {text!r}, but the known ids are {kinds}, such as {example}.") from error
