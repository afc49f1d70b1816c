"""The command `llmrec`. Heavy imports stand inside the commands, so that `--help` is instant."""

from __future__ import annotations

import json
import os
import sys
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import click

from llmrec.cli.adapting import adapt
from llmrec.cli.checking import check
from llmrec.cli.config import add_config
from llmrec.cli.evaluating import evaluate
from llmrec.cli.exporting import export
from llmrec.cli.fitting import fit
from llmrec.cli.opening import open_scene
from llmrec.cli.options import TABLE, FilePath, in_options
from llmrec.cli.predicting import predict
from llmrec.cli.prompting import prompt
from llmrec.cli.recommending import recommend
from llmrec.cli.similar import similar
from llmrec.cli.weights import weights
from llmrec.errors import LlmrecError
from llmrec.store import library_version


class _Group(click.Group):
    """A mistake that the library or click explains is one readable line and exit code 2; anything else keeps its traceback.
    Every command has `--config`."""

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        if not isinstance(cmd, click.Group):
            add_config(cmd)
        super().add_command(cmd, name)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            said = in_options(" ".join(error.format_message().split()))
            said = said if said.endswith((".", "?", "!")) else f"{said}."
            click.echo(f"Error: {said}" + (f" See `{error.ctx.command_path} --help`." if error.ctx else ""), err=True)
            ctx.exit(error.exit_code)
        except LlmrecError as error:
            click.echo(f"Error: {in_options(str(error))}", err=True)
            ctx.exit(2)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(library_version(), prog_name="llmrec")
def main() -> None:
    """Recommend to new shoppers and in new categories, without retraining.

    A pretrained transformer reads item text, a small one reads histories, FAISS retrieves, and a
    meta-learned adapter takes a few steps for a shopper if that should help.

    \b
    First steps:
      llmrec doctor          what is installed, and how fast it is here
      llmrec demo --quick    the whole flow, offline, barely trained
      llmrec demo            the same, trained for a few minutes

    \b
    Your own export, or an address such as hf://datasets/owner/name/events.csv:
      llmrec check events.csv                 how the file is read, and the command that trains on it
      llmrec fit events.csv --out shop/       train and save
      llmrec recommend shop/ --users 17850    a list for a customer
      llmrec recommend shop/ --histories clicks.csv      lists for new people with a few clicks
      llmrec recommend shop/ --all --out lists.parquet
      llmrec predict shop/ --users 17850      how likely the customer likes each item, from ratings
      llmrec open shop/ --items new.csv --out scene/     a new category or country, after fit --scene
      llmrec export shop/ --out out/          vectors, similar items and the encoder for other programs

    \b
    Prompts are files:
      llmrec prompt show                      templates in English and Chinese

    \b
    Options of any command may stand in a file:
      llmrec fit --config fit.yaml            with lines such as `events: export.csv` and `out: shop/`
    """


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.option("--quiet", is_flag=True, help="Print the problems alone, a line each.")
def doctor(as_json: bool, quiet: bool) -> None:
    """Print versions, devices, weights and speed.

    Paste it into a bug report. Uses no network and takes a few seconds. Exits with 1 when something is missing or broken:
    `problems` says what, and how to fix it.

    \b
    Example:
      llmrec doctor --json > doctor.json
    """
    from llmrec.doctor import report, text

    facts = report()
    shown = "\n".join(facts["problems"]) if quiet else text(facts)
    click.echo(json.dumps(facts, indent=1) if as_json else shown, nl=bool(as_json or shown))
    if facts["problems"]:
        raise SystemExit(1)


@main.command()
@click.option(
    "--out",
    type=FilePath(file_okay=False, path_type=Path),
    default=Path("runs/demo"),
    show_default=True,
    help="Folder for the report, the figure and the trained model.",
)
@click.option("--events", type=TABLE, help="Your events, CSV or Parquet: user_id, item_id, timestamp, and what else you have.")
@click.option("--items", type=TABLE, help="Your items, CSV or Parquet: item_id, title, and text or category if you have them.")
@click.option("--quick", is_flag=True, help="Barely train: shows that everything works, not how good it can get.")
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Seed of everything random; sums over threads may still differ in the last bits.",
)
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="Train for about this long, all acts together.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON, for programs.")
@click.option("--quiet", is_flag=True, help="Print nothing; the report is in the folder.")
def demo(
    out: Path,
    events: Path | str | None,
    items: Path | str | None,
    quick: bool,
    seed: int,
    minutes: float | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Show four acts on held-out people, against simple controls.

    \b
    0  films: a list after 0, 1 and 3 clicks, how fast, and why
    1  groceries after 1, 3 and 5 trips
    2  a new department with 0, 16 and 64 customers
    3  where gradient steps for one person pay, and where they do not

    \b
    With your own files it plays act 1 and, if histories are long, act 3:
      llmrec demo --events events.csv --items items.csv --out runs/mine

    Nothing is downloaded: weights and data come from installed packages.
    """
    if (events is None) != (items is None):
        given, missing = ("--events", "--items") if items is None else ("--items", "--events")
        raise click.UsageError(f"{given} needs {missing} too: events say who bought what, items say what it is.")
    if quick and minutes is not None:
        raise click.UsageError("--quick and --minutes both say how long to train: give one of them.")
    from llmrec.demo.run import run_demo

    with ExitStack() as elsewhere:  # what the acts print
        if quiet:
            nothing = elsewhere.enter_context(open(os.devnull, "w"))
            elsewhere.enter_context(redirect_stderr(nothing))
        if quiet or as_json:
            elsewhere.enter_context(redirect_stdout(sys.stderr))
        code = run_demo(out=out, events=events, items=items, quick=quick, seed=seed, minutes=minutes)
    if as_json:
        click.echo((out / "report.json").read_text(encoding="utf-8"), nl=False)
    raise SystemExit(code)


main.add_command(check)
main.add_command(fit)
main.add_command(recommend)
main.add_command(predict)
main.add_command(similar)
main.add_command(evaluate)
main.add_command(adapt)
main.add_command(open_scene)
main.add_command(export)
main.add_command(prompt)
main.add_command(weights)
