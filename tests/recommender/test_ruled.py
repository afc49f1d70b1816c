"""Rules in answers: the law of each kind, and what holds them together."""

from __future__ import annotations

import copy
import io
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from rule_items import ASKED, IDS, ITEMS, PEOPLE, ROW, ask, at_most, lists, viewed, where

from llmrec import Recommender
from llmrec.cli import main
from llmrec.errors import DataError, IgnoredInputWarning, SchemaError, ShortAnswerWarning
from llmrec.recommender import answer, ruled
from llmrec.recommender.answer import BACKFILL, BY_ATTRIBUTES, FALLBACK
from llmrec.rules import Rules
from llmrec.rules import applied as module
from llmrec.rules.filling import PINNED

# ------------------------------------------------------------------------------- the law of each kind of rule


@pytest.mark.parametrize(
    "rules",
    [
        {},
        {"filters": ["True", "item_id != 'gone'"]},
        {"boost": [{"where": "in_stock", "factor": 1}], "bury": [{"where": "brand == 'b9'", "factor": 0.1}]},
        {"diversity": 0, "block": {"users": {"somebody": ["i001"]}}},
    ],
)
def test_rules_that_ask_for_nothing_change_nothing(ruled_shop, rules):
    pd.testing.assert_frame_equal(ask(ruled_shop, Rules.from_dict(rules)), ask(ruled_shop))


@pytest.mark.parametrize("filter_viewed", [True, False])
def test_a_filter_is_the_list_of_items_that_pass_it(ruled_shop, filter_viewed):
    passing = where(lambda row: row["in_stock"] and row["price"] is not None and row["price"] < 70)
    assert 5 < len(passing) < 25
    rules = Rules(filters=["in_stock", "price < 70"])
    same = ask(ruled_shop, items_to_recommend=passing, filter_viewed=filter_viewed)
    pd.testing.assert_frame_equal(ask(ruled_shop, rules, filter_viewed=filter_viewed), same)
    both = ask(ruled_shop, rules, items_to_recommend=IDS[:15], filter_viewed=filter_viewed)
    pd.testing.assert_frame_equal(
        both, ask(ruled_shop, items_to_recommend=passing & set(IDS[:15]), filter_viewed=filter_viewed)
    )


def test_an_item_is_never_shown_to_its_seller_and_others_are_not_touched(ruled_shop):
    found = ask(ruled_shop, Rules(block={"column": "seller", "users": {"visitor": IDS[:9]}}))
    fewer = 0
    for user in ASKED:
        mine = where(lambda row, user=user: row["seller"] == user) | (set(IDS[:9]) if user == "visitor" else set())
        same = ask(ruled_shop, items_to_recommend=set(IDS) - mine)
        assert lists(found)[user] == lists(same)[user]
        fewer += bool(mine)
        if not mine:
            rows = [frame[frame.user_id == user].reset_index(drop=True) for frame in (found, ask(ruled_shop))]
            pd.testing.assert_frame_equal(*rows)
    assert 4 <= fewer < len(ASKED)


def test_a_pinned_item_is_in_its_place_and_the_others_keep_their_order(ruled_shop):
    plain = lists(ask(ruled_shop))
    pins = {2: plain["nobody"][9], 5: plain["nobody"][0]}
    found = ask(ruled_shop, Rules(pin=pins), k=8, filter_viewed=False)
    without = lists(ask(ruled_shop, filter_viewed=False))
    for user, items in lists(found).items():
        assert (items[1], items[4]) == tuple(pins.values())
        assert [item for item in items if item not in pins.values()] == [
            item for item in without[user] if item not in pins.values()
        ][:6]
        assert found[found.user_id == user].source.tolist().count(PINNED) == 2
    few = ask(
        ruled_shop, Rules(filters=["item_id in ['i003', 'i004', 'i005']"], pin={3: "i004", 9: "i005"}), filter_viewed=False
    )
    assert lists(few)["nobody"][1:] == ["i004", "i005"] or lists(few)["nobody"] == ["i003", "i005", "i004"]
    with pytest.warns(
        IgnoredInputWarning, match="pin 1: 'i003' is not shown, because the filter .item_id != 'i003'. leaves it out"
    ):
        assert "i003" not in ask(ruled_shop, Rules(filters=["item_id != 'i003'"], pin={1: "i003"})).item_id.tolist()
    with pytest.warns(IgnoredInputWarning, match="pin 1: the catalogue holds no item 'gone'"):
        ask(ruled_shop, Rules(pin={1: "gone"}))
    item = next(iter(viewed(ruled_shop)["u000"]))
    with pytest.warns(IgnoredInputWarning, match=f"pin 1: '{item}' is not shown to user 'u000': .*filter_viewed") as caught:
        ruled_shop.recommend(["u000"], 3, rules=Rules(pin={1: item}))
    assert caught[0].filename == __file__


def test_at_most_takes_the_best_that_fit(ruled_shop):
    for most in ({"brand": 1}, {"brand": 2, "category": 3}, {"brand": ITEMS}):
        plain, found = lists(ask(ruled_shop)), lists(ask(ruled_shop, Rules(at_most=most)))
        for user, items in plain.items():
            assert found[user] == at_most(items, most)


def test_what_comes_first_does_not_depend_on_k_nor_on_other_users(ruled_shop):
    rules = Rules(at_most={"brand": 2}, boost=[{"where": "in_stock", "factor": 3}], diversity=0.4)
    whole = lists(ask(ruled_shop, rules))
    for k in (1, 4, 7):
        assert lists(ask(ruled_shop, rules, k=k)) == {user: items[:k] for user, items in whole.items()}
    for user in ASKED:
        assert ruled_shop.recommend([user], 4, rules=rules).item_id.tolist() == whole[user][:4]


def test_a_factor_adds_its_logarithm_and_raises_the_item(ruled_shop):
    boosted = where(lambda row: row["category"] == "Wine")
    plain = ask(ruled_shop, k=6)
    found = ask(ruled_shop, Rules(boost=[{"where": "category == 'Wine'", "factor": 2}, {"where": "True", "factor": 1.5}]), k=6)
    before = {(row.user_id, row.item_id): row for row in plain.itertuples()}
    shared = [(row, before[row.user_id, row.item_id]) for row in found.itertuples() if (row.user_id, row.item_id) in before]
    assert len(shared) > 10
    for after, row in shared:
        factor = 1.5 * (2 if row.item_id in boosted else 1)
        by_count = row.source == FALLBACK
        assert after.score == pytest.approx(row.score * factor if by_count else row.score + np.log(factor), abs=1e-4)
    for user in ASKED:
        old, new = (frame[frame.user_id == user].item_id.tolist() for frame in (plain, found))
        for one in boosted & set(old) & set(new):
            overtaken = {item for item in set(old[old.index(one) :]) & set(new) if item not in boosted}
            assert overtaken <= set(new[new.index(one) :])
    huge = lists(ask(ruled_shop, Rules(boost=[{"where": "category == 'Wine'", "factor": 1e30}])))
    tiny = lists(ask(ruled_shop, Rules(bury=[{"where": "category == 'Wine'", "factor": 1e-30}])))
    for user, items in lists(ask(ruled_shop)).items():
        wine = boosted & set(items)
        assert set(huge[user][:5]) <= wine  # more than the sources brought by themselves
        assert set(tiny[user][len(items) - len(wine) :]) == wine or user in ("u000", "u001", "u002", "visitor")
        assert set(tiny[user][:5]).isdisjoint(wine)


def test_factors_may_be_as_large_as_numbers_go(ruled_shop):
    boosts = [{"where": f"item_id == '{IDS[-1]}'", "factor": 1e300}] * 2
    found = ruled_shop.recommend(["nobody"], 3, rules=Rules(boost=boosts))
    assert found["item_id"].iloc[0] == IDS[-1] and np.isfinite(found["score"]).all()


def test_freshness_with_a_short_half_life_is_the_order_of_dates(ruled_shop):
    found = ask(ruled_shop, Rules(freshness={"column": "added", "half_life_days": 0.01}), k=5)
    for user, items in lists(found).items():
        may = set(IDS) - viewed(ruled_shop)[user]
        dates = [ROW[item]["added"] or "" for item in items]
        assert dates == sorted(dates, reverse=True) and dates[0] == max(ROW[item]["added"] or "" for item in may)


def test_diversity_is_maximal_marginal_relevance(ruled_shop):
    vectors = ruled_shop.state.items.vectors.numpy()
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    plain = ask(ruled_shop)
    for trade in (0.2, 0.7, 1.0):
        found = ask(ruled_shop, Rules(diversity=trade))
        for user in ("u000", "u001", "visitor"):
            pool = plain[(plain.user_id == user) & (plain.source != BACKFILL)]
            items, score = [IDS.index(item) for item in pool.item_id], pool.score.to_numpy()
            relevance, chosen = (score - score.min()) / np.ptp(score), list[int]()
            while len(chosen) < len(items):
                value = [
                    -np.inf
                    if place in chosen
                    else (1 - trade) * relevance[place]
                    - trade * max([vectors[item] @ vectors[items[one]] for one in chosen], default=0.0)
                    for place, item in enumerate(items)
                ]
                chosen.append(int(np.argmax(value)))
            mine = found[found.user_id == user]
            assert mine.item_id.tolist()[: len(items)] == [IDS[items[place]] for place in chosen]
            assert set(mine.source[: len(items)]) == set(pool.source)


# ------------------------------------------------------------------------------- what holds them together


def test_a_shortfall_names_the_rule(ruled_shop):
    for rules, said in (
        (Rules(at_most={"category": 1}), r"rules leave no more \(at_most category=1 leaves 3 of 30 items\), excluding"),
        (
            Rules(filters=["brand == 'b9'"]),
            r"'nobody' .0.: rules leave no more \(filter .brand == 'b9'. leaves 0 of 30 items\)",
        ),
        (Rules(block={"users": {"nobody": IDS[:28]}}), r"'nobody' .2.: rules leave no more \(block leaves out more for this"),
        (Rules(filters=["stock"], at_most={"category": 1}), r"filter 'stock' leaves \d+, at_most category=1 leaves 3 of 30"),
    ):
        with pytest.warns(ShortAnswerWarning, match=said) as caught:
            ruled_shop.recommend(["nobody"], 5, rules=rules)
        assert caught[0].filename == __file__
    with pytest.warns(ShortAnswerWarning, match="the catalogue holds no more"):
        ruled_shop.recommend(["nobody"], ITEMS + 1, rules=Rules(boost=[{"where": "stock", "factor": 2}]))
    with pytest.warns(ShortAnswerWarning, match="rules and items_to_recommend leave no more"):
        ruled_shop.recommend(
            ["nobody"],
            3,
            items_to_recommend=IDS[:2],
            rules=Rules(filters=["stock or not stock or stock is None"], at_most={"category": 1}),
        )


def test_a_path_that_forgets_the_rules_is_still_held_to_them(ruled_shop, monkeypatch):
    rules = Rules(filters=["in_stock"], block={"column": "seller"})
    right = ask(ruled_shop, rules)
    monkeypatch.setattr(ruled, "widened", lambda tasks, request, bring: bring(None))
    monkeypatch.setattr(answer, "fallback", lambda state, askers, request: shop_fallback(state, askers))

    def shop_fallback(state: Any, askers: np.ndarray) -> Any:
        n = len(state.catalogue)
        everything = np.tile(np.arange(n), len(askers))
        return answer.Answer(
            np.repeat(askers, n),
            everything,
            -everything.astype(np.float32),
            np.tile(np.arange(1, n + 1), len(askers)),
            ["x"] * len(everything),
            np.zeros(len(everything), np.int64),
        )

    for user, items in lists(ask(ruled_shop, rules)).items():
        assert set(items) <= where(lambda row, user=user: row["in_stock"] and row["seller"] != user)
        assert user == "seller" or set(items) >= set(lists(right)[user])
    assert (ask(ruled_shop, rules).groupby("user_id")["rank"].max() == ask(ruled_shop, rules).groupby("user_id").size()).all()


def test_rules_are_applied_once_for_a_catalogue(ruled_shop, monkeypatch):
    mine, calls = copy.copy(ruled_shop), []
    mine._state = replace(ruled_shop.state)
    once = module.applied
    monkeypatch.setattr(module, "applied", lambda rules, *of: calls.append(rules) or once(rules, *of))
    for _ in range(3):
        mine.recommend(["u000"], 2, rules=Rules(filters=["stock or not stock"]))
    mine.observe({"user_id": ["u000"], "item_id": [IDS[0]], "timestamp": [1.7e9]})
    mine.recommend(["u000"], 2, rules=Rules(filters=["stock or not stock"]))
    assert len(calls) == 1
    for number in range(20):
        mine.recommend(["u000"], 2, rules=Rules(filters=[f"price < {90 + number} or True"]))
    assert len(calls) == 21 and len(mine.state.known_rules.known) == module.MOST
    other = copy.deepcopy(mine)
    pd.testing.assert_frame_equal(ask(other, Rules(filters=["stock"])), ask(mine, Rules(filters=["stock"])))


def test_rules_hold_for_histories_loaded_models_and_rankers_of_ones_own(ruled_shop, world, tmp_path):
    class Backwards:
        def score(self, tasks: Any, candidates: Any) -> np.ndarray:
            return candidates.item.astype(np.float32)

    clicks = world.events(["new1", "new2"], IDS, seed=9)
    rules = Rules(
        filters=["in_stock", "item_id != 'i029'"], at_most={"brand": 2}, pin={1: "i002"}, block={"users": {"new1": ["i028"]}}
    )
    ruled_shop.save_pretrained(tmp_path / "shop", histories=True)
    loaded = Recommender.from_pretrained(tmp_path / "shop")
    for ranker in (None, Backwards()):
        frame = ruled_shop.recommend(histories=clicks, k=4, rules=rules, ranker=ranker, filter_viewed=False)
        pd.testing.assert_frame_equal(
            loaded.recommend(histories=clicks, k=4, rules=rules, ranker=ranker, filter_viewed=False), frame
        )
        for user, items in lists(frame).items():
            assert items[0] == "i002" and set(items[1:]) <= where(lambda row: row["in_stock"]) - {"i029"}
            assert len(items) == 4 and (user != "new1" or "i028" not in items)
            assert max(Counter(ROW[item]["brand"] for item in items if ROW[item]["brand"]).values()) <= 2
    order = [int(item[1:]) for item in lists(frame)["new2"][1:]]
    assert order == sorted(order, reverse=True)


def test_the_command_takes_the_same_rules(ruled_shop, tmp_path):
    ruled_shop.save_pretrained(tmp_path / "shop", histories=True)
    (tmp_path / "rules.yaml").write_text("filters: [in_stock]\nat_most: {brand: 1}\npin: {1: i002}\n")
    (tmp_path / "wrong.yaml").write_text("filters: [in_stok]\n")
    words = ["recommend", str(tmp_path / "shop"), "--users", "u000,u001", "--k", "3", "--format", "csv", "--rules"]
    run = CliRunner().invoke(main, [*words, str(tmp_path / "rules.yaml")])
    assert run.exit_code == 0, run.output
    expected = ruled_shop.recommend(
        ["u000", "u001"], 3, rules=Rules(filters=["in_stock"], at_most={"brand": 1}, pin={1: "i002"})
    )
    found = pd.read_csv(io.StringIO(run.stdout))
    assert found.item_id.tolist() == expected.item_id.tolist() and found.source.tolist() == expected.source.tolist()
    wrong = CliRunner().invoke(main, [*words, str(tmp_path / "wrong.yaml")])
    assert wrong.exit_code == 2 and "no column 'in_stok'; did you mean 'in_stock'" in wrong.stderr
    assert "--rules" in CliRunner().invoke(main, ["recommend", "--help"]).output


def test_all_users_at_once_are_answered_by_the_same_rules(ruled_shop, tmp_path):
    item = next(iter(viewed(ruled_shop)["u000"]))
    rules = Rules(filters=["stock or not stock"], at_most={"brand": 2}, pin={1: item})
    with pytest.warns(IgnoredInputWarning, match=f"pin 1: '{item}' is not shown to \\d+ of 25 users") as caught:
        ruled_shop.recommend_all(tmp_path / "all.csv", 3, batch_size=7, verbose=False, rules=rules)
    assert caught[0].filename == __file__ and len(caught) == 1
    with pytest.warns(IgnoredInputWarning):
        expected = ruled_shop.recommend([*PEOPLE, "visitor"], 3, rules=rules)
    assert lists(pd.read_csv(tmp_path / "all.csv")) == lists(expected)
    blocked = Rules(block={"users": {"u003": IDS}})
    with pytest.warns(ShortAnswerWarning, match="'u003' .0.: rules leave no more .block leaves out more for this user of 30"):
        ruled_shop.recommend_all(tmp_path / "all.csv", 3, batch_size=7, verbose=False, rules=blocked)


def test_what_is_no_rules_is_refused(ruled_shop):
    with pytest.raises(DataError, match="rules is {'filters': .*}; expected Rules: say Rules.from_dict"):
        ruled_shop.recommend(["u000"], rules={"filters": ["stock"]})
    with pytest.raises(SchemaError, match="no column 'stok'; did you mean 'stock'"):
        ruled_shop.recommend(["u000"], rules=Rules(filters=["stok"]))
    with pytest.raises(DataError, match="block.users: 5: expected text such as 'u000', got the number 5; put the id in quotes"):
        ruled_shop.recommend(["u000"], rules=Rules(block={"users": {5: ["i001"]}}))


def test_the_labels_of_the_paths_stay(ruled_shop):
    found = ask(ruled_shop, Rules(at_most={"brand": 2}), k=3)
    assert set(found[found.user_id == "nobody"].source) == {FALLBACK}
    assert set(found[found.user_id == "visitor"].source) == {BY_ATTRIBUTES}
