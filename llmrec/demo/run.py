"""`llmrec demo`: four acts on real data, each printed as it ends, then a figure, a report, and how to use your own data."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import click
import pyarrow as pa
import torch

from llmrec.data.build import build
from llmrec.data.clean import CleaningReport
from llmrec.data.dataset import Dataset
from llmrec.data.journey import journey_report, load_journey
from llmrec.demo import act_department, act_films, act_steps, act_trips
from llmrec.demo.act import Act, show
from llmrec.demo.films import load_films
from llmrec.demo.plan import MINUTES, full
from llmrec.demo.plan import quick as quick_plan
from llmrec.errors import MissingExtraError
from llmrec.evaluation.plot import plot
from llmrec.metrics.report import write_report
from llmrec.progress import LOGGER, Stages
from llmrec.recommender.recommender import Recommender
from llmrec.recommender.saving import save_state


def run_demo(
    out: Path, events: Path | str | None, items: Path | str | None, quick: bool, seed: int, minutes: float | None
) -> int:
    """Run the demonstration and write `report.json`, `acts.png` and `model/` into `out`. Returns the exit code."""
    began, stage = time.perf_counter(), Stages(sys.stderr)
    plan = quick_plan() if quick else full(MINUTES if minutes is None else minutes)
    out.mkdir(parents=True, exist_ok=True)
    acts: list[Act] = []
    films = _films() if events is None else None
    with overheard() as log:
        if films is not None:
            with stage("act 0", "films, under a minute"):
                acts.append(show(0, act_films.play(*films, plan, seed)))

        with stage("act 1", "groceries, some minutes" if events is None else f"{events}, some minutes"):
            dataset, reports = read_tables(events, items)
            parts = act_trips.split(dataset, plan.users)
            act_trips.asked(dataset, parts, plan)  # where users are too few the error comes before training
            known = Recommender(settings=plan.trips, seed=seed)
            known.fit(dataset.take(parts["train"]), minutes=plan.budget(act_trips.NAME), verbose=False)
            name = "journey-cold" if events is None else "own-cold"
            trips = act_trips.play(known, dataset, parts, plan, seed, name)
            acts.append(show(1, trips))

        if events is None:
            with stage("act 2", "a new department, a minute or two"):
                acts.append(show(2, act_department.play(dataset, parts, plan, seed)))

        long = histories(films, dataset if events else None, seed)
        people = None if long is None else act_steps.people(long, seed)
        if long is not None and people is not None:
            with stage("act 3", "steps for one person, a minute or two"):
                of_steps = "films-steps" if events is None else "own-steps"
                act = act_steps.play(long, people, plan, seed, of_steps, act_trips.steps_gain(trips.rows))
                acts.append(show(3, act))
        elif long is not None:
            click.echo(f"Act 3 is left out: it needs {act_steps.LEAST_PEOPLE} users with {act_steps.LEAST} events or more.\n")

    with stage("save", str(out)):
        plot([act.panel for act in acts if act.panel is not None], out / "acts.png")
        save_state(out / "model", replace(known.state, frame="pandas"), histories=False)  # as for tables read from files
        extra = {
            "primary": act_trips.PRIMARY,
            "plan": {**asdict(replace(plan, trips=known.state.settings)), "quick": quick},
            "data": {"users": dataset.n_users, "items": dataset.n_items, "events": dataset.n_events},
            "cleaning": [report.to_dict() for report in reports],
            "stages": [one._asdict() for one in stage.done],
            **trips.told,
            "acts": {act.name: {"title": act.title, "lines": act.lines, **act.told} for act in acts},
            "log": log,
            "seed": seed,
            "threads": torch.get_num_threads(),
            "seconds": time.perf_counter() - began,
        }
        write_report(out / "report.json", [row for act in acts for row in act.rows], extra)
    for line in last_lines(out, (time.perf_counter() - began) / 60, not quick and any("SHORTENED" in line for line in log)):
        click.echo(line)
    return 0


def read_tables(events: Path | str | None, items: Path | str | None) -> tuple[Dataset, list[CleaningReport]]:
    """The Complete Journey data (84.51°), or one's own files, whose cleaning report goes to stderr."""
    if events is None:
        dataset, report = build(*load_journey())
        return dataset, [journey_report(), report]
    dataset, report = build(events, items)
    click.echo(str(report), err=True)
    return dataset, [report]


def histories(films: tuple[pa.Table, pa.Table] | None, own: Dataset | None, seed: int) -> Dataset | None:
    """Whom act 3 asks, in no order: one's own users, or everybody's ratings of films; None without either."""
    if own is None and films is None:
        return None
    if own is None and films is not None:
        own = build(*films)[0]
    assert own is not None
    return act_steps.shuffled(own, seed)


def last_lines(out: Path, minutes: float, shortened: bool) -> list[str]:
    """Where everything is, and what to type for one's own data."""
    less = ["Training was shortened to fit the time (`log` in report.json says how): expect more with --minutes 30."]
    return [
        *(less if shortened else []),
        f"{minutes:.1f} min. In {out}: acts.png (curves), report.json (all numbers), model (of act 1).",
        "Your own data, a table of events (user_id, item_id, timestamp) and one of items (item_id, title):",
        "  llmrec demo --events events.csv --items items.csv --out runs/mine",
        '  >>> from llmrec import Recommender; Recommender().fit("events.csv", "items.csv").recommend(["an id"])',
    ]


def _films() -> tuple[pa.Table, pa.Table] | None:
    """The tables of the films; without them one line that says how to install them."""
    try:
        return load_films()
    except MissingExtraError as error:
        click.echo(f"Acts 0 and 3 are left out. {error}\n")
        return None


class _Listener(logging.Handler):
    """Keeps what the logger is told."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@contextmanager
def overheard() -> Iterator[list[str]]:
    """What fitting says of itself, for the report instead of the screen."""
    listener, level = _Listener(), LOGGER.level
    LOGGER.addHandler(listener)
    LOGGER.setLevel(logging.INFO)
    try:
        yield listener.lines
    finally:
        LOGGER.removeHandler(listener)
        LOGGER.setLevel(level)
