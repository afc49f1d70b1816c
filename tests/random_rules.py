"""Random rules for the shop of `rule_items`, and the laws that a list under them keeps, by a reference that reads the items row
by row."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from rule_items import ASKED, IDS, ITEMS, ROW

from llmrec.errors import IgnoredInputWarning, ShortAnswerWarning
from llmrec.rules import Rules
from llmrec.rules.filling import PINNED

QUICK = settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


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


def passing(ask: dict[str, Any]) -> set[str]:
    """The items that pass every filter."""
    return {item for item in IDS if all(truth(tree, ROW[item]) is True for tree in ask["trees"])}


def blocked(rules: Rules, user: str) -> set[str]:
    if rules.block is None:
        return set()
    listed = {item for one, items in rules.block.users if one == user for item in items}
    return listed | {item for item in IDS if rules.block.column and ROW[item]["seller"] == user}


def check(answer: Callable[[], pd.DataFrame], rules: Rules, k: int, may: Mapping[str, set[str]]) -> None:
    """Every law of rules for the lists of one call, and that it states each shortfall and each pinned item that is not shown.

    answer: a frame with the lists, one after the other, by its first column. may: what is not left out of each list.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        frame = answer()
    short = [str(one.message) for one in caught if one.category is ShortAnswerWarning]
    ignored = " ".join(str(one.message) for one in caught if one.category is IgnoredInputWarning)
    assert {one.category for one in caught} <= {ShortAnswerWarning, IgnoredInputWarning}
    asker, item_id = frame.columns[:2]
    assert set(frame[asker]) <= set(may)
    counts = [check_list(frame[frame[asker] == one], item_id, rules, k, may[one], ignored) for one in may]
    assert len(short) == (min(counts) < k) and all(f"fewer than k = {k} items" in one for one in short)


def check_list(mine: pd.DataFrame, item_id: str, rules: Rules, k: int, may: set[str], ignored: str) -> int:
    """Every law of rules for one list, and its length."""
    items = mine[item_id].tolist()
    assert set(items) <= may and len(set(items)) == len(items) <= k
    assert mine["rank"].tolist() == [*range(1, len(items) + 1)]

    def fits(more: str, held: list[str]) -> bool:
        counts = [
            (most, Counter(ROW[one][name] for one in held)[ROW[more][name]], ROW[more][name]) for name, most in rules.at_most
        ]
        return all(value is None or count < most for most, count, value in counts)

    for place, item in enumerate(items):
        assert fits(item, items[:place])
    if len(items) < k:
        assert not any(fits(item, items) for item in may - set(items))  # nothing more could be shown
    pins: list[str] = []
    for place, item in rules.pin:
        shown = item in may and fits(item, pins) and place <= k
        pins += [item] if shown else []
        assert "source" not in mine or shown == (mine[mine.source == PINNED][item_id] == item).any()
        if not shown and place <= k:
            assert f"{item!r}" in ignored
    others, place = mine[~mine[item_id].isin(pins)], 0
    asked_for, expected = {item: place for place, item in rules.pin}, list[str]()
    while len(expected) < len(items):  # each pinned item in its place, and the others around; then what is left moves up
        place += 1
        at = [item for item in pins if asked_for[item] == place]
        rest = others[item_id].tolist()[sum(item not in pins for item in expected) :]
        expected += at or rest[:1]
    assert items == expected
    if rules.diversity == 0:
        assert (np.diff(others.score) <= 0).all()
    assert np.isfinite(mine.score).all()
    return len(items)
