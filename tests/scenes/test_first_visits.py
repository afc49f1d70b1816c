"""Who never bought anything of a scene is scored by weights of their own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from shops import SETTINGS

from llmrec.data.build import build
from llmrec.metrics.ranking import rank_targets
from llmrec.scenes.learned import Learned, Mixes
from llmrec.scenes.learning import first_gains, first_or_later, learn, play
from llmrec.scenes.opening import Scene, adapt, zero_shot
from llmrec.scenes.saving import load_scene, save_scene
from llmrec.scenes.shelf import shelve
from llmrec.scenes.tables import parts_by
from llmrec.scenes.worlds import World, first_visits, last_steps, moments

PARTS, EACH, USERS, VISITS = 4, 20, 240, 10


@pytest.fixture(scope="module")
def worlds() -> dict[str, World]:
    """Four departments. Shoppers draw an item of each by how popular it is, and buy the same one again on every visit: an own
    purchase says all, and without one popularity does."""
    rng = np.random.default_rng(0)
    rows: dict[str, list] = {"user_id": [], "item_id": [], "timestamp": []}
    liked = rng.gamma(0.3, size=(PARTS, EACH)) + 0.01
    for user in range(USERS):
        own = [rng.choice(EACH, p=one / one.sum()) for one in liked]
        for visit in range(VISITS):
            part = rng.integers(PARTS)
            rows["user_id"].append(user)
            rows["item_id"].append(f"{part}-{own[part]}")
            rows["timestamp"].append(1.3e9 + 1e5 * visit + user)
    ids = [f"{part}-{item}" for part in range(PARTS) for item in range(EACH)]
    items = {"item_id": ids, "title": ids, "category": [name.split("-")[0] for name in ids]}
    dataset = build(rows, items)[0]
    text = rng.normal(size=(dataset.n_items, 12)).astype(np.float32)
    shelf = shelve(dataset, text / np.linalg.norm(text, axis=1, keepdims=True), dataset.catalogue.column("title"))
    return parts_by(dataset, shelf, "category", (), True)


@pytest.fixture(scope="module")
def learned(worlds: dict[str, World]) -> Learned:
    """From three of them."""
    return learn([worlds[name] for name in "012"], np.random.default_rng(0), SETTINGS)


@pytest.fixture(scope="module")
def opened(worlds: dict[str, World], learned: Learned) -> tuple[World, Scene, np.ndarray]:
    """The last department, adapted to 64 customers; and other users."""
    world = worlds["3"]
    users = np.random.default_rng(1).permutation(world.users)
    return world, adapt(zero_shot(learned, world.shelf), world.dataset, users[:64], 0, True), users[64:]


def ndcg(scene, tasks):
    relevant = [tasks.dataset.item[tasks.query(task)] for task in range(len(tasks))]
    return rank_targets(scene.scores(tasks), relevant).ndcg(10).mean()


def test_histories_of_a_first_visit_hold_nothing_of_the_scene(worlds):
    world = worlds["1"]
    dataset, among = world.dataset, world.shelf.among
    found, last = (how(dataset, world.users, among) for how in (first_visits, last_steps))
    asked = dict(zip(last.user.tolist(), range(len(last)), strict=True))
    assert len(found) > 0
    for task, user in enumerate(found.user.tolist()):
        before = dataset.item[last.support(asked[user])]
        assert found.dataset.item[found.support(task)].tolist() == before[~among[before]].tolist() != []
        assert found.dataset.item[found.query(task)].tolist() == dataset.item[last.query(asked[user])].tolist()
    left = set(last.user.tolist()) - set(found.user.tolist())
    assert all(among[dataset.item[last.support(asked[user])]].all() for user in left)  # nothing else was bought before


def test_newcomers_are_scored_by_what_first_visits_taught(opened):
    world, scene, users = opened
    tasks = first_visits(world.dataset, users, world.shelf.among)
    as_others = replace(scene, learned=replace(scene.learned, first=None))
    assert ndcg(scene, tasks) > 1.1 * ndcg(as_others, tasks)


def test_users_who_bought_there_before_are_scored_as_ever(opened):
    world, scene, users = opened
    tasks = last_steps(world.dataset, users, world.shelf.among)
    again = np.array([world.shelf.among[world.dataset.item[tasks.support(task)]].any() for task in range(len(tasks))])
    as_others = replace(scene, learned=replace(scene.learned, first=None))
    assert 0 < again.sum() < len(tasks)
    same = (scene.scores(tasks) == as_others.scores(tasks)).all(1)
    np.testing.assert_array_equal(same, again)


def test_they_are_used_where_scenes_left_out_gained_by_them(worlds, learned):
    known = [worlds[name] for name in "012"]
    played = play(known, [moments(world) for world in known], 0, np.random.default_rng(0), SETTINGS)
    visits = [[one.first for one in size] for size in played]
    gains = first_gains(learned.first, learned.later, visits)
    assert gains.shape == (3,) and (gains[1:] > 0.1).all()
    mixed = first_or_later(learned.first, learned.later, np.array([False, True, False]))
    assert mixed == Mixes(learned.later.zero, (learned.first.by_size[0], learned.later.by_size[1]))


def test_whole_catalogues_have_no_first_visits(known):
    assert known.first is None


def test_they_are_saved(opened, tmp_path):
    world, scene, users = opened
    tasks = first_visits(world.dataset, users, world.shelf.among)
    save_scene(tmp_path / "scene", scene)
    assert np.array_equal(load_scene(tmp_path / "scene").scores(tasks), scene.scores(tasks))
