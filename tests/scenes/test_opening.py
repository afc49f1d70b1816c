"""A scene that is adapted is better where there is something to learn, and nothing else is changed by it."""

from __future__ import annotations

import copy
from dataclasses import fields, is_dataclass

import numpy as np
import pytest
from scipy import sparse

import llmrec.scenes
from llmrec.data.build import build
from llmrec.errors import DataError
from llmrec.metrics.ranking import ndcg
from llmrec.models.popularity import fit_popularity
from llmrec.scenes.choosing import surprise
from llmrec.scenes.opening import adapt, zero_shot, zero_steps
from llmrec.scenes.shelf import part_of, shelve
from llmrec.scenes.worlds import last_steps

SUPPORT, ASKED = np.arange(64), np.arange(64, 260)


def same(a, b) -> bool:
    """Equal down to the last number."""
    if is_dataclass(a):
        return type(a) is type(b) and all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    if isinstance(a, tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if sparse.issparse(a):
        return (a != b).nnz == 0
    return np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b


def test_the_four_are_there_in_one_place():
    assert llmrec.scenes.__all__ == ["adapt", "choose", "zero_shot"]
    assert all(callable(getattr(llmrec.scenes, name)) for name in llmrec.scenes.__all__)


def test_nobody_is_zero_steps_exactly(known, shop):
    world = shop(7, True)
    scene = zero_shot(known, world.shelf)
    tasks = last_steps(world.dataset, ASKED, world.shelf.among)
    for design in (None, 0, 2, 3):
        nobody = adapt(scene, world.dataset, np.zeros(0, np.int64), design)
        assert same(nobody, scene) and nobody.name == "zero steps"
        assert np.array_equal(nobody.scores(tasks), scene.scores(tasks))


@pytest.mark.parametrize("design", [2, 3])
def test_nothing_that_was_there_is_changed_by_a_new_scene(known, shop, design):
    first, second = shop(7, True), shop(8, True)
    old = adapt(zero_shot(known, first.shelf), first.dataset, SUPPORT, design)
    tasks = last_steps(first.dataset, ASKED, first.shelf.among)
    before, kept, start = old.scores(tasks), copy.deepcopy(old), zero_shot(known, second.shelf)
    untouched = copy.deepcopy(start)
    adapted = adapt(start, second.dataset, SUPPORT, design)
    assert (adapted.own is not None) == adapted.learned.designs[design].steps
    assert same(old, kept) and same(start, untouched)
    assert np.array_equal(old.scores(tasks), before)  # forgetting is zero because no two scenes share what they learn
    assert same(zero_steps(adapted), start)
    assert not same(adapted, start)  # the probe sees


def test_where_text_says_nothing_a_few_users_are_worth_more_than_popularity(known, shop):
    world = shop(7, True)
    scene, tasks = zero_shot(known, world.shelf), last_steps(world.dataset, ASKED, world.shelf.among)
    seen = np.ones((len(tasks), world.dataset.n_items), bool)
    for task in range(len(tasks)):
        seen[task, world.dataset.item[tasks.support(task)]] = False

    def value(arm):
        return ndcg(arm.scores(tasks), tasks.relevant(), 10, seen).mean()

    popular = value(fit_popularity(world.dataset, SUPPORT))
    few, many = (value(adapt(scene, world.dataset, SUPPORT[:n], 2)) for n in (16, 64))
    assert value(scene) < popular < many
    assert few < many
    bias = value(adapt(scene, world.dataset, SUPPORT, 0))
    assert value(scene) < bias < many  # company says what popularity cannot


def test_a_task_alone_is_as_it_is_among_others(known, shop):
    world = shop(7, True)
    scene = adapt(zero_shot(known, world.shelf), world.dataset, SUPPORT, 2)
    tasks = last_steps(world.dataset, ASKED, world.shelf.among)
    whole = scene.scores(tasks)
    np.testing.assert_allclose(scene.scores(tasks.take(np.array([5]))), whole[5:6], atol=1e-5)


def test_items_outside_the_scene_are_never_scored(known, shop):
    world = shop(7, True)
    among = np.arange(world.dataset.n_items) < 20
    scene = adapt(zero_shot(known, part_of(world.shelf, among)), world.dataset, SUPPORT, 2)
    tasks = last_steps(world.dataset, ASKED, among)
    scores = scene.scores(tasks)
    assert np.isneginf(scores[:, ~among]).all() and np.isfinite(scores[:, among]).all()
    target = np.array([wanted[among[wanted]][0] for wanted in tasks.relevant()])
    chance = np.exp(-surprise(scene, tasks, target, repeat_purchases=True))
    assert (chance > 0).all() and (chance <= 1).all()


def test_what_does_not_fit_is_refused(known, shop):
    world, other = shop(7, True), shop(8, True)
    narrow = shelve(world.dataset, world.shelf.vectors[:, :5], world.dataset.catalogue.column("title"))
    with pytest.raises(DataError, match="width 12, got 5"):
        zero_shot(known, narrow)
    bare = part_of(other.shelf, np.ones(other.dataset.n_items, bool))
    smaller = build({"user_id": [1, 1], "item_id": ["a", "b"], "timestamp": [1.0, 2.0]})[0]
    with pytest.raises(DataError, match="expected a catalogue of"):
        adapt(zero_shot(known, bare), smaller, np.array([0]))
