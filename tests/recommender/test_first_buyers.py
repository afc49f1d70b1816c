"""`observe` counts the first buyers of cold items, and the next answers follow them."""

from __future__ import annotations

import copy
from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import pandas as pd
import pytest

from llmrec import Recommender
from llmrec.data.tasks import full_histories
from llmrec.meta.gate import Choice
from llmrec.ranking.first_buyers import INPUTS, ColdWeights
from llmrec.ranking.vector_prior import VectorPrior
from llmrec.recommender.first_buyers import LEAST_TARGETS, Choices, join_weights, softmax_weights, to_be_observed

NEW = {"item_id": ["n0", "n1"], "title": ["red mug", "red mug"]}
"""Both titles are that of i000, which even users like; the text says nothing for odd users, who take them."""
EVEN, ODD = [f"u{number:03}" for number in range(0, 8, 2)], [f"u{number:03}" for number in range(1, 8, 2)]
ASKED = {"even": [f"u{number:03}" for number in range(8, 24, 2)], "odd": [f"u{number:03}" for number in range(9, 24, 2)]}
COLD = ColdWeights(0.5, np.array([0.0, 0.5, 2.5, -0.2, -0.5, 1.0, -0.1, -1.0]))
assert len(COLD.weights) == len(INPUTS)


@pytest.fixture
def shop(fitted: Any) -> Recommender:
    """As a fit with `cold_items` leaves it where it has enough to learn from, with two new items."""
    rec, state = copy.copy(fitted), fitted.state
    retrieval = replace(state.retrieval, counts=to_be_observed(state.histories, state.retrieval.counts))
    pairs = {name: replace(getattr(state, name), cold=COLD) for name in ("rankers", "unseen_rankers")}
    prior = VectorPrior(np.zeros(state.items.vectors.shape[1]), 1.0, 0.5)
    rec._state = replace(state, retrieval=retrieval, vector_prior=prior, **pairs)
    rec.add_items(NEW)
    return rec


def bought(item: str, users: list[str], first: float = 1.61e9) -> dict[str, list[Any]]:
    return {"user_id": users, "item_id": [item] * len(users), "timestamp": [first + 60.0 * n for n in range(len(users))]}


def ranks(rec: Recommender, item: str) -> dict[str, float]:
    """The mean rank of an item for those asked, who are none of its buyers."""
    found = {}
    for name, users in ASKED.items():
        answer = rec.recommend(users, k=32, filter_viewed=False, steps=0)
        found[name] = float(answer[answer["item_id"] == item]["rank"].mean())
    return found


def scores(rec: Recommender, items: list[str]) -> pd.DataFrame:
    """Scores of some items, a column each, for the odd users that are asked."""
    answer = rec.recommend(ASKED["odd"], k=len(items), filter_viewed=False, steps=0, items_to_recommend=items)
    return answer.pivot(index="user_id", columns="item_id", values="score")


def same_answers(one: Recommender, other: Recommender) -> None:
    asked = [*ASKED["odd"], *EVEN, "nobody"]
    ours, theirs = (rec.recommend(asked, k=12) for rec in (one, other))
    pd.testing.assert_frame_equal(ours, theirs, atol=1e-4)


def test_three_buyers_bring_an_item_to_those_like_them_and_another_items_buyers_do_not(shop):
    before, own, swapped = ranks(shop, "n0"), copy.copy(shop), copy.copy(shop)
    own.observe(bought("n0", ODD[:3]))
    swapped.observe(bought("n0", EVEN[:3]))
    after, wrong = ranks(own, "n0"), ranks(swapped, "n0")
    assert after["odd"] <= 5 < before["odd"] - 3
    assert after["odd"] < after["even"] - 3 and wrong["odd"] > after["odd"] + 3
    assert ranks(own, "n1")["odd"] >= before["odd"] - 3  # what has the same text and no buyers


def test_the_transformer_too_scores_an_item_where_its_buyers_moved_it(shop):
    """For users like the buyers it is worth more than for others, and the sums over buyers are kept up to date."""

    def gain(rec: Recommender) -> float:
        """Score of n0 less that of n1, which has the same text: for odd users less for even ones."""
        found = {}
        for kind, users in ASKED.items():
            table, state = rec.state.histories, rec.state
            known = full_histories(table, np.asarray(table.users.find(users)))
            read, task = state.adapting.read(known, [Choice()] * len(users)), np.arange(len(users))
            items = [np.full(len(users), item) for item in state.catalogue.ids.find(["n0", "n1"]).tolist()]
            found[kind] = read.scores(task, items[0]) - read.scores(task, items[1])
        return float(found["odd"].mean() - found["even"].mean())

    own, swapped = copy.copy(shop), copy.copy(shop)
    own.observe(bought("n0", ODD[:1]))
    assert own.state.moved_items is not None
    own.observe(bought("n0", ODD[1:3], 1.62e9))
    kept, fresh = own.state.__dict__["buyer_sums"], replace(own.state).buyer_sums
    assert kept.item.tolist() == fresh.item.tolist() and len(kept.item) == 1
    np.testing.assert_allclose(kept.told, fresh.told, atol=1e-9)
    np.testing.assert_allclose(kept.total, fresh.total)
    swapped.observe(bought("n0", EVEN[:3]))
    assert gain(own) > 0.05 > -0.05 > gain(swapped)
    moved, again = own.state.moved_items, own.state.with_retrieval(own.state.retrieval)
    own.hide_items(["i003"])  # nothing is summed again for what moves nothing
    for state in (own.state, again):
        assert state.__dict__["moved_items"] is moved
    own.update_items({"item_id": ["i004"], "title": ["another name"]})
    assert "moved_items" not in own.state.__dict__ and gain(own) > 0.05
    own.forget(ODD[:3])
    assert gain(own) == pytest.approx(0.0, abs=1e-4)


def test_recent_sales_count_more_than_old_ones(shop):
    """The same buyers; since then another item was bought by somebody else a year later."""
    shop.observe(bought("n0", ODD[:3]))
    soon = scores(shop, ["n0", "i021"])
    shop.observe(bought("i020", ["somebody"], 1.65e9))
    late = scores(shop, ["n0", "i021"])
    assert (late["n0"] < soon["n0"] - 0.5).all() and late["i021"].to_numpy() == pytest.approx(soon["i021"].to_numpy(), abs=1e-4)


def test_one_batch_or_several_in_any_order_give_the_same_answers(shop):
    parts = [bought("n0", ODD[:2]), bought("n1", EVEN[:2], 1.612e9), bought("i003", ODD[:1], 1.613e9)]
    whole, states = copy.copy(shop), []
    whole.observe({name: [value for part in parts for value in part[name]] for name in parts[0]})
    for order in permutations(parts):
        states.append(copy.copy(shop))
        for part in order:
            states[-1].observe(part)
        states[-1].observe(order[0])  # delivered twice
        same_answers(states[-1], whole)
    assert whole.state.retrieval.counts.buyers.together.entries[2].sum() > 0


@pytest.mark.parametrize("histories", [True, False])
def test_it_is_saved_and_goes_on_after_loading(shop, tmp_path, histories):
    shop.observe(bought("n0", ODD[:2]))
    shop.save_pretrained(tmp_path, histories=histories)
    loaded = Recommender.from_pretrained(tmp_path)
    loaded.weights = shop.weights
    table = {"user_id": ["x"] * 2, "item_id": ["i020", "i022"], "timestamp": [1.0, 2.0]}
    for later in (None, bought("n0", ["x", "y"]) if histories else None):
        if later is not None:
            shop.observe(later)
            loaded.observe(later)
        ours, theirs = (rec.recommend(histories=table, k=12) for rec in (shop, loaded))
        pd.testing.assert_frame_equal(ours, theirs, atol=1e-4)
    for each in (shop, loaded):
        each.add_items({"item_id": ["n2"], "title": ["small zebra"]})
    ours, theirs = (rec.state.retrieval.counts.buyers for rec in (shop, loaded))
    assert ours.cold[-3:].all() and (ours.cold == theirs.cold).all() and np.allclose(ours.recent, theirs.recent)


def test_a_forgotten_buyer_says_nothing(shop):
    without = copy.copy(shop)
    shop.observe(bought("n0", [*ODD[:2], "stranger"]))
    without.observe(bought("n0", ODD[:1]))
    for rec in (shop, without):
        rec.forget([ODD[1], "stranger"] if rec is shop else [ODD[1]])
    ours, theirs = (rec.state.retrieval.counts.buyers for rec in (shop, without))
    assert all(np.allclose(a, b) for a, b in zip(ours.together.entries, theirs.together.entries, strict=True))
    np.testing.assert_allclose(ours.sold, theirs.sold)
    np.testing.assert_allclose(ours.recent, theirs.recent)


def test_one_event_moves_no_pair_that_is_known_and_warm_items_keep_their_scores(shop, world):
    before = scores(shop, world.ids)
    for item in ("n0", "n1"):
        shop.observe(bought(item, EVEN + ODD))
    known = shop.state.retrieval.counts.buyers.together
    shop.observe(bought("n0", ["one more"], 1.7e9))
    shop.observe(bought("i000", ["one more"], 1.7e9))
    now = shop.state.retrieval.counts.buyers.together
    assert len(now.layers) == len(known.layers) + 1 and now.layers[0] is known.layers[0] and len(now.layers[-1][0]) == 1
    pd.testing.assert_frame_equal(scores(shop, world.ids), before, atol=1e-4)


def test_measuring_and_a_fit_without_cold_items_read_nothing_of_it(shop, fitted):
    shop.observe(bought("n0", ODD))
    assert not shop.state.as_fitted.retrieval.counts.buyers.sold.any()
    bare = copy.copy(fitted)
    bare.add_items(NEW)
    bare.observe(bought("n0", ODD))
    assert bare.state.retrieval.counts.buyers is None and bare.state.unseen_rankers.cold is None


def test_similar_items_follow_the_buyers_and_go_back_when_these_are_forgotten(shop, world, tmp_path):
    odd, even, before = ODD[:3], EVEN[:3], shop.similar_items(["n0", "n1"], k=32)

    def rank_of(rec: Recommender, users: list[str]) -> float:
        """The mean rank of what some users had, beside the item that they bought."""
        table = rec.state.histories
        had = {table.catalogue.ids[item] for user in table.users.find(users) for item in table.item[table.start[user] :][:9]}
        near = rec.similar_items(["n0"], k=32)
        return float(near[near["similar_item_id"].isin(had)]["rank"].mean())

    first = {kind: rank_of(shop, users) for kind, users in (("odd", odd), ("even", even))}
    shop.observe(bought("i004", ["somebody"]))
    index = shop.state.moved_index
    shop.observe(bought("i002", ["somebody"]))
    assert shop.state.moved_index is index  # nothing is indexed again for what moves nothing
    pd.testing.assert_frame_equal(shop.similar_items(["n0", "n1"], k=32), before)
    own, swapped = copy.copy(shop), copy.copy(shop)
    own.observe(bought("n0", odd))
    swapped.observe(bought("n0", even))
    stale = copy.copy(own)
    before_warm = stale.similar_items(["n0"], k=32)
    table, mine = stale.state.histories, int(stale.state.histories.users.find(odd)[0])
    had = {table.catalogue.ids[item] for item in table.item[table.start[mine] : table.start[mine + 1]]}
    stale.observe(bought(next(item for item in world.ids if item not in had), odd[:1], 1.62e9))  # a buyer of n0 buys more
    assert not stale.similar_items(["n0"], k=32)["score"].equals(before_warm["score"])
    assert rank_of(own, odd) < min(first["odd"], rank_of(swapped, odd)) - 2
    assert rank_of(swapped, even) < min(first["even"], rank_of(own, even)) - 2
    own.save_pretrained(tmp_path)
    loaded = Recommender.from_pretrained(tmp_path)
    pd.testing.assert_frame_equal(loaded.similar_items(["n0"], k=8), own.similar_items(["n0"], k=8), atol=1e-5)
    own.forget(odd)
    pd.testing.assert_frame_equal(own.similar_items(["n0", "n1"], k=32), before, atol=1e-5)


def test_an_explanation_follows_the_buyers(shop):
    shop.observe(bought("n0", ODD))
    told = shop.explain([ASKED["odd"][0]], k=32, filter_viewed=False, signals=True)
    mine = told[told["item_id"] == "n0"]
    assert (mine["signal"] == "co-occurrence").any() and mine["because_item_id"].notna().any()


def test_a_softmax_finds_the_weights_that_chose():
    rng, tasks, width, true = np.random.default_rng(0), 4000, 6, np.array([1.0, -2.0])
    given = rng.normal(size=(tasks * width, 2)) * np.array([1.0, 0.5])
    offset = rng.normal(size=tasks * width)
    score = (offset + given @ true + rng.gumbel(size=tasks * width)).reshape(tasks, width)
    right = np.zeros((tasks, width), bool)
    right[np.arange(tasks), score.argmax(1)] = True
    found = softmax_weights(Choices(offset, given, np.arange(tasks) * width, right.ravel()), np.zeros(2))
    np.testing.assert_allclose(found, true, atol=0.15)
    few = Choices(offset[:width], given[:width] * 0, np.zeros(1, np.int64), right[0])
    assert softmax_weights(few, np.array([0.3, 0.4])) == pytest.approx([0.3, 0.4]) and LEAST_TARGETS > 1


def test_of_few_purchases_of_cold_items_the_constant_alone_is_learned():
    """Of each task two of six candidates are cold; their score is a log-likelihood, and they sell less than others."""
    rng, tasks, width, true = np.random.default_rng(0), 5000, 6, -1.5
    cold = np.tile([True, True, False, False, False, False], tasks)
    score, rankers = rng.normal(size=tasks * width), rng.normal(size=tasks * width)
    whole = np.where(cold, score + true, rankers) + rng.gumbel(size=tasks * width)
    right = np.zeros((tasks, width), bool)
    right[np.arange(tasks), whole.reshape(tasks, width).argmax(1)] = True
    inputs = np.stack([rankers * cold, score * cold, cold.astype(float)], 1)
    choices = Choices(np.where(cold, 0.0, rankers), inputs, np.arange(tasks) * width, right.ravel())
    keep, factor, constant = join_weights(choices, LEAST_TARGETS - 1)
    assert (keep, factor) == (0.0, 1.0) and constant == pytest.approx(true, abs=0.15)
    np.testing.assert_allclose(join_weights(choices, LEAST_TARGETS), [0.0, 1.0, true], atol=0.15)


def test_cold_items_are_never_ranked_in_the_inverse_order_of_the_rankers():
    """Among cold items of each task the one that the rankers score lowest is taken."""
    rng, tasks, width = np.random.default_rng(0), 500, 4
    rankers = rng.normal(size=(tasks, width))
    right = np.zeros((tasks, width), bool)
    right[np.arange(tasks), rankers.argmin(1)] = True
    rows = tasks * width
    inputs = np.stack([rankers.ravel(), rng.normal(size=rows), np.ones(rows)], 1)
    keep, _, _ = join_weights(Choices(np.zeros(rows), inputs, np.arange(tasks) * width, right.ravel()), LEAST_TARGETS)
    assert keep == 0.0
