"""The study of disliked young films: made-up times, and who is asked what after how many likers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from worlds import build

from llmrec import Settings, TrainSettings, Weights
from llmrec.data.dataset import EventWeights
from llmrec.meta.outer import OuterSettings
from llmrec.ranking.first_buyers import INPUTS
from llmrec.recommender.settings import CoreSettings
from studies.new_items import skipping
from studies.new_items.skipping import AMONG_ALL, AMONG_YOUNG, LIKES, SKIPS, SWAPPED, UNREAD, Shop


@pytest.fixture(scope="module")
def shop() -> Shop:
    """40 users with 10 ratings each, a third of them dislikes; the films 8 to 11 come at day 5."""
    rng = np.random.default_rng(3)
    whole = build([[[int(rng.integers(8 if day < 5 else 12))] for day in range(10)] for _ in range(40)], 12)
    kind = (rng.random(whole.n_events) < 1 / 3).astype(np.float32)
    typed = replace(whole, attributes={"event_type": kind}, event_types=skipping.TYPES, event_weights=EventWeights((1.0, 0.0)))
    typed = replace(typed, time=typed.time + typed.user / 100)  # no two at one time
    titles = [f"{colour} {thing}" for colour in ("red", "blue", "green") for thing in ("mug", "lamp", "rope", "tent")]
    items = pa.table({"item_id": typed.catalogue.ids.values, "title": titles})
    typed = replace(typed, catalogue=replace(typed.catalogue, table=items))
    young = np.arange(12) >= 8
    cut = float(typed.time[young[typed.item]].min())
    return Shop(typed, cut, young)


def test_ratings_of_each_user_keep_their_order_and_are_spread_over_a_year(shop):
    found = skipping.retimed(shop.whole, np.random.default_rng(0))
    for user in range(found.n_users):
        time = found.time[found.start[user] : found.start[user + 1]]
        np.testing.assert_allclose(np.diff(time), skipping.YEAR / len(time))
        assert 0 <= time[0] < skipping.YEAR / len(time)
    assert len(np.unique(found.time)) == found.n_events


def test_likes_of_young_films_are_asked_by_the_likers_of_earlier_blocks(shop, monkeypatch):
    monkeypatch.setattr(skipping, "BLOCK", 7)
    monkeypatch.setattr(skipping, "MOST", 4)
    whole, (order, asked, likers) = shop.whole, skipping.questions(shop, 0, 1.0)
    assert sorted(order.tolist()) == np.flatnonzero(whole.time >= shop.cut).tolist() and (np.diff(whole.time[order]) >= 0).all()
    for place, row in enumerate(order.tolist()):
        before = order[: place // 7 * 7]
        liked = whole.attributes["event_type"][before] == 0
        assert likers[place] == (whole.item[before][liked] == whole.item[row]).sum()
        young, like = whole.item[row] >= 8, whole.attributes["event_type"][row] == 0
        assert asked[place] == (young and like and row > whole.start[whole.user[row]] and 1 <= likers[place] <= 4)
    assert asked.sum() > 5 and skipping.questions(shop, 0, 0.0)[1].sum() == 0


def test_alone_questions_are_answered_by_what_was_observed_in_earlier_blocks(shop, monkeypatch):
    """Weights of the number of likers, and of the number of users who skipped."""
    monkeypatch.setattr(skipping, "BLOCK", 7)
    monkeypatch.setattr(skipping, "FEW", 20)
    whole, (order, asked, _) = shop.whole, skipping.questions(shop, 0, 1.0)
    for name, arm, of_kind in (("buyers", LIKES, 0), ("skipped", SKIPS, 1)):
        weight = {arm: np.eye(len(INPUTS))[INPUTS.index(name)]}
        found = skipping.answered_alone(shop, weight, 0, 1.0).values[AMONG_YOUNG][arm]
        for value, place in zip(found, np.flatnonzero(asked), strict=True):
            row, before = order[place], order[: place // 7 * 7]
            mine = whole.item[whole.start[whole.user[row]] : row]
            kept = before[whole.attributes["event_type"][before] == of_kind]
            users = {(whole.user[one], whole.item[one]) for one in kept}
            if of_kind:  # who took it as well has not skipped it
                took = before[whole.attributes["event_type"][before] == 0]
                users -= {(whole.user[one], whole.item[one]) for one in took}
                count = {item: sum(1 for _, one in users if one == item) for item in range(8, 12)}
            else:
                count = {item: int((whole.item[kept] == item).sum()) for item in range(8, 12)}
            if whole.item[row] in mine:
                continue
            others = [number for item, number in count.items() if item not in mine and item != whole.item[row]]
            own = count[whole.item[row]]
            ahead = sum(one > own for one in others) + sum(one == own for one in others) / 2
            assert value == pytest.approx(1 / np.log2(2 + ahead))


def test_swapped_skips_are_another_films_and_all_else_is_the_films_own():
    told, other = np.random.default_rng(0).random((2 * 3, len(INPUTS))), np.array([1, 2, 0])
    skips = [INPUTS.index("skipped"), INPUTS.index("skipped_knn")]
    weights = {SKIPS: np.arange(8.0), LIKES: np.ones(8)}
    arms = {arm: (given, weight) for arm, given, weight in skipping._asked_alone(told, weights, other)}
    assert list(arms) == [SKIPS, LIKES, SWAPPED] and arms[SKIPS][0] is told and arms[SWAPPED][1] is weights[SKIPS]
    for question in range(2):
        for film in range(3):
            mine, wanted = arms[SWAPPED][0][3 * question + film], told[3 * question + film].copy()
            wanted[skips] = told[3 * question + other[film], skips]
            np.testing.assert_array_equal(mine, wanted)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Settings.cold_items")  # the shop is too small to learn from
def test_a_recommender_is_fitted_and_asked_block_by_block(shop, tiny_folders, tmp_path, monkeypatch):
    plan = TrainSettings(
        max_steps=2, batch_size=8, known=(1, 2), horizon=1, max_slots=12, learning_rate=1e-2, dropout=0.0, ema_decay=0.0
    )
    short = {"outer": OuterSettings(episodes=1), "core": CoreSettings(size=4, episodes=1), "ranking_tasks": 40}
    monkeypatch.setattr(skipping, "SETTINGS", Settings(cold_items=True, train=plan, blend_features=(), **short))
    monkeypatch.setattr(skipping, "BLOCK", 20)
    monkeypatch.setattr(Weights, "packaged", staticmethod(lambda: Weights.folder(tiny_folders["bert"])))
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path / "cache"))
    arms, place, learned = skipping.fitted(shop, 0)
    assert set(arms) == {SKIPS, LIKES, UNREAD} and set(learned) == {SKIPS, LIKES}
    catalogue = arms[SKIPS].state.catalogue
    assert [catalogue.ids[row] for row in place] == shop.whole.catalogue.ids.values
    found = skipping.answered(shop, arms, place, 0, 1.0)
    asked = skipping.questions(shop, 0, 1.0)[1].sum()
    for arms_of in found.values.values():
        assert all(value.shape == (asked,) and (value >= 0).all() and (value <= 1).all() for value in arms_of.values())


def test_rows_are_means_and_paired_differences_by_earlier_likers():
    value = {SKIPS: np.array([1.0, 0.5, 0.25, 1.0]), LIKES: np.array([0.5, 0.5, 0.0, 1.0])}
    found = skipping.Answered(np.array([1, 3, 4, 8]), np.array([0, 0, 1, 2]), {AMONG_YOUNG: value, AMONG_ALL: value})
    rows = {(row.setting, row.method, row.versus): row for row in skipping.rows("name", found, 0)}
    first = rows[skipping.PRIMARY, SKIPS, LIKES]
    assert (first.value, first.n) == (0.25, 2) and rows[f"k = 4-6, {AMONG_ALL}", SKIPS, LIKES].value == 0.25
    assert rows[skipping.PRIMARY, LIKES, ""].value == 0.5
