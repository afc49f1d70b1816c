"""Random rules in answers to users and in lists of similar items: no list breaks one, every shortfall is stated."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from random_rules import QUICK, asks, blocked, check, passing
from rule_items import ASKED, IDS, viewed

from llmrec import Recommender

SOME = [IDS[0], IDS[7], IDS[-1]]


def recommends(shop: Recommender, ask: dict[str, Any]) -> None:
    """To users of every path."""
    rules, k, viewed_too, some = ask["rules"], ask["k"], not ask["filter_viewed"], ask["some"]
    allowed, seen = passing(ask) & set(IDS if some is None else some), viewed(shop)
    may = {user: allowed - blocked(rules, user) - (set() if viewed_too else seen[user]) for user in ASKED}
    check(lambda: shop.recommend(ASKED, k, not viewed_too, items_to_recommend=some, rules=rules), rules, k, may)


def finds_similar(shop: Recommender, ask: dict[str, Any]) -> None:
    rules, k, allowed = ask["rules"], ask["k"], passing(ask)
    check(lambda: shop.similar_items(SOME, k, rules=rules), rules, k, {item: allowed - {item} for item in SOME})


@QUICK
@given(asks())
def test_no_answer_breaks_a_rule_and_every_shortfall_is_stated(ruled_shop, ask):
    recommends(ruled_shop, ask)


@settings(QUICK, max_examples=8)
@given(asks())
def test_no_list_of_similar_items_breaks_a_rule_and_every_shortfall_is_stated(ruled_shop, ask):
    finds_similar(ruled_shop, ask)


@pytest.mark.slow
@settings(QUICK, max_examples=300)
@given(asks())
def test_no_answer_breaks_one_of_many_random_rules(ruled_shop, ask):
    recommends(ruled_shop, ask)


@pytest.mark.slow
@settings(QUICK, max_examples=300)
@given(asks())
def test_no_list_of_similar_items_breaks_one_of_many_random_rules(ruled_shop, ask):
    finds_similar(ruled_shop, ask)
