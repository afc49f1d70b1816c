"""What cleaning did: steps that count every row, notes, and a warning where much of a table is lost."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass

import numpy as np

from llmrec.errors import DataLossWarning
from llmrec.screen import Column, Screen, paragraph, text_table

WIDTH = 100
LOSS = 0.2  # share of the rows, above which a step's loss is a warning
_HEAD = (
    *(Column("table"), Column("step"), Column("rows in", "number"), Column("dropped", "number"), Column("changed", "number")),
    Column("detail", "sentence"),
)
_LOSING = ("missing values", "timestamps", "not in the catalogue")


@dataclass(frozen=True)
class Step:
    """What one step did to one table ("events" or "items"): rows in, rows dropped, rows changed, and a sentence."""

    name: str
    table: str
    rows_in: int
    rows_dropped: int = 0
    rows_changed: int = 0
    detail: str = ""

    @property
    def rows_out(self) -> int:
        return self.rows_in - self.rows_dropped


@dataclass(frozen=True)
class CleaningReport:
    """The steps in order, and notes such as columns that were renamed. `print` it: lines of at most 100 characters, in which
    steps that found nothing to do are only named."""

    steps: tuple[Step, ...]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict:
        """Plain data for JSON."""
        return {"steps": [asdict(step) for step in self.steps], "notes": list(self.notes)}

    def __str__(self) -> str:
        return report_text(self, Screen(WIDTH))


def report_text(report: CleaningReport, screen: Screen) -> str:
    """The report as text for a screen."""
    first = {step.table: step for step in reversed(report.steps)}  # says how many rows came
    idle = [s for s in report.steps if s is not first[s.table] and not (s.rows_dropped or s.rows_changed or s.detail)]
    told = [s for s in report.steps if not any(s is one for one in idle)]
    body = [(s.table, s.name, f"{s.rows_in:,}", f"{s.rows_dropped:,}", f"{s.rows_changed:,}", s.detail) for s in told]
    lines = [text_table(_HEAD, body, screen)]
    for table in dict.fromkeys(step.table for step in idle):
        names = ", ".join(step.name for step in idle if step.table == table)
        lines.append(paragraph(names, screen, f"{table}, nothing to do: "))
    return "\n".join([*lines, *(paragraph(note, screen, "note: ") for note in report.notes)])


def losses(steps: tuple[Step, ...], above: float = LOSS) -> tuple[str, ...]:
    """A sentence for each step that lost more than the share `above` of all rows of the events: missing values, unreadable
    timestamps, items that are not in the catalogue."""
    events = [step for step in steps if step.table == "events"]
    rows = max(events[0].rows_in, 1) if events else 1
    return tuple(
        f"{step.rows_dropped:,} of {rows:,} rows of events ({step.rows_dropped / rows:.0%}) were left out in the step "
        f"{step.name!r} ({step.detail})"
        for step in events
        if step.name in _LOSING and step.rows_dropped > above * rows
    )


def warn_of_losses(steps: tuple[Step, ...]) -> None:
    """A DataLossWarning for what `losses` says."""
    if said := losses(steps):
        warnings.warn("; ".join(said) + ". The report of the cleaning counts every row", DataLossWarning, stacklevel=3)


def counted(number: int, noun: str) -> str:
    """`1 user`, `2 users`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def said_of_lost(lost: np.ndarray, what: str) -> str:
    """How many values, bool (n,), are not what they should be: "1 is not a number", "3 are not dates or times"."""
    count = int(lost.sum())
    return f"1 is not a {what}" if count == 1 else f"{count:,} are not {' or '.join(f'{word}s' for word in what.split(' or '))}"
