"""By default cold items join the ranking: they follow their first buyers, and the score of no other item changes."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
from new_items_shop import DAY, IDS, USERS, tables

from llmrec import Recommender
from llmrec.data.build import build
from llmrec.progress import Stages
from llmrec.recommender import joined_items
from llmrec.recommender.fit import with_initialisation
from llmrec.recommender.joined_items import LEAST_SHARE, neighbours_within, new_share
from llmrec.recommender.splitting import split_users

KIND = {"for even": 0, "for odd": 1}  # of users, of the two items that are added
WARM = [item for item in IDS if item < "x20"]
PEOPLE = [f"u{user}" for user in range(USERS)]


@pytest.fixture(scope="module")
def fits(fitting, tiny_settings):
    """`cold_items` -> Recommender of the shop where new items come, each for users of one kind."""
    settings, (events, items) = replace(tiny_settings, blend_fraction=0.5, meta_fraction=0.2), tables(True)
    items = {"item_id": [*items["item_id"], "unsold"], "title": [*items["title"], "red mug"]}
    return {cold: fitting(events, items, settings=replace(settings, cold_items=cold)) for cold in (None, False)}


def added(fitted: Recommender, sold: bool) -> Recommender:
    """With both new items, and after six purchases of each by the first users where `sold`."""
    rec = copy.copy(fitted)
    rec.add_items({"item_id": list(KIND), "title": ["red mug"] * 2})
    if sold:
        rec.observe({"user_id": PEOPLE[:12], "item_id": list(KIND) * 6, "timestamp": [DAY * 50] * 12})
    return rec


def test_a_new_item_goes_to_those_like_its_buyers_and_only_where_cold_items_join(fits):
    right = {}
    for cold, fitted in fits.items():
        answer = added(fitted, sold=True).recommend(PEOPLE[12:], items_to_recommend=list(KIND), k=1)
        mine = [KIND[item] == int(user[1:]) % 2 for user, item in zip(answer["user_id"], answer["item_id"], strict=True)]
        right[cold] = np.mean(mine)
    assert right[None] > 0.9 > 0.7 > right[False]


def test_scores_of_other_items_are_those_of_a_ranking_without_cold_items(fits):
    """To the bit, before and after new items sell."""
    for sold in (False, True):
        asked = {"items_to_recommend": WARM, "k": 25}
        one, other = (added(fits[cold], sold).recommend(PEOPLE[12:], **asked) for cold in (None, False))
        assert one.equals(other)


def test_sold_items_stand_among_all_others_in_answers_to_those_like_their_buyers(fits):
    share = {}
    for cold, fitted in fits.items():
        answer = added(fitted, sold=True).recommend(PEOPLE[12:], k=5)
        pairs = zip(answer["user_id"], answer["item_id"], strict=True)
        share[cold] = sum(KIND.get(item) == int(user[1:]) % 2 for user, item in pairs) / (USERS - 12)
    assert share[None] > 0.9 and share[None] > share[False] + 0.3


def test_cold_items_of_the_fit_and_later_ones_are_proposed_by_their_texts(fits):
    rec = added(fits[None], sold=False)
    ids, table = rec.state.catalogue.ids.values, rec.state.retrieval.counts.text_knn
    assert {ids[column] for column in np.unique(table.indices)} == {"unsold", *KIND}
    assert not fits[False].state.retrieval.counts.text_knn.nnz
    rec.update_items({"item_id": ["for odd"], "title": ["blue mug"]})
    before, after = (some[:, [ids.index("for odd")]].toarray() for some in (table, rec.state.retrieval.counts.text_knn))
    assert after.any() and not np.array_equal(before, after)


def test_cold_items_join_under_another_initialisation_where_their_buyers_are_counted(fits):
    for cold, fitted in fits.items():
        state = replace(fitted.state, settings=replace(fitted.settings, cold_items=None))  # the default, as of an older folder
        users = np.arange(state.histories.n_users)
        split = split_users(state.histories, users, state.settings, np.random.default_rng(0))
        made = with_initialisation(state, state.histories, split, state.init, np.random.default_rng(0), Stages(verbose=False))
        assert (made.unseen_rankers.cold is not None) == (cold is None) == (made.retrieval.counts.buyers is not None)


def test_what_was_learned_is_saved(fits, tmp_path):
    rec = added(fits[None], sold=True)
    rec.save_pretrained(tmp_path / "shop", histories=True)
    loaded = Recommender.from_pretrained(tmp_path / "shop")
    assert loaded.settings.cold_items is None and loaded.state.unseen_rankers.cold is not None
    one, other = (some.recommend(PEOPLE, k=5) for some in (rec, loaded))
    assert one["item_id"].tolist() == other["item_id"].tolist()
    assert one["score"].tolist() == pytest.approx(other["score"].tolist(), abs=1e-5)  # vectors of added items were made apart


def test_nothing_joins_where_nothing_is_new(fitting, tiny_settings):
    """And nothing is warned of, for nobody asked for it."""
    events, items = tables(True)
    old = [row for row, item in enumerate(events["item_id"]) if item.startswith("o")]
    events = {name: [values[row] for row in old] for name, values in events.items()}
    rec = fitting(events, items, settings=replace(tiny_settings, blend_fraction=0.5, meta_fraction=0.2))
    assert rec.state.unseen_rankers.cold is None and rec.state.retrieval.counts.buyers is None


@pytest.mark.parametrize(("new", "share"), [(0, 0.0), (3, 0.3), (10, 1.0)])
def test_share_of_the_newest_events_that_are_with_new_items(new, share):
    """The last ten of 100 events are the newest tenth; `new` of them are with items without earlier events."""
    items = [f"o{event % 9}" for event in range(100 - new)] + [f"x{event}" for event in range(new)]
    days = [f"2024-{1 + event // 28:02}-{1 + event % 28:02}" for event in range(100)]
    dataset = build({"user_id": [f"u{event % 7}" for event in range(100)], "item_id": items, "timestamp": days})[0]
    assert new_share(dataset) == pytest.approx(share)
    assert 0.0 < LEAST_SHARE < 0.3


def test_events_of_one_time_have_no_newest():
    dataset = build({"user_id": ["a", "b"], "item_id": ["x", "y"], "timestamp": ["2024-01-01"] * 2})[0]
    assert new_share(dataset) == 0.0


def test_texts_are_compared_up_to_so_many_pairs_of_a_cold_and_a_warm_item(monkeypatch):
    items = [f"i{place}" for place in range(6)]
    dataset = build(
        {"user_id": ["a", "a", "b", "b"], "item_id": items[:2] * 2, "timestamp": ["2024-01-01", "2024-01-02"] * 2},
        {"item_id": items, "title": ["red mug", "blue mug", "red cup", "blue cup", "green cup", "mug"]},
    )[0]
    text, users = np.eye(6, dtype=np.float32)[[0, 1, 0, 1, 0, 1]], np.arange(2)  # two warm items, four cold ones
    monkeypatch.setattr(joined_items, "MOST_COMPARED", 8)
    assert neighbours_within(dataset, users, text).nnz > 0
    monkeypatch.setattr(joined_items, "MOST_COMPARED", 7)
    assert neighbours_within(dataset, users, text).nnz == 0


def test_nothing_is_counted_again_where_too_few_new_items_were_taken(fitting, tiny_settings, monkeypatch):
    monkeypatch.setattr(joined_items, "LEAST_FOR_CONSTANT", 10_000)
    monkeypatch.setattr(joined_items, "newest_as_cold", None)
    rec = fitting(*tables(True), settings=replace(tiny_settings, blend_fraction=0.5, meta_fraction=0.2))
    assert rec.state.unseen_rankers.cold is None
