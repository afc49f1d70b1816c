"""`--model` of the commands of studies: a language model by the name of a packaged one, a folder or a GGUF file."""

from __future__ import annotations

import click

from llmrec.language.weights import PACKAGED
from llmrec.store import located


def model_name(context: click.Context, parameter: click.Parameter, typed: str) -> str:
    """The text as it is, for `load_language_model`. Raises BadParameter where it names no packaged model, folder or file."""
    names = [one.name for one in PACKAGED]
    if typed not in names and not located(typed).exists():
        raise click.BadParameter(
            f"expected {', '.join(names)}, a folder or a file *.gguf that is there, got {typed!r}; see `llmrec weights`"
        )
    return typed


model_option = click.option(
    "--model",
    callback=model_name,
    required=True,
    metavar="smollm2|FOLDER|FILE.gguf",
    help="The language model; see `llmrec weights`.",
)
