"""Episodes ask others than those who are the support, and what is right is always there, first."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmrec.errors import DataError
from llmrec.scenes.few import learn_few
from llmrec.scenes.histories import steps
from llmrec.scenes.readings import COLUMNS, read_base, read_few
from llmrec.scenes.shelf import TEXT, part_of
from llmrec.scenes.worlds import episode, ground, last_steps, moments, own_events, parts, posed, right


@pytest.fixture(scope="module")
def world(shop):
    return shop(5, True)


def test_the_last_basket_with_an_item_of_the_scene(world):
    dataset = world.dataset
    among = np.arange(dataset.n_items) < 15
    tasks = last_steps(dataset, np.arange(260), among)
    expected = {}
    for user in range(260):
        own = dataset.item[dataset.start[user] : dataset.start[user + 1]]
        places = [place for place in range(1, len(own)) if among[own[place]]]
        if places:
            expected[user] = places[-1]
    assert tasks.user.tolist() == list(expected)
    assert (tasks.split - tasks.start).tolist() == list(expected.values())
    assert (tasks.stop - tasks.split == 1).all() and 0 < len(tasks) < 260
    found = right(tasks, among, np.random.default_rng(0))
    assert among[found].all() and (found == dataset.item[tasks.split]).all()


def test_the_right_item_is_first_and_stands_for_itself(world):
    known = ground([moments(world)])
    users = np.random.default_rng(3).permutation(world.users)
    tasks = last_steps(world.dataset, users[40:140], world.shelf.among)
    few = learn_few(known, world.shelf, world.dataset, users[:40])
    made = posed(world, known, few, tasks, np.random.default_rng(4), hard=10, drawn=8)
    assert made.inputs.shape == (100, 19, len(COLUMNS)) and made.offset.shape == (100, 19)
    assert (made.offset[:, 0] == 0).all()
    drawn = episode(world, known, 40, 100, np.random.default_rng(3))  # the same users, by a draw of its own
    np.testing.assert_array_equal(drawn.inputs[:, 0], made.inputs[:, 0])
    columns = read_base(known, world.shelf, tasks) | read_few(few, world.shelf, tasks)
    target = world.dataset.item[tasks.split]
    place = np.searchsorted(world.shelf.items, target)
    for column, name in enumerate(COLUMNS):
        np.testing.assert_array_equal(made.inputs[:, 0, column], columns[name][np.arange(100), place])
    assert (made.inputs[:, 1:, COLUMNS.index("own")][np.isfinite(made.offset[:, 1:])] == 0).all()  # nothing twice


def test_candidates_stand_for_the_whole_scene(world):
    """The sum of what they stand for is about the number of items that may come."""
    tasks = last_steps(world.dataset, np.random.default_rng(3).permutation(world.users)[:200], world.shelf.among)
    made = posed(world, ground([moments(world)]), None, tasks, np.random.default_rng(3), hard=10, drawn=40)
    assert made.inputs.shape[2] == len(TEXT)
    may = world.dataset.n_items - (tasks.split - tasks.start)
    assert np.exp(made.offset).sum(1).mean() == pytest.approx(may.mean(), rel=0.02)


def test_a_ground_is_two_ridge_regressions_of_scenes_that_weigh_the_same(world, shop):
    one, two = moments(world), moments(replace(shop(6, True), users=np.arange(50)))
    found = ground([one, two], ridge=0.5)
    square = one.histories + two.histories
    expected = np.linalg.inv(square + 0.5 * np.trace(square) * np.eye(12)) @ (one.next + two.next)
    np.testing.assert_allclose(found.map, expected, atol=1e-6)
    np.testing.assert_allclose(ground([one, one]).map, ground([one]).map, atol=1e-6)
    with pytest.raises(DataError, match="at least one scene"):
        ground([])


def test_a_world_nobody_comes_back_to_teaches_nothing(world):
    with pytest.raises(DataError, match="no user has a second basket"):
        moments(replace(world, users=np.zeros(0, np.int64)))


def test_parts_are_alike_in_text_and_have_users_enough(world):
    found = parts(world, 5, (10, 30), np.random.default_rng(0), least=50)
    assert len(found) == 5
    for part in found:
        items = part.shelf.items
        assert 10 <= len(items) <= 30 and len(part.users) >= 50
        assert part.shelf.among[part.dataset.item].all()
        assert (np.diff(part.dataset.start)[part.users] >= 2).all()
        middle = part.shelf.vectors[items].mean(0)
        others = np.flatnonzero(~part.shelf.among)
        assert (part.shelf.vectors[items] @ middle).mean() > (part.shelf.vectors[others] @ middle).mean()
    assert parts(world, 5, (10, 30), np.random.default_rng(0), least=10_000) == []
    assert (world.shelf.among == part_of(world.shelf, world.shelf.among).among).all()


def test_own_events_are_answered_by_the_other_support_users(world):
    """What comes next of each is asked for once; of an item that nobody else took it is not said that somebody did."""
    known, users = ground([moments(world)]), np.arange(40)
    found = own_events(replace(world, users=users), known, np.random.default_rng(0))
    asked = steps(world.dataset, users, 6)
    assert len(found.inputs) == len(asked) and found.inputs.shape[2] == len(COLUMNS)
    once = replace(world, users=np.array([7, 7 + 100]))
    alone = own_events(once, known, np.random.default_rng(0))
    both = np.intersect1d(*(world.dataset.item[world.dataset.start[u] : world.dataset.start[u + 1]] for u in once.users))
    bought = alone.inputs[:, 0, COLUMNS.index("bought")]
    assert (bought > 0).sum() <= 2 * len(both) < len(bought)


def test_own_events_do_not_exceed_what_fits(world, monkeypatch):
    monkeypatch.setattr("llmrec.scenes.worlds.OWN_MOST", 50)
    found = own_events(replace(world, users=np.arange(60)), ground([moments(world)]), np.random.default_rng(0))
    assert 40 <= len(found.inputs) <= 60
    nobody = own_events(replace(world, users=np.zeros(0, np.int64)), ground([moments(world)]), np.random.default_rng(0))
    assert len(nobody.inputs) == 0
