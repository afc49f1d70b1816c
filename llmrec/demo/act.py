"""Acts of the demonstration: one frozen value each, printed as it ends."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import click

from llmrec.evaluation.plot import Panel
from llmrec.metrics.report import Result

LINE = 100  # characters of a printed line


@dataclass(frozen=True)
class Act:
    """What an act came to.

    name: its key in the report. title: what it is about. lines: what is printed, of at most LINE characters. panel: its part of
    the figure. rows: its part of the report's results. told: what else the report says of it, as JSON values.
    """

    name: str
    title: str
    lines: tuple[str, ...]
    panel: Panel | None = None
    rows: tuple[Result, ...] = ()
    told: dict[str, Any] = field(default_factory=dict)


def show(number: int, act: Act) -> Act:
    """Print an act and an empty line; returns it."""
    for line in (f"Act {number}. {act.title}", *act.lines, ""):
        click.echo(line)
    return act


def wrapped(sentences: Sequence[str]) -> list[str]:
    """Sentences as lines of at most LINE characters."""
    return textwrap.wrap(" ".join(sentences), LINE)


def cut(text: str, width: int) -> str:
    """The text in at most `width` characters."""
    return text if len(text) <= width else f"{text[: width - 1].rstrip()}…"
