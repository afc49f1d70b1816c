"""Which scenes tables make, and which are large enough to learn from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmrec.data.build import build
from llmrec.errors import DataError
from llmrec.scenes.learning import LearnSettings
from llmrec.scenes.tables import check_size, fitting_sizes, labels, named_tables, parts_by, room, shown, too_small, world_of

SIZES = LearnSettings(sizes=(16, 64))


def test_tables_go_by_name_and_a_dataset_stands_for_both(shop):
    dataset = shop(0, True).dataset
    assert named_tables({"a": (1, 2), 5: dataset}, None, ()) == {"a": (1, 2), "5": (dataset, None)}
    for data, items, without in (
        ([], None, ()),
        ({"a": [1, 2]}, None, ()),
        ({"a": (1, 2)}, 3, ()),
        ({"a": (1, 2)}, None, ["b"]),
    ):
        with pytest.raises(DataError, match="category"):
            named_tables(data, items, without)


def test_parts_are_the_values_of_a_column_with_their_own_customers(shop, tables):
    events, items = tables(0, True)
    shelf_of = [None, "", *(["low"] * 29), *([7.0] * 29)]  # numbers are read as they are written
    items = items | {"place": [value if value is None else str(value) for value in shelf_of]}
    dataset = build(events, items)[0]
    whole = shop(0, True).shelf
    label = labels(dataset.catalogue, "place")
    assert label.tolist() == ["", "", *(["low"] * 29), *(["7.0"] * 29)]
    assert shown(label) == "'7.0', 'low'"
    worlds = parts_by(dataset, whole, "place", [], True)
    assert list(worlds) == ["7.0", "low"]
    for name, world in worlds.items():
        assert world.shelf.among.tolist() == (label == name).tolist() and world.again
        bought = {user for user in range(260) if (label[dataset.item[dataset.user == user]] == name).any()}
        assert set(world.users.tolist()) == bought
    assert list(parts_by(dataset, whole, "place", ["low"], True)) == ["7.0"]


def test_a_scene_needs_items_and_customers_who_came_twice(shop):
    world = shop(0, True)
    assert room(SIZES) == 66
    assert not too_small(replace(world, users=np.arange(66)), SIZES)
    assert too_small(replace(world, users=np.arange(65)), SIZES)
    assert too_small(world_of(world.dataset, replace(world.shelf, among=np.arange(60) < 19), False), SIZES)
    once = world.dataset.keep(world.dataset.basket == 0)
    assert too_small(replace(world, dataset=once), SIZES)
    with pytest.raises(DataError, match=r"data\['b'\]: expected at least 20 items and 66 .* got 60 items and 0 customers"):
        check_size({"a": world, "b": replace(world, dataset=once)}, SIZES)


def test_supports_leave_fifty_to_ask_in_the_smallest(shop):
    world = shop(0, True)
    for users, sizes in ((66, (16,)), (113, (16,)), (114, (16, 64)), (260, (16, 64))):
        assert fitting_sizes({"a": world, "b": replace(world, users=np.arange(users))}, SIZES) == sizes
