"""A category never seen: constants are chosen on the validation tasks given, and nothing else is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmrec.data.build import build
from llmrec.encoder.train import TrainSettings
from llmrec.encoder.weights import Weights
from llmrec.meta.outer import OuterSettings
from llmrec.progress import Stages
from llmrec.ranking.ranker import RankerSettings
from llmrec.ranking.statistics import read_texts
from llmrec.recommender.fit import fit
from llmrec.recommender.settings import LoraSettings, Settings
from studies.ablations import cold
from studies.ablations.cold import Trained, random_starts
from studies.ablations.plan import Plan
from studies.ablations.scene import (
    Scene,
    adapt_scene,
    fit_scene_controls,
    random_adapter,
    read_scene,
    scene_arms,
    scene_cell,
    tasks_in,
    told,
)

USERS, ITEMS = 24, 44
OWN = {"popularity", "most_frequent", "frozen", "base", "zero_steps", "continued", "swapped", "meta_lora"}
CHOSEN = {"item_knn", "ease", "random_lora"}


@pytest.fixture(scope="module")
def state(tiny_folders):
    """A shop of two categories of 22 items; every user buys a few items of both, again and again."""
    rng, rows = np.random.default_rng(0), []
    for user in range(USERS):
        habit = rng.choice(ITEMS, 6, replace=False)
        for basket in range(7):
            for place, item in enumerate(rng.choice(habit, 3, replace=False)):
                rows.append((f"u{user:02}", f"i{item:02}", 1.6e9 + 86_400.0 * basket + place, f"{user}-{basket}"))
    names = ("user_id", "item_id", "timestamp", "basket_id")
    events = {name: [row[column] for row in rows] for column, name in enumerate(names)}
    titles = ["red", "blue", "green", "small", "large", "mug", "lamp", "rope", "tent", "soap"]
    catalogue = {
        "item_id": [f"i{item:02}" for item in range(ITEMS)],
        "title": [f"{titles[item % 10]} {titles[item // 5]}" for item in range(ITEMS)],
        "category": ["ab"[item >= 22] for item in range(ITEMS)],
    }
    few = RankerSettings(hidden=2, max_steps=10)
    settings = Settings(
        user_encoder="pretrained",
        layers=None,
        train=TrainSettings(max_steps=6, batch_size=8, max_slots=24, known=(1, 3), horizon=2),
        lora=LoraSettings(r=2, lora_alpha=4.0, inner_steps=2, meta_batch_size=8, b_std=0.2),
        outer=OuterSettings(episodes=2),
        counts_ranker=few,
        blend=few,
        ranking_tasks=40,
    )
    dataset = build(events, catalogue)[0]
    return fit(dataset, Weights.folder(tiny_folders["bert"]), settings, 0, Stages(), None)


@pytest.fixture(scope="module")
def plan(state):
    return Plan(state.settings, scene_episodes=1, scene_support=8)


@pytest.fixture(scope="module")
def scene():
    return Scene("a", np.arange(ITEMS) < 22)


@pytest.fixture(scope="module")
def cell(state, scene, plan):
    return scene_cell("validation", state.histories, np.arange(8, 16), scene, plan, np.random.default_rng(1))


def favour(cell, scores, right):
    """The same tasks, where that item is right which `scores[right]` put furthest ahead of where all others put it."""
    places = [np.where(cell.allowed, -one, np.inf).argsort(1).argsort(1) for one in scores]
    gains = [np.where(place < 10, 1 / np.log2(place + 2), 0.0) for place in places]
    ahead = np.min([gains[right] - gain for other, gain in enumerate(gains) if other != right], axis=0)
    assert ahead.max(1).mean() > 0
    return replace(cell, relevant=[np.array([item]) for item in np.where(cell.allowed, ahead, -np.inf).argmax(1)])


def test_only_the_constants_of_controls_follow_the_validation_tasks(state, scene, plan, cell):
    data, users = state.histories, np.arange(USERS)
    texts = read_texts(data)
    ranker = state.rankers.counts
    trained = Trained(data, state.model, state.items, state.init, state.retrieval, texts, ranker, users, users, users)
    test = scene_cell("test", data, np.arange(16, USERS), scene, plan, np.random.default_rng(2))
    contrary = replace(cell, relevant=[np.setdiff1d(np.flatnonzero(scene.items), items) for items in cell.relevant])
    found = []
    for validation in (cell, contrary):
        arms = scene_arms(data, trained, state.rankers, scene, users[:8], validation, plan, 0, np.random.default_rng(3))
        assert set(arms) == OWN | CHOSEN
        found.append({name: arm[0](test.tasks) for name, arm in arms.items()})
    for name in OWN:
        np.testing.assert_array_equal(found[0][name], found[1][name])
    assert not np.array_equal(found[0]["item_knn"], found[1]["item_knn"])
    assert not np.array_equal(found[0]["ease"], found[1]["ease"])


def test_controls_repeat_where_validation_users_do_and_not_where_they_do_not(state, scene, cell):
    data, support, tasks = state.histories, np.arange(8), cell.tasks
    mine = [np.unique(data.item[tasks.support(task)]) for task in range(len(tasks))]
    mine = [items[scene.items[items]] for items in mine]
    other = [np.setdiff1d(np.flatnonzero(scene.items), items) for items in mine]
    loyal = fit_scene_controls(data, support, replace(cell, relevant=mine))
    fickle = fit_scene_controls(data, support, replace(cell, relevant=other))
    for name in ("item_knn", "ease"):
        places = [
            np.concatenate([control[name](tasks)[t, items] for t, items in enumerate(mine)]) for control in (loyal, fickle)
        ]
        assert places[0].mean() > places[1].mean()


@pytest.mark.parametrize("right", [0, 1, 2])
def test_the_random_start_takes_the_rate_that_is_right_for_validation_users(state, scene, plan, cell, right, monkeypatch):
    monkeypatch.setattr(cold, "RANDOM_RATES", (0.0, 300.0, 3000.0))
    model, items = state.model, told(state.items, state.histories, np.arange(8), scene.items)
    known = tasks_in(state.histories, np.arange(8), scene.items, 48, plan, np.random.default_rng(4))
    starts = random_starts(model, plan.settings, 5)
    made = [adapt_scene(model, items, start, known, scene.items, plan) for start in starts]
    scores = [read_scene(model, items, adapter, plan)(cell.tasks).table() for adapter in made]
    found = random_adapter(model, items, known, scene.items, favour(cell, scores, right), plan, 5)
    np.testing.assert_array_equal(read_scene(model, items, found, plan)(cell.tasks).table(), scores[right])
    assert not any(np.array_equal(scores[right], scores[other]) for other in {0, 1, 2} - {right})


def test_without_validation_tasks_the_first_choice_is_taken(state, scene, plan, cell):
    nobody = replace(cell, tasks=cell.tasks.take(np.zeros(0, np.int64)), relevant=[], allowed=np.zeros((0, ITEMS), bool))
    model, known = state.model, cell.tasks
    first = adapt_scene(model, state.items, random_starts(model, plan.settings, 5)[0], known, scene.items, plan)
    found = random_adapter(model, state.items, known, scene.items, nobody, plan, 5)
    for one, other in zip(found.leaves(), first.leaves(), strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    assert set(fit_scene_controls(state.histories, np.arange(8), nobody)) == {"popularity", "most_frequent", "item_knn", "ease"}
