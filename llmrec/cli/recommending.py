"""`llmrec recommend`: lists for users known by id, for all of them, or for the users of a table of histories."""

from __future__ import annotations

import re
import uuid
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llmrec.cli.options import (
    EXISTING,
    FOLDER,
    MOVED_RANKER,
    TABLE,
    USERS,
    event_format_options,
    format_given,
    overheard,
    tell_of,
    told,
    user_format_options,
    warn,
)
from llmrec.cli.rankers import recommender_of, warn_of_unused
from llmrec.cli.tables import IN_PARTS, SENTENCE, form_of, output_options, put

if TYPE_CHECKING:
    from llmrec.data.ids import Ids
    from llmrec.rules.rules import Rules


@click.command()
@click.argument("folder", type=FOLDER)
@USERS
@click.option(
    "--histories",
    type=TABLE,
    help="File of events of known or new users, read as by `check`; ambiguous dates or decimals are read as in `fit`.",
)
@click.option(
    "--attributes",
    type=TABLE,
    help="File of user_id and attributes, for a recommender fitted with --users; given alone, recommends to its users.",
)
@click.option(
    "--context",
    metavar='"NAME=VALUE"',
    multiple=True,
    help="Context of the request, for a recommender fitted with --context; may be repeated.",
)
@click.option("--adapter", type=FOLDER, help="Read the histories with this adapter, written by `llmrec adapt`.")
@click.option("--all", "everybody", is_flag=True, help="All saved users, written to a file in batches.")
@click.option("--k", type=click.IntRange(min=1), default=10, show_default=True, help="Items per user.")
@click.option("--rules", type=EXISTING, help="YAML file of the shop's rules: filters, at_most, boost, pin, ...")
@click.option("--titles", is_flag=True, help="Add the items' titles.")
@click.option("--explain", is_flag=True, help="Add the past item that raises each score most, and a sentence.")
@MOVED_RANKER
@output_options
@event_format_options
@user_format_options
def recommend(
    folder: Path,
    users: str | None,
    histories: Path | str | None,
    attributes: Path | str | None,
    context: tuple[str, ...],
    adapter: Path | None,
    everybody: bool,
    k: int,
    rules: Path | None,
    titles: bool,
    explain: bool,
    ranker: Path | None,
    form: str | None,
    out: Path | None,
    quiet: bool,
) -> None:
    """Recommend items to known or new users.

    FOLDER: a recommender saved by `llmrec fit`, or a scene started by `llmrec open`. New users need only a few events:
    --histories takes their file, with the columns user_id, item_id and timestamp.

    \b
    Examples:
      llmrec recommend shop/ --users 17850,13047 --titles
      llmrec recommend shop/ --users 17850 --k 3 --explain
      llmrec recommend shop/ --histories clicks.csv --k 20 --out lists.csv
      llmrec recommend shop/ --all --out lists.parquet
      llmrec recommend shop/ --users 17850 --rules rules.yaml
      llmrec recommend shop/ --attributes newcomers.csv --context "device=mobile"
      llmrec recommend scene/ --histories clicks.csv --rules rules.yaml

    \b
    rules.yaml, in which every line is optional:
      filters: ["price < 50", in_stock, "category in ['Wine', 'Beer']"]
      at_most: {brand: 1}
      boost: [{where: on_sale, factor: 1.5}]
      pin: {1: item-7}

    Lists of --all and --histories go to a .parquet, .csv, .json or .jsonl file batch by batch: memory does not grow with their
    number. With --explain they are held in memory.
    """
    told_of = attributes is not None and histories is None
    if (users is not None) + (histories is not None) + everybody + told_of != 1:
        raise click.UsageError(
            "give either --users, known by id, or --histories, a table of events, or --all, or --attributes, a table of users, "
            "which may also accompany --histories."
        )
    if explain and (everybody or adapter):
        raise click.UsageError("--explain is for --users, --histories and --attributes, without --adapter.")
    in_parts = out is not None and out.suffix.lower() in IN_PARTS
    if everybody and (not in_parts or adapter):
        raise click.UsageError(
            "--all writes a file, without --adapter: say --out lists.parquet, or another name in .csv, .json or .jsonl."
        )
    form = form_of(form, out)
    batched = in_parts and (everybody or histories is not None) and not (attributes or adapter or explain)
    from llmrec.data.frames import to_arrow
    from llmrec.data.ids import Ids
    from llmrec.layouts import saved_kind
    from llmrec.recommender.user_adapter import UserAdapter
    from llmrec.rules.rules import Rules
    from llmrec.scenes.new import KIND as SCENE
    from llmrec.store import check_parent

    if out is not None:
        check_parent(out)
    here = context_of(context)
    written = format_given()
    reading, people = (written.read_one(path, what, folder) for path, what in ((histories, "events"), (attributes, "users")))
    tell_of(reading, people, quiet=quiet)
    table = None if reading is None else reading.table
    with told(), nullcontext() if quiet else overheard("" if batched else "Note: "):
        ruled = None if rules is None else Rules.from_yaml(rules)
        if saved_kind(folder) == SCENE:
            if everybody or attributes or context or adapter or explain:
                raise click.UsageError(f"'{folder}' is a scene, which takes only --users and --histories.")
            put(to_arrow(_of_scene(folder, users, table, k, titles, ruled, ranker), "answer"), form, out)
            return
        recommender = recommender_of(folder, ranker)
        if batched and out is not None:
            recommender.recommend_all(out, k, histories=table, titles=titles, verbose=not quiet, rules=ruled, context=here)
            return
        asked: Any = None if people is None else people.table
        if users is not None:
            asked = known_ids(users, recommender.state.known.first.users)
            if recommender.state.known.first.n_users:  # else the library warns
                warn_of_strangers(asked, recommender.state.known.knows(Ids(asked)))
        under = None if adapter is None else UserAdapter.from_pretrained(adapter, recommender)
        answer = recommender.recommend(asked, k, histories=table, titles=titles, rules=ruled, context=here, adapter=under)
        shown = to_arrow(answer, "answer")
        if explain:
            reasons = recommender.explain(asked, k=k, histories=table, rules=ruled, context=here)  # of the same rows
            why = to_arrow(reasons, "reasons")
            for name in ("because_item_id", SENTENCE):
                shown = shown.append_column(name, why.column(name))
    put(shown, form, out)


def _of_scene(
    folder: Path, users: str | None, histories: Any, k: int, titles: bool, rules: Rules | None, ranker: Path | None
) -> Any:
    from llmrec.data.ids import Ids
    from llmrec.scenes.new import SceneRecommender

    scene = SceneRecommender.from_pretrained(folder, ranker=ranker)
    if ranker is not None and scene.scene.reranker is None:
        warn_of_unused(ranker, folder)
    asked = None if users is None else known_ids(users, Ids([]))
    return scene.recommend(asked, k, histories=histories, titles=titles, rules=rules)


def warn_of_strangers(asked: list[Any], known: Any, get: str = "popular items") -> None:
    """A line on stderr where some of the users that were asked for by id are not known. get: their answer."""
    strangers = [str(user) for user, there in zip(asked, known, strict=True) if not there]
    if strangers:
        shown = ", ".join(strangers[:3]) + (", ..." if len(strangers) > 3 else "")
        warn(
            f"{len(strangers):,} of {len(asked):,} users are not known ({shown}) and get {get}: check the ids, or give "
            "their events by --histories"
        )


def context_of(said: tuple[str, ...]) -> dict[str, Any] | None:
    """What is known of a request: NAME=VALUE by name, numbers as numbers; None for nothing. Raises click.UsageError."""
    found: dict[str, Any] = {}
    for pair in said:
        name, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or not name:
            raise click.UsageError(f'--context is {pair!r}, expected a name and its value, as in "device=mobile".')
        found[name] = int(value) if re.fullmatch("-?(0|[1-9][0-9]*)", value) else value
    return found or None


def known_ids(text: str, known: Ids, option: str = "--users") -> list[Any]:
    """Ids separated by commas, each once, of the type of the known ones. Raises click.UsageError, which names the option, for
    what is none."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise click.UsageError(f"{option} is empty, expected ids separated by commas.")
    return list(dict.fromkeys(known_id(part, known, option) for part in parts))


def known_id(text: str, known: Ids, option: str) -> Any:
    """An id of the type of the known ones. Raises click.UsageError for what is none."""
    kind = type(known[0]) if len(known) else str
    try:
        return kind(text)
    except ValueError as error:
        kinds, example = ("UUIDs", str(known[0])) if kind is uuid.UUID else ("numbers", repr(known[0]))
        raise click.UsageError(f"{option} holds {text!r}, but the known ids are {kinds}, such as {example}.") from error
