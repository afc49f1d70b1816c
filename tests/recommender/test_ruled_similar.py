"""Rules in lists of similar items: the law of each kind, and what they never show."""

from __future__ import annotations

import copy
import io
import warnings

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from rule_items import IDS, ITEMS, ROW, at_most, where

from llmrec import Recommender
from llmrec.cli import main
from llmrec.errors import DataError, IgnoredInputWarning, SchemaError, ShortAnswerWarning
from llmrec.index.faiss_index import IndexSettings, build
from llmrec.recommender import similar as module
from llmrec.rules import Rules

ADDED = [row["added"] for row in ROW.values() if row["added"]]


def near(shop: Recommender, rules: Rules | None = None, k: int = ITEMS, items: list[str] = IDS) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ShortAnswerWarning)
        return shop.similar_items(items, k, rules=rules)


def lists(frame: pd.DataFrame) -> dict[str, list[str]]:
    found = {item: frame[frame.item_id == item].similar_item_id.tolist() for item in dict.fromkeys(frame.item_id)}
    return {item: found.get(item, []) for item in IDS}


@pytest.fixture(scope="module")
def cosine(ruled_shop: Recommender) -> np.ndarray:
    vectors = ruled_shop.state.items.unit().astype(np.float64)
    return vectors @ vectors.T


# ------------------------------------------------------------------------------- the law of each kind of rule


@pytest.mark.parametrize("rules", [{}, {"filters": ["True"]}, {"boost": [{"where": "in_stock", "factor": 1}], "diversity": 0}])
def test_rules_that_ask_for_nothing_change_nothing(ruled_shop, rules):
    for k in (4, ITEMS):
        pd.testing.assert_frame_equal(near(ruled_shop, Rules.from_dict(rules), k), ruled_shop.similar_items(IDS, k))


def test_a_filter_leaves_the_items_that_pass_it_in_their_order(ruled_shop):
    passing = where(lambda row: row["in_stock"] and row["price"] is not None and row["price"] < 70)
    plain, found = lists(near(ruled_shop)), lists(near(ruled_shop, Rules(filters=["in_stock", "price < 70"])))
    assert found == {item: [one for one in others if one in passing] for item, others in plain.items()}


@pytest.mark.parametrize("lists_of_the_index", [0, 6])
def test_the_only_item_that_passes_is_found_wherever_it_lies(ruled_shop, lists_of_the_index):
    """Also by an index that looks into one of its lists."""
    shop = copy.deepcopy(ruled_shop)
    settings = IndexSettings(exact_below=1 if lists_of_the_index else 1000, lists=lists_of_the_index or None, probes=1)
    shop.state.__dict__["similarity_index"] = build(shop.state.items.unit(), settings=settings)
    last = f"item_id == '{IDS[-1]}'"
    for more in ({}, {"at_most": {"category": 1}}, {"diversity": 0.5}, {"boost": [{"where": "stock", "factor": 2}]}):
        found = near(shop, Rules.from_dict({"filters": [last], **more}), k=1, items=IDS[:-1])
        assert found.item_id.tolist() == IDS[:-1] and set(found.similar_item_id) == {IDS[-1]}
    ranked = near(shop, Rules(boost=[{"where": last, "factor": 1e6}]), k=1, items=IDS[:-1])
    raised = ranked[ranked.similar_item_id == IDS[-1]]
    assert set(raised.item_id) == {
        item for item in IDS[:-1] if near(shop, None, ITEMS, [item]).set_index("similar_item_id").score[IDS[-1]] > 0
    }


def test_at_most_takes_the_nearest_that_fit(ruled_shop):
    for most in ({"brand": 1}, {"brand": 2, "category": 3}, {"brand": ITEMS}):
        found = lists(near(ruled_shop, Rules(at_most=most)))
        for item, others in lists(near(ruled_shop)).items():
            assert found[item] == at_most(others, most)


def test_a_pinned_item_is_in_its_place_except_beside_itself(ruled_shop):
    plain = lists(near(ruled_shop))
    with pytest.warns(
        IgnoredInputWarning, match="pin 2: 'i007' is not shown to 1 of 30 items: .*the item that is asked"
    ) as caught:
        found = lists(ruled_shop.similar_items(IDS, 6, rules=Rules(pin={2: "i007", 9: "i009"})))
    assert caught[0].filename == __file__ and len(caught) == 1
    for item, others in plain.items():
        rest = [one for one in others if one != "i007"]
        assert found[item] == (others[:6] if item == "i007" else [rest[0], "i007", *rest[1:5]])
    with pytest.warns(IgnoredInputWarning, match="pin 1: 'i007' is not shown to item 'i007': it is hidden, or it is the item"):
        ruled_shop.similar_items(["i007"], 3, rules=Rules(pin={1: "i007"}))


def test_a_factor_multiplies_the_cosine_and_divides_one_below_zero(ruled_shop, cosine):
    wine, rules = where(lambda row: row["category"] == "Wine"), Rules(boost=[{"where": "category == 'Wine'", "factor": 1.5}])
    found = near(ruled_shop, rules)
    assert (cosine < 0).any()
    for item in IDS:
        value = {}
        for one in set(IDS) - {item}:
            like = cosine[IDS.index(item), IDS.index(one)]
            value[one] = like * (1.5 if like > 0 else 1 / 1.5) if one in wine else like
        mine = found[found.item_id == item]
        assert len(mine) == ITEMS - 1 and (np.diff(mine.score) <= 0).all()
        np.testing.assert_allclose(mine.score, [value[one] for one in mine.similar_item_id], atol=1e-6)
    huge = near(ruled_shop, Rules(boost=[{"where": "category == 'Wine'", "factor": 1e300}] * 2))
    assert np.isfinite(huge.score).all()


def test_freshness_with_a_short_half_life_is_the_order_of_dates_among_what_is_alike(ruled_shop, cosine):
    found, oldest = lists(near(ruled_shop, Rules(freshness={"column": "added", "half_life_days": 0.01}))), min(ADDED)
    for item, others in found.items():
        dates = [ROW[one]["added"] or oldest for one in others if cosine[IDS.index(item), IDS.index(one)] > 1e-6]
        assert dates == sorted(dates, reverse=True)


def test_diversity_is_maximal_marginal_relevance(ruled_shop, cosine):
    for trade in (0.3, 1.0):
        found, plain = lists(near(ruled_shop, Rules(diversity=trade))), near(ruled_shop)
        for item in IDS[:6]:
            mine = plain[plain.item_id == item]
            others, score = [IDS.index(one) for one in mine.similar_item_id], mine.score.to_numpy(np.float64)
            relevance, chosen = (score - score.min()) / np.ptp(score), list[int]()
            while len(chosen) < len(others):
                value = [
                    -np.inf
                    if place in chosen
                    else (1 - trade) * relevance[place]
                    - trade * max([cosine[others[place], others[one]] for one in chosen], default=0.0)
                    for place in range(len(others))
                ]
                best = int(np.argmax(value))
                theirs = [IDS.index(one) for one in found[item]][len(chosen)]
                assert value[others.index(theirs)] == pytest.approx(value[best], abs=1e-5)  # equal texts are equal choices
                chosen.append(others.index(theirs))


# ------------------------------------------------------------------------------- what holds them together


def test_lists_do_not_depend_on_k_nor_on_the_other_items(ruled_shop, monkeypatch):
    """Also where the rest of the catalogue comes a few items at a time."""
    monkeypatch.setattr(module, "NEAR", 5)
    monkeypatch.setattr(module, "CHUNK", 3)
    rules = Rules(at_most={"brand": 6}, boost=[{"where": "in_stock", "factor": 1.2}], diversity=0.4, pin={2: "i004"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IgnoredInputWarning)
        whole = lists(near(ruled_shop, rules))
        for k in (2, 4, 7):
            assert lists(near(ruled_shop, rules, k)) == {item: others[:k] for item, others in whole.items()}
        assert all(near(ruled_shop, rules, 4, [item]).similar_item_id.tolist() == whole[item][:4] for item in IDS)


@pytest.mark.parametrize("more", [{}, {"pin": {1: "i001", 2: "i002"}, "at_most": {"brand": 5}}])
def test_hidden_and_removed_items_stay_away(ruled_shop, tmp_path, more):
    shop = copy.copy(ruled_shop)
    shop.hide_items(["i001"])
    shop.remove_items(["i002"])
    shop.save_pretrained(tmp_path / "shop")
    rules = Rules.from_dict({"filters": ["stock or not stock"], **more})
    for one in (shop, Recommender.from_pretrained(tmp_path / "shop")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", IgnoredInputWarning)
            found = near(one, rules, items=[item for item in IDS if item != "i002"])
        assert len(found) and not set(found.similar_item_id) & {"i001", "i002"}
    if more:
        with pytest.warns(IgnoredInputWarning, match="pin 2: .*no item 'i002'; pin 1: 'i001' is not shown to item 'i003'"):
            shop.similar_items(["i003"], 2, rules=rules)


def test_a_path_that_forgets_the_rules_is_still_held_to_them(ruled_shop, monkeypatch):
    rules, nearest = Rules(filters=["in_stock"]), module._nearest
    right = lists(near(ruled_shop, rules))
    monkeypatch.setattr(module, "_nearest", lambda state, index, k, allowed: nearest(state, index, k, None))
    found = near(ruled_shop, rules)
    assert lists(found) == right
    assert (found.groupby("item_id")["rank"].max() == found.groupby("item_id").size()).all()


def test_a_block_is_not_used_and_that_is_said(ruled_shop):
    rules = Rules(filters=["in_stock"], block={"column": "seller", "users": {"u000": IDS}})
    with pytest.warns(IgnoredInputWarning, match="block is not used: it is about single users") as caught:
        found = ruled_shop.similar_items(IDS, 3, rules=rules)
    assert len(caught) == 1 and caught[0].filename == __file__
    pd.testing.assert_frame_equal(found, ruled_shop.similar_items(IDS, 3, rules=Rules(filters=["in_stock"])))


def test_a_shortfall_names_the_rule(ruled_shop):
    for rules, said in (
        (
            Rules(at_most={"category": 1}),
            "rules leave no more .at_most category=1 leaves 3 of 30 items., without the item itself",
        ),
        (
            Rules(filters=["brand == 'b9'"]),
            "1 item gets fewer than k = 5 items, such as 'i000' .0.: .*'b9'. leaves 0 of 30 items",
        ),
    ):
        with pytest.warns(ShortAnswerWarning, match=said) as caught:
            ruled_shop.similar_items(["i000"], 5, rules=rules)
        assert caught[0].filename == __file__
    with pytest.warns(ShortAnswerWarning, match="2 items get fewer than k = 30 items, .* .29.: the catalogue holds no more"):
        ruled_shop.similar_items(["i000", "i001"], ITEMS, rules=Rules())
    assert len(ruled_shop.similar_items(["i000"], ITEMS)) == ITEMS - 1  # without rules nothing is said


def test_rules_that_cannot_be_read_are_refused(ruled_shop):
    with pytest.raises(DataError, match="rules is {'filters': .*}; expected Rules: say Rules.from_dict"):
        ruled_shop.similar_items(["i000"], rules={"filters": ["stock"]})
    with pytest.raises(SchemaError, match="no column 'stok'; did you mean 'stock'"):
        ruled_shop.similar_items(["i000"], rules=Rules(filters=["stok"]))


def test_the_command_takes_the_same_rules(ruled_shop, tmp_path):
    ruled_shop.save_pretrained(tmp_path / "shop")
    (tmp_path / "rules.yaml").write_text("filters: [in_stock]\nat_most: {brand: 1}\npin: {1: i002}\nblock: {column: seller}\n")
    (tmp_path / "wrong.yaml").write_text("filters: [in_stok]\n")
    words = ["similar", str(tmp_path / "shop"), "--items", "i000,i001", "--k", "3", "--format", "csv", "--rules"]
    run = CliRunner().invoke(main, [*words, str(tmp_path / "rules.yaml")])
    assert run.exit_code == 0 and "block is not used" in run.stderr, run.output
    rules = Rules(filters=["in_stock"], at_most={"brand": 1}, pin={1: "i002"})
    expected = ruled_shop.similar_items(["i000", "i001"], 3, rules=rules)
    assert pd.read_csv(io.StringIO(run.stdout)).similar_item_id.tolist() == expected.similar_item_id.tolist()
    wrong = CliRunner().invoke(main, [*words, str(tmp_path / "wrong.yaml")])
    assert wrong.exit_code == 2 and "no column 'in_stok'; did you mean 'in_stock'" in wrong.stderr
