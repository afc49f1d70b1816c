"""A language model that moves the answers of a new category, before and after its adapter steps on the first customers.

Axis convention: `T` users who are asked about, `N` items.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from llmrec import SceneRecommender, Scenes
from llmrec.data.tasks import Tasks, last_baskets
from llmrec.encoder.users import batches
from llmrec.meta.gate import Choice
from llmrec.metrics.bootstrap import resampled
from llmrec.metrics.ranking import ndcg
from llmrec.metrics.report import Result
from llmrec.ranking.llm_ranker import LLMRanker
from llmrec.scenes.opening import Scene
from llmrec.scenes.ranker_steps import RankerSteps, stepped_ranker
from llmrec.scenes.reranked import answered
from llmrec.scenes.worlds import World
from studies.categories.opened import events_of
from studies.categories.shops import Category

SUPPORTS = (16,)  # first customers
NAME, METRIC, K = "scene-ranker", "ndcg@10", 10
ALONE, ADAPTER = "Scenes", "language model, zero steps"
STEPS, OTHER = "language model, steps", "language model, another's steps"
PRIMARY = f"{SUPPORTS[-1]} customers"


def measured(known: Scenes, new: Category, other: Category, users: np.ndarray) -> dict[str, np.ndarray]:
    """Arm -> NDCG@10 (T,) over the whole catalogue, of what each user took last."""
    tasks = last_baskets(new.dataset, users, 1)
    found = {}
    for count in (0, *SUPPORTS):
        for arm, scene in arms(known, new, other, new.teaching[:count]):
            found[f"{arm}, {count}"] = answers_ndcg(scene, tasks)
    return found


def arms(known: Scenes, new: Category, other: Category, first: np.ndarray) -> Iterator[tuple[str, Scene]]:
    """The new category after its first customers, int64 users: without a ranker, and by each way to have one."""
    shop = known.open(new.dataset.catalogue.table)
    adapted = (shop.adapt(events_of(new.dataset, first)) if len(first) else shop).scene
    yield ALONE, replace(adapted, ranker=None, adapted_ranker=None)
    yield ADAPTER, replace(adapted, adapted_ranker=None)
    steps, ranker = adapted.learned.ranker_steps, adapted.ranker
    if len(first) and steps is not None and steps.gate.bins and isinstance(ranker, LLMRanker):
        for arm, one, customers in ((STEPS, new, first), (OTHER, other, other.teaching[: len(first)])):
            yield arm, replace(adapted, adapted_ranker=stepped(known, steps, ranker, one, customers))


def best_way(steps: RankerSteps, customers: int) -> Choice:
    """The way that the gate chose for so many customers, or the best of those that it refused."""
    place = int(np.searchsorted([one.least for one in steps.gate.bins], customers, side="right")) - 1
    return steps.gate.choices[steps.gate.bins[max(place, 0)].about]


def stepped(known: Scenes, steps: RankerSteps, ranker: LLMRanker, of: Category, customers: np.ndarray) -> LLMRanker:
    """The ranker after the best way on the choices of a category's customers, whether the gate would take it or not."""
    shop: SceneRecommender = known.open(of.dataset.catalogue.table)
    dataset, users = shop._first_customers(events_of(of.dataset, customers), None)
    world = World(dataset, shop.scene.shelf, users)
    return stepped_ranker(ranker, steps, best_way(steps, len(customers)), shop.scene, world, np.random.default_rng(0))


def answers_ndcg(scene: Scene, tasks: Tasks) -> np.ndarray:
    """float64 (T,): NDCG@10 of answers that leave out what the user has had."""
    found = []
    for part in batches(tasks):
        allowed = np.ones((len(part), part.dataset.n_items), bool)
        for task in range(len(part)):
            allowed[task, part.dataset.item[part.support(task)]] = False
        found.append(ndcg(answered(scene, part, True), part.relevant(new_only=True), K, allowed))
    return np.concatenate(found)


def told(known: Scenes) -> dict[str, Any]:
    """What known categories said of the ranker: its weights without and with first customers, 0 where it is left out, and the
    gate of its steps."""
    learned = known.known.learned
    steps = learned.ranker_steps
    return {"weights": list(learned.ranker_weights), "steps": None if steps is None else steps.to_dict()}


def rows(found: Mapping[str, np.ndarray], seed: int) -> list[Result]:
    """Means and paired differences with intervals."""
    drawn = resampled(found, np.random.default_rng(seed), 2_000)
    told = []

    def row(arm: str, versus: str) -> Result:
        one = drawn[arm] if not versus else drawn[arm].minus(drawn[versus])
        at, count = one.interval(), arm.rsplit(", ", 1)[1]
        role = "ours" if arm.startswith(f"{STEPS},") else "control"
        return Result(NAME, arm, role, f"{count} customers", METRIC, at.value, at.low, at.high, versus, at.n, seed, None)

    for arm in found:
        told.append(row(arm, ""))
    for count in (0, *SUPPORTS):
        pairs = [(ADAPTER, ALONE), (STEPS, ADAPTER), (STEPS, ALONE), (OTHER, ADAPTER)]
        pairs = [(f"{one}, {count}", f"{versus}, {count}") for one, versus in pairs]
        told += [row(one, versus) for one, versus in pairs if one in found and versus in found]
    return told
