"""Methods side by side: each turns tasks into scores (T, N) for the whole catalogue, and all are measured on the same tasks."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from llmrec.data.tasks import Tasks
from llmrec.metrics.bootstrap import bootstrap_mean, paired_bootstrap
from llmrec.metrics.ranking import rank_targets
from llmrec.metrics.report import Result

Scores = Callable[[Tasks], np.ndarray]
Arm = tuple[Scores, Scores]
"""How a method scores the catalogue where all items count, and where only new ones do; most use one function for both."""

METRICS = ("ndcg@10", "recall@10", "auc")
CELLS = 1 << 25  # scores of one method held at a time: 128 MB


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

    A task is scored once for all cells that share it; in a large catalogue a part of the tasks is scored at a time. Users with
    several tasks count once, by their mean.
    """
    differences, means = [], []
    by_tasks: dict[int, list[Cell]] = {}
    for cell in all_cells:
        by_tasks.setdefault(id(cell.tasks), []).append(cell)
    for group in by_tasks.values():
        measured = {name: _measured(group, arm) for name, arm in arms.items()}
        seconds = {name: taken for name, (_, taken) in measured.items()}
        found = {
            cell.setting: {
                name: {metric: by_user(values, cell.tasks) for metric, values in parts[place].items()}
                for name, (parts, _) in measured.items()
            }
            for place, cell in enumerate(group)
        }
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


def _measured(group: Sequence[Cell], arm: Arm) -> tuple[list[dict[str, np.ndarray]], float]:
    """What `measure` gives for every cell of a group that shares its tasks, and the seconds that one kind of scores took."""
    tasks, first = group[0].tasks, min(cell.new for cell in group)
    parts: list[list[dict[str, np.ndarray]]] = [[] for _ in group]
    seconds, rows = 0.0, max(1, CELLS // tasks.dataset.n_items)
    for start in range(0, len(tasks), rows):
        some = np.arange(start, min(start + rows, len(tasks)))
        part = tasks if len(some) == len(tasks) else tasks.take(some)
        began = time.perf_counter()
        scores = {first: arm[first](part)}
        seconds += time.perf_counter() - began
        for cell, found in zip(group, parts, strict=True):
            if cell.new not in scores:
                scores[cell.new] = scores[first] if arm[1] == arm[0] else arm[cell.new](part)
            found.append(measure(_part(cell, part, some), scores[cell.new]))
    whole = [{metric: np.concatenate([part[metric] for part in found]) for metric in METRICS} for found in parts]
    return whole, seconds


def _part(cell: Cell, tasks: Tasks, rows: np.ndarray) -> Cell:
    """The cell of some of its tasks."""
    if tasks is cell.tasks:
        return cell
    relevant = [cell.relevant[row] for row in rows]
    return replace(cell, tasks=tasks, relevant=relevant, allowed=None if cell.allowed is None else cell.allowed[rows])


def by_user(values: np.ndarray, tasks: Tasks) -> np.ndarray:
    """Mean over each user's tasks, NaN tasks left out; users ascending."""
    user = tasks.user
    there = ~np.isnan(values)
    n = int(user.max()) + 1
    total, count = np.bincount(user[there], values[there], n), np.bincount(user[there], minlength=n)
    asked = np.unique(user)
    return np.divide(total, count, out=np.full(n, np.nan), where=count > 0)[asked]
