"""Steps and what came after, against loops."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec.data.build import build
from llmrec.scenes.histories import FADE, came, means, steps, unit


@pytest.fixture(scope="module")
def world():
    rng = np.random.default_rng(0)
    rows: dict[str, list] = {"user_id": [], "item_id": [], "timestamp": [], "basket_id": []}
    for user in range(12):
        for visit in range(user % 5 + 1):
            for item in rng.choice(9, rng.integers(1, 4), replace=False):
                rows["user_id"].append(user)
                rows["item_id"].append(f"i{item}")
                rows["timestamp"].append(1e9 + 1e5 * visit)
                rows["basket_id"].append(f"{user}-{visit}")
    dataset = build(rows)[0]
    return dataset, rng.normal(size=(dataset.n_items, 5)).astype(np.float32)


def baskets(dataset, user):
    cut = dataset.basket_start
    first, stop = dataset.first_basket[user], dataset.first_basket[user + 1]
    return [dataset.item[cut[b] : cut[b + 1]] for b in range(first, stop)]


@pytest.mark.parametrize("most", [1, 2, 20])
def test_steps_are_all_baskets_but_the_first(world, most):
    dataset, _ = world
    found = steps(dataset, np.array([4, 0, 9]), most)
    expected = []
    for user in (4, 0, 9):
        own = baskets(dataset, user)
        for place in range(max(1, len(own) - most), len(own)):
            expected.append((user, np.concatenate(own[:place]), own[place]))
    assert len(found) == len(expected)
    for task, (user, before, after) in enumerate(expected):
        assert found.user[task] == user
        assert dataset.item[found.support(task)].tolist() == before.tolist()
        assert dataset.item[found.query(task)].tolist() == after.tolist()


def test_what_came_is_the_mean_of_the_scene_s_items(world):
    dataset, vectors = world
    among = np.arange(dataset.n_items) % 2 == 0
    asked = steps(dataset, np.arange(12))
    places, found = came(vectors, among, asked)
    expected = {}
    for task in range(len(asked)):
        wanted = [item for item in dataset.item[asked.query(task)] if among[item]]
        if wanted:
            expected[task] = vectors[wanted].mean(0)
    assert 0 < len(expected) < len(asked) and places.tolist() == list(expected)
    np.testing.assert_allclose(found, np.stack(list(expected.values())), atol=1e-5)


def test_a_mean_fades_basket_by_basket_and_looks_at_no_query(world):
    dataset, vectors = world
    asked = steps(dataset, np.arange(12))
    for task, row in enumerate(means(vectors, asked)):
        own = baskets(dataset, asked.user[task])
        known = [b for b in own if len(b)][
            : int(np.searchsorted(np.cumsum([len(b) for b in own]), asked.split[task] - asked.start[task]) + 1)
        ]
        total = sum(FADE**back * vectors[list(basket)].sum(0) for back, basket in enumerate(reversed(known)))
        np.testing.assert_allclose(row, total / np.linalg.norm(total), atol=1e-5)


def test_a_row_of_nothing_stays_nothing():
    assert unit(np.zeros((1, 3))).tolist() == [[0, 0, 0]]
    np.testing.assert_allclose(unit(np.array([[3.0, 4.0]])), [[0.6, 0.8]])
