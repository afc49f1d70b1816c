"""Conditions against the catalogue: each form by its meaning on planted rows, and what is refused."""

from __future__ import annotations

import datetime

import numpy as np
import pyarrow as pa
import pytest

from llmrec.data.dataset import Catalogue
from llmrec.data.ids import Ids
from llmrec.errors import DataError, SchemaError
from llmrec.rules.applied import applied
from llmrec.rules.expressions import parse
from llmrec.rules.rules import Rules

DAY = datetime.date(2026, 4, 3)
TABLE = pa.table(
    {
        "title": ["a", "b", "c", "d"],
        "price": [10.0, 50.0, None, float("nan")],
        "stock": [0, 5, -1, None],
        "code": [2**60, 2**60 + 1, 3, 4],
        "in_stock": [True, False, None, True],
        "sold": ["yes", "No", "", "TRUE"],
        "brand": pa.array(["Wine", "Beer", "", None]).dictionary_encode(),
        "tags": [["new", "red"], ["new"], None, []],
        "added": [DAY, datetime.date(2025, 1, 1), None, DAY],
        "since": ["2026-04-03", "2025-01-01", None, "2024-02-29"],
        "year": [1995, 2026, 2020, None],
        "unit price": [1, 2, 3, 4],
        "größe": [1, 2, 3, 4],
        "nothing": pa.nulls(4),
        "raw": pa.array([b"x"] * 4),
    }
)
CATALOGUE = Catalogue(Ids(["i0", "i1", "i2", "i3"]), TABLE)


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("price < 50", [0]),
        ("price <= 50", [0, 1]),
        ("not price < 50", [1]),  # a missing price is neither
        ("price != 10", [1]),
        ("10 < price <= 50", [1]),
        ("price is None", [2, 3]),
        ("price is not None and price > -1", [0, 1]),
        ("price == 10 or in_stock", [0, 3]),
        ("not (price == 10 or in_stock)", [1]),
        ("stock", [1]),  # a number is true above 0
        ("not stock", [0, 2]),
        ("in_stock == True", [0, 3]),
        ("in_stock == 1", [0, 3]),
        ("in_stock != true", [1]),
        ("sold", [0, 3]),
        ("not sold", [1]),
        ("sold == False", [1]),
        ("True", [0, 1, 2, 3]),
        ("code == 1152921504606846977", [1]),  # beyond what a float tells apart
        ("code in [1152921504606846977, 3]", [1, 2]),
        ("code in [3, 4.5]", [2]),
        ("brand in ['Wine', 'Tea']", [0]),
        ("brand not in ('Wine', 'Tea')", [1]),
        ("brand in []", []),
        ("brand == 'Beer'", [1]),
        ("brand == \"Beer\" and title == 'b'", [1]),
        ("'in' in brand", [0]),
        ("'new' in tags", [0, 1]),
        ("'red' not in tags", [1, 3]),
        ("added >= '2026-01-01'", [0, 3]),
        ("added == '2026-04-03'", [0, 3]),
        ("added in ['2026-04-03']", [0, 3]),
        ("since < '2026'", [1, 3]),
        ("since < added", [3]),
        ("price < stock", []),
        ("year >= 2000", [1, 2]),
        ("item_id in ['i1', 'gone']", [1]),
        ("`unit price` > 3", [3]),
        ("`in_stock` and title != '`a` price'", [0, 3]),
        ("größe > 2", [2, 3]),
        ("nothing", []),
        ("nothing == 3 or price < 50", [0]),
        ("nothing is None", [0, 1, 2, 3]),
    ],
)
def test_a_condition_means_what_it_says(text, items):
    assert np.flatnonzero(parse(text).mask(CATALOGUE)).tolist() == items
    both = pa.concat_tables([TABLE.slice(0, 1), TABLE.slice(1)])  # a table in pieces
    assert np.flatnonzero(parse(text).mask(Catalogue(CATALOGUE.ids, both))).tolist() == items


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected a condition"),
        ("price <", "expected a condition"),
        ("price = 5", "equality is written =="),
        ("price < 5 AND sold", "write and, or, not"),
        ("price < 5 && sold", "write and, or, not"),
        ("__import__('os').system('x')", "is not a condition"),
        ("len(brand) > 3", "is not a column, a number"),
        ("title.upper() == 'A'", "is not a column, a number"),
        ("price * 2 < 5", "is not a column, a number"),
        ("price", None),
        ("5", "'5' is not a condition"),
        ("'red'", "is not a condition"),
        ("price == None", "write name is None"),
        ("price is 5", "for other values write =="),
        ("3 in [1, 3]", "expected a column in front of in"),
        ("brand in tags", "expected a list behind in"),
        ("brand in 'Wine'", "expected a list behind in"),
        ("brand in [[1]]", "is not a column, a number"),
        ("(lambda: 1)", "is not a condition"),
        ("[x for x in y]", "is not a condition"),
        ("price < 9999999999999999999999", "is not a column, a number"),
        ("not " * 4000 + "x", "condition"),
        ("x" * 10_001, "at most 10,000"),
        ("a\x00b", "expected a condition"),
    ],
)
def test_what_is_no_condition_is_refused(text, said):
    if said is None:
        assert parse(text).names == [text]
        return
    with pytest.raises(DataError, match=said):
        parse(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pric < 50", "no column 'pric'; did you mean 'price'. its columns are 'item_id', 'title', 'price'"),
        ("price < '50'", r"column 'price' \(numbers\) is compared with '50' \(texts\)"),
        ("brand == 3", "column 'brand' .*texts.* is compared with 3"),
        ("brand", "column 'brand' holds texts such as 'Wine', expected flags or numbers"),
        ("in_stock < True", "holds flags, which are compared by == or != alone"),
        ("in_stock == 5", "5 holds numbers, expected flags"),
        ("tags == 'new'", "compared"),
        ("tags in ['new']", "searched by 'value' in name"),
        ("'x' in price", "it holds numbers, expected text or lists"),
        ("added > 'soon'", "'soon' holds texts, expected dates such as 2026-04-03"),
        ("raw == 'x'", "column 'raw' is binary, expected numbers, text"),
    ],
)
def test_columns_are_checked_by_name_and_type(text, said):
    with pytest.raises(SchemaError, match=f"rules: filters.0. .*{said}"):
        applied(Rules(filters=[text]), CATALOGUE)


def test_other_rules_check_their_columns_too():
    for rules, said in (
        (Rules(at_most={"brnd": 1}), "rules: at_most.brnd: the catalogue has no column 'brnd'; did you mean 'brand'"),
        (Rules(at_most={"tags": 1}), "rules: at_most.tags: column 'tags' holds lists"),
        (Rules(boost=[{"where": "gone", "factor": 2}]), r"rules: boost\[0\].where 'gone': the catalogue has no column"),
        (Rules(freshness={"column": "brand", "half_life_days": 1}), "rules: freshness.column: column 'brand' holds texts"),
        (Rules(freshness={"column": "nothing", "half_life_days": 1}), "column 'nothing' holds no date"),
        (Rules(block={"column": "in_stock"}), "rules: block.column: items: column .in_stock. holds ids"),
    ):
        with pytest.raises(SchemaError, match=said):
            applied(rules, CATALOGUE)
    with pytest.raises(DataError, match="rules: pin 1: expected text such as 'i0', got the number 65; put the id in quotes"):
        applied(Rules(pin={1: 65}), CATALOGUE)
    with pytest.raises(DataError, match="rules: pin: expected each item once, got .7, '7'."):
        applied(Rules(pin={1: 7, 2: "7"}), Catalogue(Ids([7, 12]), TABLE.slice(0, 2)))
    assert applied(Rules(pin={1: "12"}), Catalogue(Ids([7, 12]), TABLE.slice(0, 2))).pins == ((1, 1),)


def test_freshness_halves_the_odds_for_each_half_life():
    for name, ages in (
        ("added", [0, 457, 457, 0]),
        ("since", [0, 457, 764, 764]),
        ("year", [31 * 365.2425, 0, 6 * 365.2425, 31 * 365.2425]),
    ):
        found = applied(Rules(freshness={"column": name, "half_life_days": 10}), CATALOGUE).log_factor
        np.testing.assert_allclose(found, -np.log(2) * np.array(ages) / 10, rtol=1e-5)


def test_what_is_blocked_for_one_user_under_two_spellings_is_blocked_by_both():
    rules = applied(Rules(block={"users": {7: [7], "7": [12]}}), Catalogue(Ids([7, 12, 13]), TABLE.slice(0, 3)))
    assert rules.barred(Ids([7, 8])).toarray().tolist() == [[True, True, False], [False, False, False]]
