"""The study of disliked young films: made-up times, and who is asked what after how many likers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from worlds import build

from llmrec.data.dataset import EventWeights
from studies.new_items import skipping
from studies.new_items.skipping import AMONG_ALL, AMONG_YOUNG, LIKES, SKIPS, Shop


@pytest.fixture(scope="module")
def shop() -> Shop:
    """40 users with 10 ratings each, a third of them dislikes; the films 8 to 11 come at day 5."""
    rng = np.random.default_rng(3)
    whole = build([[[int(rng.integers(8 if day < 5 else 12))] for day in range(10)] for _ in range(40)], 12)
    kind = (rng.random(whole.n_events) < 1 / 3).astype(np.float32)
    typed = replace(whole, attributes={"event_type": kind}, event_types=skipping.TYPES, event_weights=EventWeights((1.0, 0.0)))
    young = np.arange(12) >= 8
    cut = float(whole.time[young[whole.item]].min())
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


def test_rows_are_means_and_paired_differences_by_earlier_likers():
    value = {SKIPS: np.array([1.0, 0.5, 0.25, 1.0]), LIKES: np.array([0.5, 0.5, 0.0, 1.0])}
    found = skipping.Answered(np.array([1, 3, 4, 8]), np.array([0, 0, 1, 2]), {AMONG_YOUNG: value, AMONG_ALL: value})
    rows = {(row.setting, row.method, row.versus): row for row in skipping.rows("name", found, 0)}
    first = rows[skipping.PRIMARY, SKIPS, LIKES]
    assert (first.value, first.n) == (0.25, 2) and rows[f"k = 4-6, {AMONG_ALL}", SKIPS, LIKES].value == 0.25
    assert rows[skipping.PRIMARY, LIKES, ""].value == 0.5
