"""Metrics of a method for every task of a setting, and the report's rows out of many methods and seeds.

Axis convention: `T` tasks, `S` seeds. Every task is one user's, so an interval over tasks is one over users.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.protocol import Aim, Benchmark, Method, Part, Setting
from benchmarks.runs import Run
from llmrec.data.tasks import Tasks
from llmrec.errors import DataError
from llmrec.metrics.bootstrap import Resampled, resampled
from llmrec.metrics.ranking import TargetRanks, rank_targets
from llmrec.metrics.report import Result
from llmrec.models.popularity import Baseline
from llmrec.progress import bar

METRICS = ("ndcg@10", "recall@10", "hit@10", "map@10", "mrr", "auc", "recall@5%")
CHUNK = 1000  # tasks scored at once: 48 MB of scores for 12,000 items
ENOUGH = 500  # a cell with fewer users is exploratory
OURS = "Recommender, "  # what names of a recommender begin with; its settings follow


def value(places: TargetRanks, metric: str, items: int) -> np.ndarray:
    """float64 (T,): one metric by its name in reports, `ndcg@10`, `recall@5%`, `mrr` and so on; the definitions are those of
    `llmrec.metrics.ranking`.

    `recall@5%` is recall among as many items as are 5% of the `items` that may be ranked, rounded. Raises DataError for other
    names.
    """
    name, _, depth = metric.partition("@")
    if not depth and name in ("auc", "mrr"):
        return places.auc() if name == "auc" else places.mrr()
    if depth.removesuffix("%").isdigit():
        k = max(1, round(items * int(depth[:-1]) / 100)) if depth.endswith("%") else int(depth)
        at = {"ndcg": places.ndcg, "recall": places.recall, "hit": places.hit_rate, "map": places.mean_average_precision}
        if name in at:
            return at[name](k)
    raise DataError(
        f"metric: expected ndcg@k, recall@k, hit@k, map@k (k may be a share such as 5%), mrr or auc, got {metric!r}"
    )


def measure(
    control: Baseline,
    setting: Setting,
    tasks: Tasks,
    metrics: Sequence[str] = METRICS,
    chunk: int = CHUNK,
    desc: str = "",
    part: Part = "validation",
) -> dict[str, np.ndarray]:
    """Metric -> float64 (T,), NaN for a task without a relevant item that is ranked.

    tasks: `setting.asked(part)` or some of them. Scores and masks are made for `chunk` tasks at a time.
    """
    found: dict[str, list[np.ndarray]] = {metric: [] for metric in metrics}
    only = setting.only(part)
    items = tasks.dataset.n_items if only is None else int(only.sum())
    with bar(desc=desc or control.name, total=len(tasks), unit="user") as progress:
        for first in range(0, len(tasks), chunk):
            some = tasks.take(np.arange(first, min(first + chunk, len(tasks))))
            places = rank_targets(control.scores(some), setting.relevant(some, part), setting.allowed(some, part))
            for metric in metrics:
                found[metric].append(value(places, metric, items))
            progress.update(len(some))
    return {metric: np.concatenate([np.zeros(0), *parts]) for metric, parts in found.items()}


def run(benchmark: Benchmark, method: Method, seed: int | None, part: Part) -> Run:
    """A method measured in all of its settings, on validation or test tasks."""
    values, keys, seconds = {}, {}, {}
    for name, control in method.by_setting.items():
        setting = benchmark.setting(name)
        began = time.perf_counter()
        values[name] = measure(control, setting, setting.asked(part), desc=f"{method.name}, {name}", part=part)
        seconds[name] = method.seconds + time.perf_counter() - began
        keys[name] = setting.key(part)
    return Run(benchmark.name, method.name, method.role, seed, part, values, keys, seconds, dict(method.constants))


def report_rows(benchmark: Benchmark, runs: Sequence[Run], rng: np.random.Generator, draws: int = 2000) -> list[Result]:
    """Rows of all runs: per setting and metric the mean of each method with its interval, then that of `ours_of` against every
    other.

    Runs of one method with several seeds are one row. Intervals come from draws of users and seeds, see `resampled`.
    `seconds`: mean over the seeds, of fitting and of scoring the setting. Raises DataError where a setting was measured with
    some seeds of a method only.
    """
    methods, ours = _by_method(runs), ours_of(runs)
    rows: list[Result] = []
    for setting in benchmark.settings:
        there = {name: [run for run in several if setting.name in run.values] for name, several in methods.items()}
        for name, several in there.items():
            if several and len(several) < len(methods[name]):
                raise DataError(f"{name}: {setting.name} has {len(several)} of {len(methods[name])} seeds; run the others")
        there = {name: several for name, several in there.items() if several}
        metrics = [metric for metric in METRICS if all(metric in run.values[setting.name] for s in there.values() for run in s)]
        for metric in metrics if there else ():
            tables = {name: np.stack([run.values[setting.name][metric] for run in s]) for name, s in there.items()}
            if any(np.isnan(values).all() for values in tables.values()):
                continue  # nobody has anything to find: no mean, no row
            means = resampled(tables, rng, draws)
            for name, several in there.items():
                rows.append(_row(benchmark.name, several, setting.name, metric, means[name], ""))
            for name in there if ours in there else ():
                if name != ours:
                    rows.append(_row(benchmark.name, there[ours], setting.name, metric, means[ours].minus(means[name]), name))
    return rows


def report_extra(benchmark: Benchmark, runs: Sequence[Run], rows: Sequence[Result]) -> dict:
    """What stands beside the rows: the primary cell, aims and whether they are reached, exploratory settings, seeds and the
    constants that were chosen."""
    means = {(row.setting, row.metric, row.method): row for row in rows if not row.versus}
    aims, ours = [], ours_of(runs)
    for aim in benchmark.aims:
        mine = means.get((aim.setting, aim.metric, ours))
        bar_to_clear = _wanted(aim, ours, {k[2]: r for k, r in means.items() if k[:2] == (aim.setting, aim.metric)})
        reached = None if mine is None or bar_to_clear is None else bool(mine.value >= bar_to_clear)
        entry = {"setting": aim.setting, "metric": aim.metric, "least": aim.least, "times": aim.times}
        aims.append({**entry, "wanted": bar_to_clear, "value": None if mine is None else mine.value, "reached": reached})
    few = {row.setting: "exploratory" for row in rows if row.metric == benchmark.primary[1] and row.n < ENOUGH}
    return {
        "benchmark": benchmark.name,
        "ours": ours,
        "primary": {"setting": benchmark.primary[0], "metric": benchmark.primary[1]},
        "aims": aims,
        "exploratory": few,
        "seeds": {name: [run.seed for run in several] for name, several in _by_method(runs).items()},
        "constants": {name: several[0].constants for name, several in _by_method(runs).items()},
    }


def ours_of(runs: Sequence[Run]) -> str:
    """The method whose differences a report shows, and that aims are for: of the recommenders the one that comes first; ""
    where none was measured."""
    return next((run.method for run in runs if run.role == "ours" and run.method.startswith(OURS)), "")


def _wanted(aim: Aim, ours: str, here: Mapping[str, Result]) -> float | None:
    """The figure that an aim comes to beside these rows of its cell; None where what it is measured by is not there."""
    if not aim.times:
        return aim.least
    best, name = aim.times == "best control", f"{ours}{aim.times}" if aim.times.startswith(",") else aim.times
    rivals = [row.value for row in here.values() if (row.role == "control" if best else row.method == name)]
    return aim.least * max(rivals) if rivals else None


def _by_method(runs: Sequence[Run]) -> dict[str, list[Run]]:
    methods: dict[str, list[Run]] = {}
    for one in sorted(runs, key=lambda run: -1 if run.seed is None else run.seed):
        methods.setdefault(one.method, []).append(one)
    order = list(dict.fromkeys(run.method for run in runs))
    return {name: methods[name] for name in order}


def _row(benchmark: str, several: Sequence[Run], setting: str, metric: str, mean: Resampled, versus: str) -> Result:
    found = mean.interval()
    seconds = float(np.mean([run.seconds[setting] for run in several]))
    seed = several[0].seed if len(several) == 1 else None
    name, role = several[0].method, several[0].role
    return Result(benchmark, name, role, setting, metric, found.value, found.low, found.high, versus, found.n, seed, seconds)
