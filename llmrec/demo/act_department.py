"""Act 2: a new department with no customers, with 16 and with 64, beside counts of the same customers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from llmrec.data.dataset import Dataset
from llmrec.data.tasks import Tasks
from llmrec.demo.act import LINE, Act, wrapped
from llmrec.demo.measuring import all_events, curve, history_table, listed_scores, ndcg, results
from llmrec.demo.plan import Plan
from llmrec.evaluation.comparison import Cell, Scores, best
from llmrec.evaluation.controls import item_knns
from llmrec.evaluation.plot import Curve, Panel
from llmrec.evaluation.verdict import beside, by_setting, gain, listed, standing
from llmrec.metrics.bootstrap import Interval, paired_bootstrap
from llmrec.metrics.report import Result
from llmrec.models.popularity import fit_most_frequent, fit_popularity
from llmrec.scenes.api import Scenes
from llmrec.scenes.new import SceneRecommender
from llmrec.scenes.tables import labels
from llmrec.scenes.worlds import last_steps
from llmrec.screen import Column, Screen, text_table

NAME, BENCHMARK = "department", "journey-department"
DEPARTMENT = "Produce"
OURS, POPULAR, COUNTS = "llmrec", "popularity", "counts"
Values = Mapping[str, Mapping[int, np.ndarray]]


@dataclass(frozen=True)
class Asked:
    """T households that are asked about the department. relevant: what each bought there. allowed: bool (T, N), its items."""

    tasks: Tasks
    relevant: list[np.ndarray]
    allowed: np.ndarray

    def ndcg(self, scores: np.ndarray) -> np.ndarray:
        """NDCG@10 of every household; scores (T, N)."""
        return ndcg(scores, self.tasks, self.relevant, self.allowed)


@dataclass(frozen=True)
class Opened:
    """The department with its first customers. customers: int64, who they are. shop: adapted to them."""

    customers: np.ndarray
    shop: SceneRecommender


def play(dataset: Dataset, parts: dict[str, np.ndarray], plan: Plan, seed: int) -> Act:
    """Learn from the other departments of the training households, open this one, and ask the test households.

    parts: as of act 1; the customers are training households, and constants of the counts are chosen on validation households.
    """
    among = labels(dataset.catalogue, "category") == DEPARTMENT
    scenes = Scenes(settings=plan.department, seed=seed)
    train = dataset.take(parts["train"])
    scenes.fit(train, scene="category", holdout=[DEPARTMENT], repeat_purchases=True, verbose=False)
    day_one = scenes.open(scene=DEPARTMENT)
    opened = first_customers(day_one, dataset, parts["train"], plan, seed)
    test, choosing = (asked(dataset.take(parts[name]), among) for name in ("test", "validation"))
    values = measured(day_one, opened, dataset, test, choosing)
    strangers, others = (asked(without(dataset.take(parts[name]), among), among) for name in ("test", "validation"))
    first_time = measured(day_one, opened, dataset, strangers, others)
    rng = np.random.default_rng(seed)
    rows = [row for customers in values[OURS] for row in _rows(values, customers, "", seed, rng)]
    rows += [row for customers in first_time[OURS] for row in _rows(first_time, customers, ", first trip", seed, rng)]
    panel = Panel(_seen(values, rng), "customers of the new department", tuple(_curves(values, rng)))
    head = (
        f"{DEPARTMENT} ({int(among.sum())} items) is held out, the other departments are learned from; {len(test.tasks)} other "
        "households are asked about their last trip there. Popularity and counts (own purchases or item kNN, with and without "
        f"popularity) are taken over the same customers; means over {plan.draws} draw{'s' * (plan.draws > 1)}. Numbers as in "
        "act 1:"
    )
    said = [sentence(values, rng), first_trips(first_time, rng)]
    lines = [*wrapped([head]), *table(values, rng), *wrapped(said)]
    told = {"department": DEPARTMENT, "items": int(among.sum()), "deployed": [repr(one.shop) for one in opened]}
    title = f"Groceries: a new department with {listed([str(count) for count in values[OURS]])} customers"
    return Act(NAME, title, tuple(lines), panel, tuple(rows), told)


def asked(dataset: Dataset, among: np.ndarray) -> Asked:
    """The last trip to the department of each user, with all that they bought before it; users whose first trip it was are
    left out. among: bool (N,), the items of the department."""
    tasks = last_steps(dataset, np.arange(dataset.n_users), among)
    relevant = [items[among[items]] for items in tasks.relevant()]
    return Asked(tasks, relevant, np.tile(among, (len(tasks), 1)))


def without(dataset: Dataset, among: np.ndarray) -> Dataset:
    """The events but for those of earlier trips to the department: as if the last one were the first."""
    tasks = asked(dataset, among).tasks
    keep = ~among[dataset.item]
    for task in range(len(tasks)):
        keep[tasks.query(task)] = True
    return dataset.keep(keep)


def first_customers(day_one: SceneRecommender, dataset: Dataset, users: np.ndarray, plan: Plan, seed: int) -> list[Opened]:
    """The department adapted to its first customers, drawn from `users`; of each draw the fewer are among the more."""
    found = []
    for draw in range(plan.draws):
        mixed = np.random.default_rng((seed, draw)).permutation(users)
        found += [Opened(mixed[:count], day_one.adapt(all_events(dataset.take(mixed[:count])))) for count in plan.customers]
    return found


def measured(day_one: SceneRecommender, opened: Sequence[Opened], dataset: Dataset, test: Asked, choosing: Asked) -> Values:
    """NDCG@10 of every test household by method and number of customers, mean over draws."""
    histories, names = history_table(test.tasks), test.tasks.dataset.users.take(test.tasks.user)

    def ours(shop: SceneRecommender) -> np.ndarray:
        return test.ndcg(listed_scores(shop.recommend(histories=histories, k=10), names, dataset.catalogue.ids))

    own = _counted(dataset, np.zeros(0, np.int64), test, choosing)[COUNTS]
    values: dict[str, dict[int, np.ndarray]] = {OURS: {0: ours(day_one)}, POPULAR: {}, COUNTS: {0: own}}
    draws = Counter(len(one.customers) for one in opened)
    for one in opened:
        count = len(one.customers)
        found = {OURS: ours(one.shop), **_counted(dataset, one.customers, test, choosing)}
        for name, value in found.items():
            values[name][count] = values[name].get(count, 0) + value / draws[count]
    return values


def _counted(dataset: Dataset, customers: np.ndarray, test: Asked, choosing: Asked) -> dict[str, np.ndarray]:
    """NDCG@10 of the controls: popularity among the customers, and the best of the counts on validation households."""
    popular = fit_popularity(dataset, customers).scores
    ways: list[Scores] = [fit_most_frequent(dataset, customers).scores]
    for knn in item_knns(dataset, customers) if len(customers) else []:
        ways += [knn.scores, _both(knn.scores, popular)]
    cell = Cell(BENCHMARK, "validation", choosing.tasks, choosing.relevant, choosing.allowed)
    counts = ways[best(cell, ways)]
    return {POPULAR: test.ndcg(popular(test.tasks)), COUNTS: test.ndcg(counts(test.tasks))}


def _both(one: Scores, other: Scores) -> Scores:
    """The sum of two scores, each over its highest value of the household."""

    def scores(tasks: Tasks) -> np.ndarray:
        parts = [way(tasks) for way in (one, other)]
        return sum(part / np.maximum(part.max(1, keepdims=True), 1e-9) for part in parts)

    return scores


# ---------------------------------------------------------------------------------------- what is printed


def table(values: Values, rng: np.random.Generator) -> list[str]:
    """Methods down, customers across."""
    counts = list(values[OURS])
    rows = []
    for name, one in values.items():
        cells = [name]
        for count in counts:
            gap = "" if name == OURS or count not in one else beside(paired_bootstrap(values[OURS][count], one[count], rng))
            cells.append(f"{one[count].mean():.3f} {gap}".strip() if count in one else "nothing to count")
        rows.append(cells)
    columns = [Column(""), *(Column(f"{count} customers") for count in counts)]
    return text_table(columns, rows, Screen(LINE)).split("\n")


def sentence(values: Values, rng: np.random.Generator) -> str:
    """Who is ahead, level or behind, by the numbers; and what the customers changed."""
    counts = list(values[OURS])
    found = by_setting({str(count): _gaps(values, count, rng) for count in counts})
    moved = paired_bootstrap(values[OURS][counts[-1]], values[OURS][0], rng)
    said = "; ".join(f"with {settings} {words}" for settings, words in found)
    return f"llmrec is {said}. {counts[-1]} customers change its NDCG@10 by {gain(moved)}."


def first_trips(values: Values, rng: np.random.Generator) -> str:
    """The same where nobody has an own earlier trip to the department: with no customers counts are then a random order."""
    counts = list(values[OURS])
    means = listed([f"{values[OURS][count].mean():.3f}" for count in counts])
    gaps = {str(count): _gaps(values, count, rng) for count in counts}
    gaps["0"] = {"a random order": gaps["0"][COUNTS]}
    said = "; ".join(f"with {settings} {words}" for settings, words in by_setting(gaps))
    return f"Had no household shopped there before, llmrec would reach {means}: {said}."


def _gaps(values: Values, count: int, rng: np.random.Generator) -> dict[str, Interval]:
    there = [name for name in (POPULAR, COUNTS) if count in values[name]]
    return {name: paired_bootstrap(values[OURS][count], values[name][count], rng) for name in there}


def _rows(values: Values, customers: int, what: str, seed: int, rng: np.random.Generator) -> list[Result]:
    here = {name: one[customers] for name, one in values.items() if customers in one}
    return results(BENCHMARK, f"customers={customers}{what}", OURS, here, {OURS: "ours"}, seed, rng)


def _curves(values: Values, rng: np.random.Generator) -> Iterator[Curve]:
    for name, one in values.items():
        yield curve(name, "ours" if name == OURS else "control", one, rng)


def _seen(values: Values, rng: np.random.Generator) -> str:
    most = list(values[OURS])[-1]
    return f"New department: {standing(_gaps(values, most, rng)[COUNTS])} counts of {most} customers"
