"""The study of items that are added and observed: who is asked what, and that arms have seen what came before and no more."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from worlds import build

from llmrec import Settings, TrainSettings, Weights
from llmrec.meta.outer import OuterSettings
from llmrec.ranking.first_buyers import INPUTS, ColdWeights
from llmrec.recommender.first_buyers import to_be_observed
from llmrec.recommender.settings import CoreSettings
from studies.new_items import observing, similar
from studies.new_items.observing import ANY, BEFORE, EVERY, OBSERVING, SWAPPED, YOUNG
from studies.new_items.replay import World, replay

WEIGHT = 5.0  # of the number of buyers


@pytest.fixture(scope="module")
def shop() -> World:
    """25 users with 6 baskets; the items 8 to 11 are sold from the fourth on, the last of them most often."""
    rng = np.random.default_rng(7)

    def basket(day: int) -> list[int]:
        old = rng.choice(8, 1).tolist()
        return old if day < 3 else [*old, int(rng.choice(4, p=[0.1, 0.1, 0.1, 0.7])) + 8]

    whole = build([[basket(day) for day in range(6)] for _ in range(25)], 12)
    titles = [f"{colour} {thing}" for colour in ("red", "blue", "green") for thing in ("mug", "lamp", "rope", "tent")]
    whole = replace(whole, catalogue=replace(whole.catalogue, table=pa.table({"title": titles})))
    return World(whole, whole.keep(whole.time < 300), 300.0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Settings.cold_items")  # the shop is too small to learn from
def test_each_purchase_is_asked_for_by_what_was_observed_on_the_days_before(shop, tiny_folders, tmp_path, monkeypatch):
    plan = TrainSettings(
        max_steps=2, batch_size=8, known=(1, 2), horizon=1, max_slots=12, learning_rate=1e-2, dropout=0.0, ema_decay=0.0
    )
    short = {"outer": OuterSettings(episodes=1), "core": CoreSettings(size=4, episodes=1), "ranking_tasks": 40}
    settings = Settings(cold_items=True, train=plan, blend_features=(), **short)
    monkeypatch.setattr(Weights, "packaged", staticmethod(lambda: Weights.folder(tiny_folders["bert"])))
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path / "cache"))
    found = replay(shop)
    recommender, place = observing.fitted(shop, settings, 0, tmp_path / "fit")
    state = recommender.state
    assert [state.catalogue.ids[row] for row in place] == shop.whole.catalogue.ids.values
    assert (state.retrieval.counts.popularity[place[found.young]] == 0).all() and state.unseen_rankers.cold is None  # too few
    by_count = np.eye(len(INPUTS))[INPUTS.index("buyers")] * WEIGHT
    pair = {name: replace(getattr(state, name), cold=ColdWeights(0.0, by_count)) for name in ("rankers", "unseen_rankers")}
    counts = to_be_observed(state.histories, state.retrieval.counts)
    recommender._state = replace(state, retrieval=replace(state.retrieval, counts=counts), **pair)
    beside = similar.questions(shop, found, 3)
    every = similar.answered(shop, beside, recommender, 0)
    assert set(every) == {"ndcg@10", similar.WEIGHED}
    lists = every["ndcg@10"]
    assert set(lists) == {similar.OURS, similar.SWAPPED, similar.TEXT, similar.KNN, similar.POPULARITY}
    assert all(values.shape == (len(beside),) and (values >= 0).all() and (values <= 1).all() for values in lists.values())
    assert (lists[similar.TEXT] == lists[similar.OURS]).all() == (state.vector_prior is None)
    asked = observing.questions(shop, found, 0, 1.0)
    assert (found.k[asked.rows] <= observing.MOST).all() and len(asked.others) > len(asked.rows) > 10
    result = observing.answered(shop, found, asked, recommender, place, 0)
    assert all(np.isfinite(values).all() for arms in result.values() for values in arms.values())
    known = observing.among_young(found, asked, found.known)  # ties share their ranks there, as here
    np.testing.assert_allclose(result[YOUNG][OBSERVING], known)
    assert (result[YOUNG][SWAPPED] != known).any() and (result[YOUNG][BEFORE] != known).any()
    answered = observing.Answered(found.k[asked.rows], found.user[asked.rows], shop.whole.user[asked.others], result)
    rows = observing.rows("name", answered, 0)
    cell = next(row for row in rows if row.setting == ANY and row.method == OBSERVING and row.versus == BEFORE)
    assert cell.value == pytest.approx((result[ANY][OBSERVING] - result[ANY][BEFORE]).mean()) and cell.n == len(asked.others)
    assert f"k = 1, {EVERY}" in {row.setting for row in rows if row.n > 0}
    twice = observing.rows("name", observing.pooled([answered, answered]), 0)  # a user is the same one after both cuts
    assert [row.n for row in twice] == [2 * row.n for row in rows]
    for one in ("value", "low", "high"):
        assert [getattr(row, one) for row in twice] == pytest.approx([getattr(row, one) for row in rows])


def test_another_items_buyers_are_paired_with_zero_steps_wherever_both_are():
    rng, k, user = np.random.default_rng(0), np.array([1.0, 1, 1, 8, 8, 8]), np.arange(6)
    values = {one: {arm: rng.random(6) for arm in (OBSERVING, BEFORE, SWAPPED, "text")} for one in (YOUNG, EVERY, ANY)}
    del values[EVERY][SWAPPED]
    rows = observing.rows("name", observing.Answered(k, user, user, values), 0)
    found = {row.setting: row for row in rows if (row.method, row.versus) == (SWAPPED, BEFORE)}
    assert set(found) == {ANY, *(f"k = {label}, {YOUNG}" for label in ("1", "1-3", "7-10"))}
    assert found[ANY].value == pytest.approx((values[ANY][SWAPPED] - values[ANY][BEFORE]).mean())
    assert found[f"k = 7-10, {YOUNG}"].value == pytest.approx((values[YOUNG][SWAPPED] - values[YOUNG][BEFORE])[3:].mean())
    assert {row.versus for row in rows if row.method == SWAPPED} == {"", BEFORE}


def test_lists_are_held_against_what_buyers_of_later_days_had(shop):
    whole, found = shop.whole, replay(shop)
    questions = similar.questions(shop, found, 2)
    assert {one.item for one in questions} <= set(found.young.tolist()) and questions
    for one in questions:
        events = sorted(np.flatnonzero(whole.item == one.item).tolist(), key=lambda row: (whole.time[row], row))
        buyers = list({whole.user[row]: row for row in reversed(events)}.items())
        buyers.sort(key=lambda pair: (whole.time[pair[1]], pair[1]))
        assert one.first.tolist() == [row for _, row in buyers[:2]]
        had = np.zeros(12)
        for user, row in buyers[2:]:
            if whole.time[row] > whole.time[buyers[1][1]]:
                had[list({item for item in whole.item[whole.start[user] : row].tolist() if item < 8})] += 1
        assert one.had.tolist() == had.tolist()
    assert similar.gain(np.argsort(-had)[:10], had) == 1.0
    assert similar.gain(np.array([11, 10, int(had.argmax())]), had) < 0.5
