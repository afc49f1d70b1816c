"""`llmrec adapt`: one user's adapter in a folder of its own."""

from __future__ import annotations

import json
import shlex
from contextlib import nullcontext
from pathlib import Path
from typing import Literal

import click

from llmrec.cli.options import (
    FOLDER,
    MOVED_RANKER,
    TABLE,
    FilePath,
    event_format_options,
    format_given,
    overheard,
    tell_of,
    told,
)
from llmrec.cli.rankers import recommender_of
from llmrec.cli.recommending import known_id
from llmrec.data.report import counted


@click.command()
@click.argument("folder", type=FOLDER)
@click.option("--user", required=True, metavar="ID", help="A known user, or a user in the file of histories.")
@click.option("--histories", type=TABLE, help="File of events; those of the user are added to the known ones.")
@click.option("--steps", type=click.IntRange(min=0), help="Steps to take.  [default: chosen by the gate]")
@click.option("--out", type=FilePath(file_okay=False, path_type=Path), required=True, help="Folder for the adapter.")
@MOVED_RANKER
@event_format_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.option("--quiet", is_flag=True, help="Print only the command to recommend with it.")
def adapt(
    folder: Path,
    user: str,
    histories: Path | str | None,
    steps: int | None,
    out: Path,
    ranker: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Adapt to one user's history, and write the adapter.

    It is LoRA for PEFT over FOLDER/body, or a core as safetensors.

    \b
    Examples:
      llmrec adapt shop/ --user 17850 --out adapter/
      llmrec adapt shop/ --user new7 --histories clicks.csv --steps 3 --out adapter/
      llmrec recommend shop/ --users 17850 --adapter adapter/
    """
    from llmrec.data.ids import Ids
    from llmrec.recommender.user_adapter import KIND
    from llmrec.store import check_target

    check_target(out, KIND)
    reading = format_given().read_one(histories, "events", folder)
    tell_of(reading, quiet=quiet)
    with told(), nullcontext() if quiet else overheard("Note: "):
        recommender = recommender_of(folder, ranker)
        table = None if reading is None else reading.table
        known = (
            recommender.state.known.first.users if table is None else Ids(table.column("user_id").drop_null()[:1].to_pylist())
        )
        taken: int | Literal["auto"] = "auto" if steps is None else steps
        adapter = recommender.adapt(known_id(user, known, "--user"), histories=table, steps=taken)
    adapter.save_pretrained(out)
    asked = ["--users", user] if histories is None else ["--histories", str(histories), *format_given().event_words()]
    command = shlex.join(["llmrec", "recommend", str(folder), *asked, "--adapter", str(out)])
    choice = adapter.choice
    if as_json:
        facts = {
            "folder": str(out),
            "user": user,
            "events": adapter.events,
            "adapter": choice.adapter,
            "steps": choice.steps,
            "command": command,
        }
        click.echo(json.dumps(facts, indent=1, ensure_ascii=False))
    elif quiet:
        click.echo(command)
    else:
        what = "LoRA" if choice.adapter == "lora" else "the core"
        chosen = "" if steps is not None else ", chosen by the gate"
        told_of = f"{counted(choice.steps, 'step')} of {what}{chosen}, on {counted(adapter.events, 'event')} of user {user}"
        if not choice.steps:
            told_of += ": this is what every user starts from"
        click.echo(f"{out}: {told_of}. Recommend with it:\n  {command}")
        if choice.adapter == "lora":
            body = str(folder / "body")
            click.echo(f"In PEFT: PeftModel.from_pretrained(AutoModel.from_pretrained({body!r}), {str(out)!r})")
