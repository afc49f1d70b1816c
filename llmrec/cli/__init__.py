"""The command `llmrec`. Heavy imports stand inside the commands, so that `--help` is instant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from llmrec.cli.adapting import adapt
from llmrec.cli.checking import check
from llmrec.cli.exporting import export
from llmrec.cli.fitting import fit
from llmrec.cli.opening import open_scene
from llmrec.cli.options import EXISTING, FilePath, in_options
from llmrec.cli.recommending import recommend
from llmrec.errors import LlmrecError
from llmrec.store import library_version


class _Group(click.Group):
    """A mistake that the library explains is one readable message and exit code 2; anything else keeps its traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except LlmrecError as error:
            click.echo(f"Error: {in_options(str(error))}", err=True)
            ctx.exit(2)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(library_version(), prog_name="llmrec")
def main() -> None:
    """Learn a new shopper, or a new category, in milliseconds.

    A pretrained transformer reads item text, a small one reads histories, FAISS retrieves, and LoRA weights that were
    meta-learned are adapted to each shopper by a few gradient steps.

    \b
    First steps:
      llmrec doctor          what is installed, and how fast it is here
      llmrec demo --quick    the whole flow, offline, barely trained
      llmrec demo            the same with a model that is worth looking at

    \b
    Your own export:
      llmrec check events.csv                 how the file is read, and the command that trains on it
      llmrec fit events.csv --out shop/       train and save
      llmrec recommend shop/ --users 17850    a list for a customer
      llmrec open shop/ --items new.csv --out scene/     a new category or country, of fit --scene
      llmrec export shop/ --out out/          vectors, similar items and the encoder for other programs
    """


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def doctor(as_json: bool) -> None:
    """Print versions, devices, weights and speed: paste it into a bug report.

    Uses no network and takes a few seconds. Exits with 1 when something is missing or broken: `problems` says what, and how
    to mend it.
    """
    from llmrec.doctor import report, text

    facts = report()
    click.echo(json.dumps(facts, indent=1) if as_json else text(facts))
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
@click.option(
    "--events", type=EXISTING, help="Your events, CSV or Parquet: user_id, item_id, timestamp, and what else you have."
)
@click.option(
    "--items", type=EXISTING, help="Your items, CSV or Parquet: item_id, title, and text or category if you have them."
)
@click.option("--quick", is_flag=True, help="Barely train: shows that everything works, not how good it gets.")
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Seed of everything random; sums over threads may still differ in the last bits.",
)
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="Train for about this long, all acts together.")
def demo(out: Path, events: Path | None, items: Path | None, quick: bool, seed: int, minutes: float | None) -> None:
    """Four acts on people who were never trained on, each compared with simple controls.

    \b
    0  films: a list after 0, 1 and 3 clicks, how fast, and why
    1  groceries after 1, 3 and 5 trips
    2  a new department with 0, 16 and 64 customers
    3  where gradient steps for one person pay, and where they do not

    \b
    With your own files acts 1 and, where histories are long, 3:
      llmrec demo --events events.csv --items items.csv --out runs/mine

    Nothing is downloaded: weights and data come from installed packages.
    """
    if (events is None) != (items is None):
        given, missing = ("--events", "--items") if items is None else ("--items", "--events")
        raise click.UsageError(f"{given} needs {missing} too: events say who bought what, items say what it is.")
    if quick and minutes is not None:
        raise click.UsageError("--quick and --minutes both say how long to train: give one of them.")
    from llmrec.demo.run import run_demo

    raise SystemExit(run_demo(out=out, events=events, items=items, quick=quick, seed=seed, minutes=minutes))


main.add_command(check)
main.add_command(fit)
main.add_command(recommend)
main.add_command(adapt)
main.add_command(open_scene)
main.add_command(export)
