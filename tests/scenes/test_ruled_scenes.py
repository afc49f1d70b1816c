"""Rules in the answers of scenes that are read by their texts."""

from __future__ import annotations

import io
import warnings
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from random_rules import QUICK, asks, blocked, check, passing
from rule_items import ASKED, IDS, ITEMS, ROW, ROWS, lists, where

from llmrec import SceneRecommender
from llmrec.cli import main
from llmrec.errors import DataError, IgnoredInputWarning, SchemaError, ShortAnswerWarning
from llmrec.rules import Rules
from llmrec.rules.filling import PINNED
from llmrec.scenes import new, ruled

HAD = {"u000": ["i000", "i012", "i007"], "u001": ["i029"], "u002": ["i003", "i015", "i020", "i021"]}
EVENTS = pd.DataFrame(
    [(user, item, 1.6e9 + 1e5 * place) for user, items in HAD.items() for place, item in enumerate(items)],
    columns=["user_id", "item_id", "timestamp"],
)


@pytest.fixture(scope="module")
def shop(fitted) -> SceneRecommender:
    """The items of `rule_items` as a shop that nobody has bought in yet."""
    return fitted.open(pd.DataFrame(ROWS))


@pytest.fixture(scope="module")
def part(shop) -> SceneRecommender:
    """The first 20 of them as the scene; histories may hold the others too."""
    among = np.arange(ITEMS) < 20
    return replace(shop, scene=replace(shop.scene, shelf=shop.scene.shelf.part(among)))


def ask(shop: SceneRecommender, rules: Rules | None = None, k: int = ITEMS, **more: Any) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ShortAnswerWarning)
        return shop.recommend(ASKED, k, histories=EVENTS, rules=rules, **more)


# ------------------------------------------------------------------------------- the law of each kind of rule


@pytest.mark.parametrize("rules", [{}, {"filters": ["True"]}, {"boost": [{"where": "stock", "factor": 1}], "diversity": 0}])
def test_rules_that_ask_for_nothing_change_nothing(shop, part, rules):
    for one in (shop, part):
        pd.testing.assert_frame_equal(ask(one, Rules.from_dict(rules)), ask(one))


def test_a_filter_is_the_list_of_items_that_pass_it(shop, part):
    passing = where(lambda row: row["in_stock"] and row["price"] is not None and row["price"] < 70)
    for one in (shop, part):
        same = ask(one, items_to_recommend=passing)
        pd.testing.assert_frame_equal(ask(one, Rules(filters=["in_stock", "price < 70"])), same)
    found = ask(part, Rules(filters=["item_id == 'i019'"]), k=1)
    assert found.user_id.tolist() == ASKED and set(found.item_id) == {"i019"}


def test_an_item_is_never_shown_to_its_seller_and_others_are_not_touched(shop):
    found, plain = ask(shop, Rules(block={"column": "seller", "users": {"visitor": IDS[:9]}})), lists(ask(shop))
    for user in ASKED:
        mine = where(lambda row, user=user: row["seller"] == user) | (set(IDS[:9]) if user == "visitor" else set())
        assert lists(found)[user] == [item for item in plain[user] if item not in mine]


def test_factors_add_their_logarithms_and_limits_and_pins_hold(shop):
    rules = Rules(
        boost=[{"where": "category == 'Wine'", "factor": 3}], at_most={"brand": 4}, pin={2: "i005", 30: "i001"}, diversity=0
    )
    plain, found = ask(shop), ask(shop, rules, k=8)
    before = plain.set_index(["user_id", "item_id"]).score
    for user, items in lists(found).items():
        mine = found[found.user_id == user]
        assert (mine.source == PINNED).tolist() == [place == 1 for place in range(8)] and items[1] == "i005"
        raised = [before[user, item] + np.log(3) * (ROW[item]["category"] == "Wine") for item in items]
        np.testing.assert_allclose(mine.score, raised, atol=1e-5)
        assert max(Counter(ROW[item]["brand"] for item in items if ROW[item]["brand"]).values()) <= 4
        others = mine[mine.source != PINNED]
        assert (np.diff(others.score) <= 0).all() and set(others.source) <= {shop.name, f"{shop.name} (no history)"}
    only = lists(ask(shop, Rules(boost=[{"where": "item_id == 'i029'", "factor": 1e300}]), k=1))
    assert {user: items == ["i029"] for user, items in only.items()} == {user: user != "u001" for user in ASKED}


def test_diversity_takes_another_kind_of_item_second(shop):
    vectors = shop.scene.shelf.vectors
    for items in lists(ask(shop, Rules(diversity=1.0), k=2)).values():
        first, second = shop.catalogue.ids.find(items)
        mine = set(lists(ask(shop))["nobody"])
        rest = [number for number in range(ITEMS) if IDS[number] in mine and number != first]
        assert vectors[second] @ vectors[first] <= np.quantile(vectors[rest] @ vectors[first], 0.2)


# ------------------------------------------------------------------------------- what holds them together


def random(shop: SceneRecommender, ask: dict[str, Any]) -> None:
    rules, k, viewed_too = ask["rules"], ask["k"], not ask["filter_viewed"]
    there = {IDS[item] for item in shop.scene.shelf.items} & passing(ask) & set(IDS if ask["some"] is None else ask["some"])
    may = {user: there - blocked(rules, user) - set([] if viewed_too else HAD.get(user, [])) for user in ASKED}
    more = {"histories": EVENTS, "items_to_recommend": ask["some"], "filter_viewed": not viewed_too}
    check(lambda: shop.recommend(ASKED, k, rules=rules, **more), rules, k, may)


@settings(QUICK, max_examples=8)
@given(asks())
def test_no_answer_breaks_a_rule_and_every_shortfall_is_stated(part, ask):
    random(part, ask)


@pytest.mark.slow
@settings(QUICK, max_examples=200)
@given(asks())
def test_no_answer_breaks_one_of_many_random_rules(shop, part, ask):
    random(part, ask)
    random(shop, ask)


def test_what_comes_first_does_not_depend_on_k_nor_on_other_users(shop, monkeypatch):
    monkeypatch.setattr(ruled, "POOL", 6)
    rules = Rules(at_most={"brand": 6}, boost=[{"where": "in_stock", "factor": 3}], diversity=0.4, pin={2: "i014"})
    some = IDS[3:15]  # no two of one text: scores of these differ by rounding, which depends on how many users are asked for
    whole = lists(ask(shop, rules, items_to_recommend=some))
    for k in (2, 4, 9):
        assert lists(ask(shop, rules, k=k, items_to_recommend=some)) == {user: items[:k] for user, items in whole.items()}
    for user in ASKED:
        one = shop.recommend([user], 4, histories=EVENTS, rules=rules, items_to_recommend=some)
        assert one.item_id.tolist() == whole[user][:4]


def test_a_scene_knows_the_columns_of_its_own_table(shop, part, fitted, newcomer):
    with pytest.raises(SchemaError, match="filters.0. 'prize < 5': the catalogue has no column 'prize'; did you mean 'price'"):
        shop.recommend(["nobody"], rules=Rules(filters=["prize < 5"]))
    with pytest.raises(SchemaError, match="no column 'price'; its columns are 'item_id', 'title'"):
        fitted.open(newcomer[1]).recommend(["nobody"], rules=Rules(filters=["price < 5"]))
    with pytest.raises(DataError, match="rules is {'filters': .*}; expected Rules: say Rules.from_dict"):
        shop.recommend(["nobody"], rules={"filters": ["stock"]})
    with pytest.warns(
        IgnoredInputWarning, match="pin 1: 'i025' is not shown, because it is not an item of the scene"
    ) as caught:
        part.recommend(["nobody"], 3, rules=Rules(pin={1: "i025"}))
    assert caught[0].filename == __file__
    with pytest.warns(IgnoredInputWarning, match="pin 1: 'i029' is not shown to user 'u001': .*filter_viewed"):
        shop.recommend(["u001"], 3, histories=EVENTS, rules=Rules(pin={1: "i029"}))


def test_a_shortfall_names_the_rule_and_counts_the_items_of_the_scene(part):
    few = sum(ROW[item]["category"] == "Wine" for item in IDS[:20])
    said = f"'nobody' .{few}.: rules leave no more .filter .category == .Wine.. leaves {few} of 20 items"
    with pytest.warns(ShortAnswerWarning, match=said) as caught:
        part.recommend(["nobody"], 20, rules=Rules(filters=["category == 'Wine'"]))
    assert caught[0].filename == __file__
    with pytest.warns(ShortAnswerWarning, match="'nobody' .1.: rules leave no more .block leaves out more for this user of 20"):
        part.recommend(["nobody"], 3, rules=Rules(block={"users": {"nobody": IDS[1:]}}))


def test_a_path_that_forgets_the_rules_is_still_held_to_them(shop, monkeypatch):
    rules, best = Rules(filters=["in_stock"], block={"column": "seller"}), new.SceneRecommender._best
    right = ask(shop, rules)
    everything = np.ones(ITEMS, bool)
    monkeypatch.setattr(
        new.SceneRecommender,
        "_best",
        lambda self, known, asked, who, wanted: best(self, known, asked, who, replace(wanted, allowed=everything, barred=None)),
    )
    pd.testing.assert_frame_equal(ask(shop, rules), right)


def test_a_saved_scene_and_the_command_take_the_same_rules(shop, tmp_path):
    shop.save_pretrained(tmp_path / "scene")
    EVENTS.to_csv(tmp_path / "events.csv", index=False)
    (tmp_path / "rules.yaml").write_text("filters: [in_stock]\nat_most: {brand: 1}\npin: {1: i002}\nblock: {column: seller}\n")
    (tmp_path / "wrong.yaml").write_text("filters: [in_stok]\n")
    rules = Rules.from_yaml(tmp_path / "rules.yaml")
    expected = shop.recommend(histories=EVENTS, k=3, rules=rules)
    back = SceneRecommender.from_pretrained(tmp_path / "scene")
    pd.testing.assert_frame_equal(back.recommend(histories=EVENTS, k=3, rules=rules), expected)
    words = ["recommend", str(tmp_path / "scene"), "--histories", str(tmp_path / "events.csv"), "--k", "3", "--format", "csv"]
    run = CliRunner().invoke(main, [*words, "--rules", str(tmp_path / "rules.yaml")])
    assert run.exit_code == 0, run.output
    assert pd.read_csv(io.StringIO(run.stdout)).item_id.tolist() == expected.item_id.tolist()
    wrong = CliRunner().invoke(main, [*words, "--rules", str(tmp_path / "wrong.yaml")])
    assert wrong.exit_code == 2 and "no column 'in_stok'; did you mean 'in_stock'" in wrong.stderr
