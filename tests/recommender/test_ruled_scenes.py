"""Rules in the answers of scenes that a recommender reads: at zero steps they are its own answers under these rules."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from random_rules import QUICK, asks, blocked, check, passing
from rule_items import IDS, ITEMS, ROWS, lists

from llmrec import Recommender, SceneRecommender
from llmrec.errors import IgnoredInputWarning
from llmrec.rules import Rules
from llmrec.rules.filling import PINNED
from llmrec.scenes.opening import Scene
from llmrec.scenes.ranked import RankedShelf, item_vectors

VISITORS = ["new1", "new2", "new3"]


def opened(shop: Recommender, among: np.ndarray | None = None) -> SceneRecommender:
    """A scene of the shop's own items. Zero steps read nothing of what known scenes taught."""
    state, everything = shop.state, np.ones(ITEMS, bool)
    shelf = RankedShelf(state, item_vectors(state.items), everything if among is None else among, False)
    return SceneRecommender(Scene(None, shelf), state.catalogue)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def clicks(world) -> pd.DataFrame:
    return pd.DataFrame(world.events(VISITORS, IDS, seed=9)).drop(columns="price")


RULES = {
    "nothing": {},
    "filters": {"filters": ["in_stock", "price < 70"]},
    "block": {"block": {"column": "seller", "users": {"new1": IDS[:9]}}},
    "all": {
        "filters": ["item_id != 'i004'"],
        "at_most": {"brand": 2},
        "boost": [{"where": "category == 'Wine'", "factor": 20}],
        "freshness": {"column": "added", "half_life_days": 60},
        "pin": {1: "i002", 3: "i009"},
        "diversity": 0.3,
    },
}


@pytest.mark.parametrize("kind", RULES)
def test_a_scene_of_all_items_answers_as_its_recommender(ruled_shop, clicks, kind):
    rules, scene = Rules.from_dict(RULES[kind]), opened(ruled_shop)
    for among in (None, IDS[:18]):
        how: dict[str, Any] = {"histories": clicks, "k": 5, "rules": rules}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = ruled_shop.recommend(items_to_recommend=among, filter_viewed=False, **how)
            found = scene.recommend(items_to_recommend=among, filter_viewed=False, **how)
        pd.testing.assert_frame_equal(found.drop(columns="source"), expected.drop(columns=["source", "steps"]))
        assert (found.source == PINNED).tolist() == (expected.source == PINNED).tolist()
        assert set(found.source) <= {PINNED, "zero steps"}


def test_a_part_of_the_items_is_widened_by_its_own_factors(ruled_shop, clicks):
    """Items that are raised most among those of the scene are found, though others of the catalogue are raised more."""
    rules = Rules(boost=[{"where": "item_id == 'i019'", "factor": 1e9}, {"where": "item_id >= 'i020'", "factor": 1e12}])
    found = opened(ruled_shop, np.arange(ITEMS) < 20).recommend(histories=clicks, k=1, filter_viewed=False, rules=rules)
    assert lists(found) == {user: ["i019"] for user in VISITORS}
    last = Rules(filters=["item_id == 'i029'"])
    assert opened(ruled_shop).recommend(["nobody"], 1, rules=last)["item_id"].to_pylist() == ["i029"]


def test_columns_are_those_of_the_table_that_the_scene_was_opened_with(ruled_shop, clicks):
    """Also where the recommender knows the same items, with other values."""
    table = pa.Table.from_pandas(pd.DataFrame(ROWS).assign(stock=[0] * 29 + [1], shelf_life=range(ITEMS)))
    scene = replace(opened(ruled_shop), catalogue=replace(ruled_shop.state.catalogue, table=table))
    assert set(scene.recommend(histories=clicks, k=1, filter_viewed=False, rules=Rules(filters=["stock"])).item_id) == {"i029"}
    pinned = scene.recommend(
        histories=clicks, k=2, filter_viewed=False, rules=Rules(filters=["shelf_life < 2"], pin={1: "i001"})
    )
    assert lists(pinned) == {user: ["i001", "i000"] for user in VISITORS}


def test_hidden_items_stay_away_also_where_they_are_pinned(ruled_shop, clicks):
    scene = opened(ruled_shop)
    state = replace(scene.scene.shelf.state, hidden=np.arange(ITEMS) < 3)
    scene = replace(scene, scene=replace(scene.scene, shelf=replace(scene.scene.shelf, state=state)))
    with pytest.warns(IgnoredInputWarning, match="pin 1: 'i002' is not shown to 3 of 3 users: it is hidden"):
        found = scene.recommend(histories=clicks, k=27, filter_viewed=False, rules=Rules(pin={1: "i002"}))
    assert set(found.item_id) == set(IDS[3:])


def random(scene: SceneRecommender, clicks: pd.DataFrame, ask: dict[str, Any]) -> None:
    rules, k, viewed_too = ask["rules"], ask["k"], not ask["filter_viewed"]
    there = {IDS[item] for item in scene.scene.shelf.items} & passing(ask) & set(IDS if ask["some"] is None else ask["some"])
    had = {user: set() if viewed_too else set(clicks[clicks.user_id == user].item_id) for user in [*VISITORS, "seller"]}
    may = {user: there - blocked(rules, user) - mine for user, mine in had.items()}
    more = {"histories": clicks, "items_to_recommend": ask["some"], "filter_viewed": not viewed_too}
    check(lambda: scene.recommend([*may], k, rules=rules, **more), rules, k, may)


@settings(QUICK, max_examples=8)
@given(asks())
def test_no_answer_breaks_a_rule_and_every_shortfall_is_stated(ruled_shop, clicks, ask):
    random(opened(ruled_shop, np.arange(ITEMS) < 20), clicks, ask)


@pytest.mark.slow
@settings(QUICK, max_examples=200)
@given(asks())
def test_no_answer_breaks_one_of_many_random_rules(ruled_shop, clicks, ask):
    random(opened(ruled_shop, np.arange(ITEMS) < 20), clicks, ask)
