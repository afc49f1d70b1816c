"""Item knowledge in the blend of young items: it counts where it says what texts and buyers do not."""

from __future__ import annotations

import numpy as np
import pytest
from worlds import build

from studies.new_items import knowing, refitted
from studies.new_items.replay import Replay, World, replay

SIDES = np.array([0, 1, 1, 0, 0, 1] + [0, 1] * 6)  # of two kinds of users, which takes an item; young ones from the 7th on


@pytest.fixture(scope="module")
def shop() -> World:
    """Users of two kinds, who take old items of their side and then a young one, a new pair of which is sold every day."""

    def history(user: int) -> list[list[int]]:
        mine = np.flatnonzero(user % 2 == SIDES)
        return [[int(item)] for item in mine[:3]] + [[int(item)] for item in mine[3:]]

    whole = build([history(user) for user in range(40)], len(SIDES))
    return World(whole, whole.keep(whole.time < 300), 300.0)


def told(shop: World, learned: np.ndarray, asked: np.ndarray) -> dict[str, float]:
    """Means of the blends whose weights are learned with the states `learned`, and that are asked with others."""
    found = replay(shop)
    warm = np.bincount(shop.train.item, minlength=len(SIDES)) > 0
    noise = knowing.of_length_one(np.random.default_rng(0).normal(size=(len(SIDES), 8)))

    def world(states: np.ndarray) -> tuple[World, Replay, dict[str, np.ndarray]]:
        return shop, found, {"MiniLM": noise, "item knowledge": knowing.principal(states, warm, 0.5)}

    return {arm: float(value.mean()) for arm, value in knowing.answered(world(learned), world(asked)).items()}


def test_states_that_know_the_side_of_an_item_rank_it_and_those_of_other_items_do_not(shop, monkeypatch):
    monkeypatch.setattr(refitted, "NEAREST", 2)
    states = np.random.default_rng(1).normal(size=(len(SIDES), 6)) * 0.1
    states[:, 0] += 2.0 * SIDES
    other = np.concatenate([states[:6], states[:5:-1]])  # each young item has those of one of the other side
    right, wrong = told(shop, states, states), told(shop, states, other)
    assert right[knowing.KNOWLEDGE] > right[knowing.MINILM] + 0.03 and right[knowing.ALONE] > right[knowing.BLEND] + 0.1
    assert wrong[knowing.ALONE] < right[knowing.ALONE] - 0.1 and wrong[knowing.MINILM] == right[knowing.MINILM]


def test_principal_components_are_of_warm_items_and_of_length_one():
    states, warm = np.random.default_rng(0).normal(size=(30, 5)), np.arange(30) < 20
    found = knowing.principal(states, warm, 0.0)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-5)
    moved = states.copy()
    moved[25] *= 100.0
    np.testing.assert_allclose(knowing.principal(moved, warm, 0.0)[warm], found[warm], atol=1e-5)


def test_gains_are_held_against_the_same_blend_without(shop):
    found = replay(shop)
    result = {arm: np.full(len(found.target), value) for arm, value in zip(knowing.VECTORS, (0.1, 0.2, 0.3, 0.5), strict=True)}
    rows = knowing.rows("name", found, result, 0)
    gain = {(row.method, row.versus): row.value for row in rows if row.setting == "any k" and row.versus}
    assert gain[knowing.KNOWLEDGE, knowing.MINILM] == pytest.approx(0.3)
    assert gain[knowing.ALONE, knowing.BLEND] == pytest.approx(0.2)
