"""Windows say of a history what the dataset says, and a support user's own purchases are nobody's but his."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec.data.build import build
from llmrec.errors import DataError
from llmrec.scenes.shelf import part_of, shelve
from llmrec.scenes.worlds import World, last_steps, right
from studies.scenes.room import asks, counted, room, windows


@pytest.fixture(scope="module")
def baskets() -> World:
    """60 shoppers with four baskets of three events among 30 items; items come again, in one basket too."""
    rng = np.random.default_rng(3)
    rows: dict[str, list] = {"user_id": [], "item_id": [], "timestamp": [], "basket_id": []}
    for user in range(60):
        for visit in range(4):
            for item in rng.integers(0, 30, 3):
                rows["user_id"].append(user)
                rows["item_id"].append(f"i{item:02d}")
                rows["timestamp"].append(1.3e9 + 1e6 * visit)
                rows["basket_id"].append(f"{user}-{visit}")
    titles = {"item_id": [f"i{item:02d}" for item in range(30)], "title": [f"mug {item}" for item in range(30)]}
    dataset = build(rows, titles)[0]
    text = rng.normal(size=(dataset.n_items, 6)).astype(np.float32)
    shelf = shelve(dataset, text / np.linalg.norm(text, axis=1, keepdims=True), dataset.catalogue.column("title"))
    return World(dataset, part_of(shelf, np.arange(30) % 3 > 0), np.arange(60), again=True)


def test_a_window_holds_the_last_events_latest_first(baskets):
    dataset, tasks = baskets.dataset, last_steps(baskets.dataset, baskets.users, baskets.shelf.among)
    found = windows(room(baskets), tasks, most=5)
    assert len(found) == len(tasks) > 0 and found.item.shape[1] <= 5
    for row in range(len(tasks)):
        own = dataset.item[tasks.support(row)][::-1][:5]
        basket = dataset.basket[tasks.support(row)][::-1][:5]
        there = found.there[row].numpy()
        expected, seen = [], set()
        for item, one in zip(own.tolist(), basket.tolist(), strict=True):
            if (item, one) not in seen:
                expected.append((item, basket[0] - one))
            seen.add((item, one))
        pairs = zip(found.item[row].numpy()[there].tolist(), found.back[row].numpy()[there].tolist(), strict=True)
        assert list(pairs) == expected


def test_every_item_of_the_scene_that_came_is_asked_for(baskets):
    tasks, item = asks(baskets, np.array([4, 9]))
    dataset, among = baskets.dataset, baskets.shelf.among
    expected = []
    for user in (4, 9):
        events = np.arange(dataset.start[user], dataset.start[user + 1])
        later = events[dataset.basket[events] > 0]
        expected += [int(one) for one in dataset.item[later] if among[one]]
    assert item.tolist() == expected
    assert all(item[row] in dataset.item[tasks.query(row)] for row in range(len(tasks)))


def test_users_are_counted_once_an_item_and_never_for_themselves(baskets):
    users = np.array([3, 7, 11])
    here = counted(room(baskets), users)
    dataset = baskets.dataset
    had = np.stack([np.bincount(dataset.take(np.array([u])).item, minlength=30) > 0 for u in users])[:, here.items]
    np.testing.assert_array_equal(here.bought.count, had.sum(0))
    tasks = last_steps(dataset, np.array([5, 7]), baskets.shelf.among)
    row, place = windows(here, tasks).taken
    assert set(row.tolist()) == {1}
    assert sorted(place.tolist()) == np.flatnonzero(had[1]).tolist()
    assert counted(here, np.zeros(0, np.int64)).bought is None


def test_what_was_had_is_barred_where_nothing_comes_again_but_never_the_target(baskets):
    again, once = room(baskets), room(World(baskets.dataset, baskets.shelf, baskets.users))
    tasks = last_steps(baskets.dataset, baskets.users, baskets.shelf.among)
    target = right(tasks, baskets.shelf.among, np.random.default_rng(0))
    row, place, _ = windows(once, tasks, target).own
    at = np.searchsorted(once.items, target)
    assert (place.numpy() != at[row.numpy()]).all()
    before = windows(again, tasks, target).own
    assert len(before[0]) > len(row)
    for one in range(0, len(before[0]), 50):
        had = baskets.dataset.item[tasks.support(int(before[0][one]))] == again.items[int(before[1][one])]
        basket = baskets.dataset.basket[tasks.support(int(before[0][one]))]
        assert before[2][one] == pytest.approx(np.log1p(len(np.unique(basket[had]))))
    with pytest.raises(DataError, match="outside"):
        windows(again, tasks, np.zeros(len(tasks), np.int64))
