"""Rows, aims and the README's table of the adaptation study."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.protocol import Part
from benchmarks.runs import Run, load_run
from llmrec.errors import DataError
from llmrec.metrics.bootstrap import Resampled, resampled
from llmrec.metrics.report import Result, table

METRIC = "ndcg@10"


@dataclass(frozen=True)
class Aim:
    """In `setting` the method should reach `times` what `versus` has."""

    setting: str
    method: str
    versus: str
    times: float


def rows(runs: Sequence[Run], mine: Sequence[str], rng: np.random.Generator, draws: int = 2000) -> list[Result]:
    """Means with intervals over seeds and users, and each of `mine` less every other method, paired.

    Runs of one study; a method may have been measured with fewer seeds than another. Raises DataError where seeds of a setting
    were asked about different users.
    """
    found = []
    for setting in sorted(dict.fromkeys(name for run in runs for name in run.values), key=_numbers):
        here = [run for run in runs if setting in run.values]
        if len({run.keys[setting] for run in here}) > 1:
            raise DataError(
                f"{here[0].benchmark}, {setting}: seeds were asked about different users; measure all of them again"
            )
        by_name: dict[str, dict[int | None, Run]] = {}
        for run in here:
            by_name.setdefault(run.method, {})[run.seed] = run
        names = sorted(by_name, key=lambda name: (name not in mine, _numbers(name)))
        some = {name: [by_name[name][seed] for seed in sorted(by_name[name], key=str)] for name in names}
        tables = {name: np.stack([run.values[setting][METRIC] for run in of]) for name, of in some.items()}
        means = resampled(tables, rng, draws)
        found += [_row(some[name], setting, mean, "") for name, mean in means.items()]
        for name in (name for name in mine if name in means):
            found += [_row(some[name], setting, means[name].minus(means[other]), other) for other in means if other != name]
    return found


def _numbers(name: str) -> tuple[float, ...]:
    """The numbers in a name, by which names are put in order; those without stay as they were."""
    return tuple(float(number) for number in re.findall(r"\d+(?:\.\d+)?", name))


def _row(several: Sequence[Run], setting: str, mean: Resampled, versus: str) -> Result:
    at, one = mean.interval(), several[0]
    cost = float(np.mean([run.seconds[setting] for run in several]))
    seed = one.seed if len(several) == 1 else None
    return Result(
        one.benchmark, one.method, one.role, setting, METRIC, at.value, at.low, at.high, versus, at.n, seed, cost or None
    )


def reached(found: Sequence[Result], aims: Sequence[Aim]) -> list[dict]:
    """What each aim comes to; those of cells that were not measured are left out."""
    means = {(row.setting, row.method): row.value for row in found if not row.versus}
    told = []
    for aim in aims:
        if (aim.setting, aim.method) in means and (aim.setting, aim.versus) in means:
            value, other = means[aim.setting, aim.method], means[aim.setting, aim.versus]
            entry = {"setting": aim.setting, "method": aim.method, "versus": aim.versus, "wanted": aim.times * other}
            told.append(entry | {"value": value, "ratio": value / other, "reached": bool(value >= aim.times * other)})
    return told


def markdown(found: Sequence[Result], study: str, settings: Sequence[str] | None = None) -> str:
    """One study's table: methods down, settings across."""
    here = [row for row in found if row.benchmark == study and (settings is None or row.setting in settings)]
    return table(here, study, METRIC)


def kept(folder: Path, part: Part) -> list[Run]:
    """All runs of one study's folder."""
    places = sorted(place for place in (folder / part).glob("*/*") if not place.name.startswith("."))
    return [load_run(place) for place in places]
