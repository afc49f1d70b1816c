"""Methods side by side: each turns tasks into scores (T, N) for the whole catalogue, and all are measured on the same tasks."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from llmrec.data.tasks import Tasks
from llmrec.metrics.bootstrap import bootstrap_mean, paired_bootstrap
from llmrec.metrics.ranking import rank_targets
from llmrec.metrics.report import Result

Scores = Callable[[Tasks], np.ndarray]
Arm = tuple[Scores, Scores]
"""How a method scores the catalogue where all items count, and where only new ones do; most use one function for both."""

METRICS = ("ndcg@10", "recall@10", "auc")


@dataclass(frozen=True)
class Cell:
    """One setting of a benchmark: the tasks, what is relevant, which items are ranked (None: all), and whether they are new."""

    benchmark: str
    setting: str
    tasks: Tasks
    relevant: list[np.ndarray]
    allowed: np.ndarray | None
    new: bool = False


def cells(benchmark: str, tasks: Mapping[int, Tasks]) -> list[Cell]:
    """For each number of baskets known: all items, and only those that the support does not hold."""
    made = []
    for known, part in tasks.items():
        made.append(Cell(benchmark, f"known={known},all", part, part.relevant(), None))
        made.append(Cell(benchmark, f"known={known},new", part, part.relevant(new_only=True), unseen(part), True))
    return made


def unseen(tasks: Tasks) -> np.ndarray:
    """bool (T, N): items that the support does not hold."""
    mask = np.ones((len(tasks), tasks.dataset.n_items), bool)
    for task in range(len(tasks)):
        mask[task, tasks.dataset.item[tasks.support(task)]] = False
    return mask


def measure(cell: Cell, scores: np.ndarray) -> dict[str, np.ndarray]:
    """Each metric (T,) of scores (T, N); NaN for a task with nothing relevant."""
    places = rank_targets(scores, cell.relevant, cell.allowed)
    return {"ndcg@10": places.ndcg(10), "recall@10": places.recall(10), "auc": places.auc()}


def quality(cell: Cell, scores: np.ndarray) -> float:
    """What constants are chosen by: NDCG@10 of scores (T, N), users counted once; 0 where no task has anything relevant."""
    if not len(cell.tasks):
        return 0.0
    users = by_user(rank_targets(scores, cell.relevant, cell.allowed).ndcg(10), cell.tasks)
    there = users[~np.isnan(users)]
    return float(there.mean()) if len(there) else 0.0


def best(cell: Cell, ways: Sequence[Scores]) -> int:
    """Which of the ways ranks the tasks of validation users best; of equal ones, and where there is no task, the first."""
    if not len(cell.tasks):
        return 0
    return int(np.argmax([quality(cell, way(cell.tasks)) for way in ways]))


def compare(
    all_cells: list[Cell], arms: Mapping[str, Arm], primary: str, ours: Collection[str], seed: int, rng: np.random.Generator
) -> list[Result]:
    """Rows of every arm in every cell; first the paired differences of the `primary` arm from each other arm, then the plain
    means. ours: names of the arms whose role is "ours"; all others are controls.

    A task is scored once for all cells that share it. Users with several tasks count once, by their mean.
    """
    differences, means = [], []
    by_tasks: dict[int, list[Cell]] = {}
    for cell in all_cells:
        by_tasks.setdefault(id(cell.tasks), []).append(cell)
    for group in by_tasks.values():
        found: dict[str, dict[str, dict[str, np.ndarray]]] = {cell.setting: {} for cell in group}
        seconds = {}
        for name, arm in arms.items():
            began = time.perf_counter()
            every = arm[0](group[0].tasks)
            seconds[name] = time.perf_counter() - began
            fresh = every if arm[1] == arm[0] else arm[1](group[0].tasks)
            for cell in group:
                measured = measure(cell, fresh if cell.new else every)
                found[cell.setting][name] = {metric: by_user(values, cell.tasks) for metric, values in measured.items()}
        for cell in group:
            for metric in METRICS:
                values = {name: metrics[metric] for name, metrics in found[cell.setting].items()}
                for name in arms:
                    if name != primary:
                        gap = paired_bootstrap(values[primary], values[name], rng)
                        numbers = gap.value, gap.low, gap.high, name, gap.n, seed, None
                        differences.append(Result(cell.benchmark, primary, "ours", cell.setting, metric, *numbers))
                for name, users in values.items():
                    one, role = bootstrap_mean(users, rng), "ours" if name in ours else "control"
                    found_here = one.value, one.low, one.high, "", one.n, seed, seconds[name]
                    means.append(Result(cell.benchmark, name, role, cell.setting, metric, *found_here))
    return differences + means


def by_user(values: np.ndarray, tasks: Tasks) -> np.ndarray:
    """Mean over each user's tasks, NaN tasks left out; users ascending."""
    user = tasks.user
    there = ~np.isnan(values)
    n = int(user.max()) + 1
    total, count = np.bincount(user[there], values[there], n), np.bincount(user[there], minlength=n)
    asked = np.unique(user)
    return np.divide(total, count, out=np.full(n, np.nan), where=count > 0)[asked]
