"""Random rules in answers, against a reference that reads the items row by row."""

from __future__ import annotations

import warnings
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rule_items import ASKED, IDS, ITEMS, ROW, lists, viewed

from llmrec import Recommender
from llmrec.errors import IgnoredInputWarning, ShortAnswerWarning
from llmrec.rules import Rules
from llmrec.rules.filling import PINNED


def truth(tree: Any, row: dict[str, Any]) -> bool | None:
    """A condition by three values: None where a value that matters is missing."""
    kind, *rest = tree
    if kind == "flag":
        value = row[rest[0]]
        return None if value is None else value > 0
    if kind == "missing":
        return row[rest[0]] is None
    if kind == "not":
        value = truth(rest[0], row)
        return None if value is None else not value
    if kind in ("and", "or"):
        values = [truth(one, row) for one in rest]
        decided = kind == "or"
        return decided if decided in values else None if None in values else not decided
    name, op, value = rest
    mine = row[name]
    if mine is None:
        return None
    return {
        "<": lambda: mine < value,
        ">=": lambda: mine >= value,
        "==": lambda: mine == value,
        "!=": lambda: mine != value,
        "in": lambda: mine in value,
        "not in": lambda: mine not in value,
    }[op]()


def text(tree: Any) -> str:
    kind, *rest = tree
    if kind == "flag":
        return rest[0]
    if kind == "missing":
        return f"{rest[0]} is None"
    if kind == "not":
        return f"not ({text(rest[0])})"
    if kind in ("and", "or"):
        return f" {kind} ".join(f"({text(one)})" for one in rest)
    name, op, value = rest
    return f"{name} {op} {value!r}"


LEAVES = st.one_of(
    st.tuples(st.just("flag"), st.sampled_from(["in_stock", "stock"])),
    st.tuples(st.just("missing"), st.sampled_from(["price", "brand", "added"])),
    st.tuples(st.just("compare"), st.just("price"), st.sampled_from(["<", ">=", "!="]), st.integers(1, 100)),
    st.tuples(st.just("compare"), st.just("brand"), st.sampled_from(["==", "!="]), st.sampled_from(["b0", "b1", "b9"])),
    st.tuples(
        st.just("compare"),
        st.just("category"),
        st.sampled_from(["in", "not in"]),
        st.lists(st.sampled_from(["Wine", "Beer", "Tea"]), max_size=2),
    ),
    st.tuples(st.just("compare"), st.just("added"), st.sampled_from(["<", ">="]), st.sampled_from(["2026-03", "2026-07-01"])),
    st.tuples(st.just("compare"), st.just("item_id"), st.sampled_from(["in", "not in"]), st.lists(st.sampled_from(IDS))),
)
CONDITIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.tuples(st.just("not"), inner), st.tuples(st.sampled_from(["and", "or"]), inner, inner)),
    max_leaves=4,
)


@st.composite
def asks(draw: st.DrawFn) -> dict[str, Any]:
    filters = draw(st.lists(CONDITIONS, max_size=2))
    places = draw(st.lists(st.integers(1, 12), unique=True, max_size=3))
    items = draw(st.lists(st.sampled_from([*IDS, "gone"]), unique=True, min_size=len(places), max_size=len(places)))
    factors = st.tuples(CONDITIONS, st.sampled_from([0.01, 0.5, 1.0, 1.5, 100.0]))
    changes = draw(st.lists(factors, max_size=2))
    block: dict[str, Any] = {}
    if draw(st.booleans()):
        block["column"] = "seller"
    if draw(st.booleans()):
        block["users"] = draw(st.dictionaries(st.sampled_from(ASKED), st.lists(st.sampled_from(IDS), max_size=20), max_size=3))
    values = {
        "filters": [text(one) for one in filters],
        "block": block,
        "at_most": draw(st.dictionaries(st.sampled_from(["brand", "category", "price"]), st.integers(1, 4), max_size=2)),
        "boost": [{"where": text(one), "factor": factor} for one, factor in changes if factor >= 1],
        "bury": [{"where": text(one), "factor": factor} for one, factor in changes if factor < 1],
        "pin": dict(zip(places, items, strict=True)),
        "diversity": draw(st.sampled_from([0.0, 0.0, 0.3, 1.0])),
        "freshness": draw(st.sampled_from([None, {"column": "added", "half_life_days": 30}])),
    }
    return {
        "trees": filters,
        "rules": Rules.from_dict(values),
        "k": draw(st.integers(1, ITEMS + 5)),
        "filter_viewed": draw(st.booleans()),
        "some": draw(st.none() | st.lists(st.sampled_from(IDS), min_size=1, unique=True)),
    }


def check(ruled_shop: Recommender, ask: dict[str, Any]) -> None:
    """Every law of rules, for one random request to users of every path."""
    rules, k = ask["rules"], ask["k"]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        frame = ruled_shop.recommend(ASKED, k, ask["filter_viewed"], items_to_recommend=ask["some"], rules=rules)
    short = [str(one.message) for one in caught if one.category is ShortAnswerWarning]
    ignored = " ".join(str(one.message) for one in caught if one.category is IgnoredInputWarning)
    assert {one.category for one in caught} <= {ShortAnswerWarning, IgnoredInputWarning}
    allowed = {item for item in IDS if all(truth(tree, ROW[item]) is True for tree in ask["trees"])}
    allowed &= set(IDS if ask["some"] is None else ask["some"])
    listed = {} if rules.block is None else {user: set(items) for user, items in rules.block.users}
    seen, answers, plain = viewed(ruled_shop), lists(frame), rules.diversity == 0
    assert set(frame.user_id) <= set(ASKED)
    for user in ASKED:
        mine, items = frame[frame.user_id == user], answers.get(user, [])
        may = allowed - listed.get(user, set())
        if rules.block is not None and rules.block.column:
            may -= {item for item in IDS if ROW[item]["seller"] == user}
        if ask["filter_viewed"]:
            may -= seen[user]
        assert set(items) <= may and len(set(items)) == len(items) <= k
        assert mine["rank"].tolist() == [*range(1, len(items) + 1)]

        def fits(more: str, held: list[str]) -> bool:
            counts = [
                (most, Counter(ROW[one][name] for one in held)[ROW[more][name]], ROW[more][name])
                for name, most in rules.at_most
            ]
            return all(value is None or count < most for most, count, value in counts)

        for place, item in enumerate(items):
            assert fits(item, items[:place])
        if len(items) < k:
            assert not any(fits(item, items) for item in may - set(items))  # nothing more could be shown
            assert len(short) == 1 and f"fewer than k = {k} items" in short[0]
        pins: list[str] = []
        for place, item in rules.pin:
            shown = item in may and fits(item, pins) and place <= k
            pins += [item] if shown else []
            assert shown == (mine[mine.source == PINNED].item_id == item).any()
            if not shown and place <= k:
                assert f"{item!r}" in ignored
        others, place = mine[mine.source != PINNED], 0
        asked_for, expected = {item: place for place, item in rules.pin}, []
        while len(expected) < len(items):  # each pinned item in its place, and the others around; then what is left moves up
            place += 1
            at = [item for item in pins if asked_for[item] == place]
            rest = others.item_id.tolist()[sum(item not in pins for item in expected) :]
            expected += at or rest[:1]
        assert items == expected
        if plain:
            assert (np.diff(others.score) <= 0).all()
        assert np.isfinite(mine.score).all()
    if all(len(answers.get(user, [])) == k for user in ASKED):
        assert not short


QUICK = settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@QUICK
@given(asks())
def test_no_answer_breaks_a_rule_and_every_shortfall_is_stated(ruled_shop, ask):
    check(ruled_shop, ask)


@pytest.mark.slow
@settings(QUICK, max_examples=1000)
@given(asks())
def test_no_answer_breaks_one_of_a_thousand_random_rules(ruled_shop, ask):
    check(ruled_shop, ask)
