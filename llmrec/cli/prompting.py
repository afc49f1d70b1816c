"""`llmrec prompt`: templates of prompts shown, checked, and rendered with values or rows of tables."""

from __future__ import annotations

import json
import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llmrec.cli.config import add_config
from llmrec.cli.options import TABLE, FilePath, FormatOptions, tell_of, told
from llmrec.errors import DataError, TemplateError
from llmrec.screen import Column, screen_of, text_table

if TYPE_CHECKING:
    from llmrec.data.dataset import Catalogue, Dataset
    from llmrec.prompts import Template

_OPTIONS = 4  # candidates in a prompt made of rows
_FOLDER = click.option(
    "--folder",
    type=FilePath(exists=True, file_okay=False, path_type=Path),
    help="Folder of your templates; NAME.jinja replaces the packaged one.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


@click.group(invoke_without_command=True)
@click.pass_context
def prompt(ctx: click.Context) -> None:
    """Show, check and render prompt templates.

    They are files with a front matter.

    \b
    Examples:
      llmrec prompt show
      llmrec prompt check mine/like.jinja
      llmrec prompt render like --set liked=mug --set item=lamp
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@prompt.command()
@click.argument("name", required=False)
@_FOLDER
@_JSON
@click.option("--quiet", is_flag=True, help="Print the names alone; of one template, the body.")
def show(name: str | None, folder: Path | None, as_json: bool, quiet: bool) -> None:
    """List the templates, or print one with its front matter. NAME may be a path.

    \b
    Examples:
      llmrec prompt show
      llmrec prompt show like > mine/like.jinja      a start for your own
    """
    from llmrec.prompts import load_template, packaged_templates
    from llmrec.prompts.files import own_templates
    from llmrec.prompts.header import read_header

    if name is not None:
        one = load_template(name, folder)
        text = read_header(one.text, one.source)[1] if quiet else one.text
        click.echo(json.dumps(_facts(one) | {"text": one.text}, indent=1, ensure_ascii=False) if as_json else text.rstrip("\n"))
        return
    names = sorted({*packaged_templates(), *(own_templates(folder) if folder else ())})
    found = [load_template(one, folder) for one in names]
    if as_json:
        click.echo(json.dumps([_facts(one) for one in found], indent=1, ensure_ascii=False))
    elif quiet:
        click.echo("\n".join(names))
    else:
        heads = [*map(Column, ("name", "version", "language", "task")), Column("variables", "sentence")]
        click.echo(text_table(heads, [_row(one) for one in found], screen_of(sys.stdout)))


@prompt.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=FilePath(exists=True, path_type=Path))
@_JSON
@click.option("--quiet", is_flag=True, help="Print nothing if there is no mistake.")
def check(paths: tuple[Path, ...], as_json: bool, quiet: bool) -> None:
    """Read template files, or all of a folder, and render each once. Mistakes are reported with file and line.

    Templates of history, next and like must also meet their task's rules, such as only fixed words after an item.

    \b
    Example:
      llmrec prompt check mine/like.jinja mine/item.jinja
    """
    from llmrec.prompts import history_words
    from llmrec.prompts.candidates import PAST, CandidatePrompt
    from llmrec.prompts.files import own_templates, read_template

    found = []
    for path in paths:
        files = list(own_templates(path).values()) if path.is_dir() else [path]
        if not files:
            raise TemplateError(f"{path}: expected files that end in .jinja in this folder, got none; check the path")
        for file in files:
            one = read_template(file)
            one.render(dict.fromkeys(one.header.variables, "x"))
            one.render(dict.fromkeys(one.header.required, "x"))
            if one.header.task in PAST:
                CandidatePrompt(one)
            elif one.header.task == "history":
                history_words(one)
            found.append(one)
    if as_json:
        click.echo(json.dumps([_facts(one) for one in found], indent=1, ensure_ascii=False))
    elif not quiet:
        for one in found:
            click.echo(
                f"{one.source}: {one.name}, version {one.version}, {one.header.language}, {one.header.task}: no mistake found"
            )


@prompt.command()
@click.argument("name")
@_FOLDER
@click.option("--set", "values", metavar="KEY=VALUE", multiple=True, help="A variable; repeat it for a list.")
@click.option("--events", type=TABLE, help="Events, read as `check` reads them: a prompt for each of the first users.")
@click.option("--items", type=TABLE, help="Items. Without --events: a prompt for each of the first items, of its columns.")
@click.option("--rows", type=click.IntRange(min=1), default=3, show_default=True, help="Number of prompts.")
@_JSON
@click.option("--quiet", is_flag=True, help="Do not print how the files were read.")
def render(
    name: str,
    folder: Path | None,
    values: tuple[str, ...],
    events: Path | str | None,
    items: Path | str | None,
    rows: int,
    as_json: bool,
    quiet: bool,
) -> None:
    """Print a template filled with values, or with rows of your tables. NAME may be a path.

    Of a user's events, `item` is the title of the last one, `history` and `liked` are those before it, and `options` are the
    last one among items that are not in the history, in the order of the catalogue. --set overrides the tables.

    \b
    Examples:
      llmrec prompt render like --set liked="red mug" --set liked="blue cup" --set item=lamp
      llmrec prompt render choice --events events.csv --items items.csv
      llmrec prompt render item --items items.csv --rows 5
    """
    from llmrec.prompts import load_template

    template, typed = load_template(name, folder), _typed(values)
    wrong = [key for key in typed if key not in template.header.variables]
    if wrong:
        variables = ", ".join(template.header.variables)
        raise click.UsageError(f"--set {wrong[0]}: {template.source} has the variables {variables}")
    texts = []
    for whose, about in _rows(events, items, rows, quiet):
        texts.append({**whose, "text": template.render({**about, **typed})})
    if as_json:
        click.echo(json.dumps(texts, indent=1, ensure_ascii=False, default=str))
    else:
        click.echo("\n\n".join(one["text"] for one in texts))


for _command in prompt.commands.values():
    add_config(_command)


def _facts(one: Template) -> dict[str, Any]:
    header = one.header
    return {
        "name": one.name,
        "version": one.version,
        "language": header.language,
        "task": header.task,
        "variables": list(header.variables),
        "optional": [name for name in header.variables if name in header.optional],
        "verbaliser": dict(header.verbaliser),
        "longest": header.longest,
        "sha256": one.sha256,
        "source": one.source,
    }


def _row(one: Template) -> tuple[str, ...]:
    header = one.header
    told_of = [f"[{name}]" if name in header.optional else name for name in header.variables]
    return one.name, str(one.version), header.language, header.task, ", ".join(told_of)


def _typed(pairs: tuple[str, ...]) -> dict[str, str | list[str]]:
    """What `--set` says; a key that is given again has a list."""
    found: dict[str, list[str]] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise click.UsageError(f"--set expects KEY=VALUE, as in --set item=lamp, got {pair!r}")
        found.setdefault(key.strip(), []).append(value)
    return {key: several[0] if len(several) == 1 else several for key, several in found.items()}


def _rows(events: Path | str | None, items: Path | str | None, rows: int, quiet: bool) -> list[tuple[dict, dict]]:
    """For each prompt whose it is, and its values."""
    if events is None and items is None:
        return [({}, {})]
    from llmrec.data.build import build, read_catalogue

    if events is None:
        reading = FormatOptions().read_one(items, "items")
        tell_of(reading, quiet=quiet)
        if reading is None:
            return []
        with told():
            catalogue, _ = read_catalogue(reading.table)
        return _of_items(catalogue, rows)
    readings = FormatOptions().read(events, items)
    tell_of(*readings, quiet=quiet)
    with told():
        dataset, _ = build(readings[0].table, None if readings[1] is None else readings[1].table)
    return _of_users(dataset, rows)


def _of_items(catalogue: Catalogue, rows: int) -> list[tuple[dict, dict]]:
    first = catalogue.table.slice(0, rows).to_pylist()
    return [({"item_id": one}, row) for row, one in zip(first, catalogue.ids.values, strict=False)]


def _of_users(dataset: Dataset, rows: int) -> list[tuple[dict, dict]]:
    titles, found = dataset.catalogue.column("title"), []
    for user in range(min(rows, dataset.n_users)):
        had = dataset.item[dataset.start[user] : dataset.start[user + 1]].tolist()
        if not had:
            continue
        seen = set(had)
        others = islice((item for item in range(len(titles)) if item not in seen), _OPTIONS - 1)
        past = [titles[item] for item in had[:-1]]
        values = {"item": titles[had[-1]], "history": past, "liked": past}
        options = [titles[item] for item in sorted([had[-1], *others])]
        found.append(({"user_id": dataset.users.values[user]}, {**values, "options": options}))
    if not found:
        raise DataError("events: expected at least one user with an event, got none; give events of some users")
    return found
