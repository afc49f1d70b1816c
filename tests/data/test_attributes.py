"""Attributes as blocks with a mask: which columns become levels, what counts as missing, and tables of users."""

from __future__ import annotations

import datetime
import json
from dataclasses import asdict

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from worlds import build

from llmrec.data.attributes import FAR, Encoding, encode, learn_encoding, missing
from llmrec.data.user_tables import fit_user_table, is_table, read_user_table
from llmrec.errors import DataError, SchemaError

TABLE = pa.table(
    {
        "country": ["north"] * 6 + ["south"] * 5 + ["west", None],
        "age": [20.5, 30.5, 40.5, 50.5, 60.5, 70.5, 80.5, 25.5, 35.5, 45.5, 55.5, 65.5, None],
        "member": [True, False] * 6 + [None],
        "children": [0, 1, 2] * 4 + [0],
    }
)


@pytest.fixture
def encoding() -> Encoding:
    return learn_encoding(TABLE, "users", least=4)[0]


def test_text_flags_and_few_whole_numbers_are_levels_and_other_numbers_are_not(encoding):
    assert {column.name: column.levels for column in encoding.columns} == {
        "age": (),
        "children": ("0", "1", "2"),
        "country": ("north", "south"),
        "member": ("False", "True"),
    }
    found, _ = encode(encoding, TABLE, "users")
    blocks = found.blocks()
    assert blocks.shape == (13, encoding.width) and encoding.width == (4 + 1) + 3 + 2 + 2 + 4
    ages = np.array(TABLE.column("age").to_pylist()[:-1])
    assert np.allclose(blocks[:12, 4], (ages - ages.mean()) / ages.std(), atol=1e-5)
    assert (blocks[:12, :4].sum(1) == 1).all() and blocks[ages.argmin(), 0] == blocks[ages.argmax(), 3] == 1
    assert (blocks[0, 8:10] == [1, 0]).all() and (blocks[6, 8:10] == [0, 1]).all()


def test_missing_equals_a_level_that_is_rare_or_came_later(encoding):
    rows = {"country": ["west", "nowhere", None, "", " "], "age": [np.nan, np.inf, None, -np.inf, np.nan]}
    found, notes = encode(encoding, pa.table(rows), "users")
    assert np.array_equal(found.blocks(), missing(encoding, 5).blocks()) and not found.blocks().any() and not found.some.any()
    assert any("country 'nowhere', 'west'" in note for note in notes)
    assert any("country" in note and "'west'" in note for note in learn_encoding(TABLE, "users", least=4)[1])


def test_rows_and_columns_come_in_any_order_and_numbers_in_any_dress(encoding):
    mixed = np.random.default_rng(0).permutation(13)
    other = TABLE.take(pa.array(mixed)).select(["member", "age", "children", "country"])
    assert learn_encoding(other, "users", least=4)[0] == encoding
    assert np.array_equal(encode(encoding, other, "users")[0].blocks(), encode(encoding, TABLE, "users")[0].blocks()[mixed])
    dresses = [pa.array([2]), pa.array([2.0]), pa.array(["2"]), pa.array([" 2 "]), pa.array([2]).dictionary_encode()]
    found = [encode(encoding, pa.table({"children": dress}), "users")[0].blocks() for dress in dresses]
    assert all(np.array_equal(one, found[0]) for one in found) and found[0].any()
    assert encode(encoding, pa.table({"age": [1e9]}), "users")[0].codes[0, 0] == FAR


def test_an_encoding_outlives_json(encoding):
    assert Encoding.from_dict(json.loads(json.dumps(asdict(encoding)))) == encoding


def test_some_rows_some_hidden_and_one_table_over_another(encoding):
    found, _ = encode(encoding, TABLE, "users")
    taken = found.take(np.array([3, -1, 0]))
    assert np.array_equal(taken.blocks()[[0, 2]], found.blocks()[[3, 0]]) and not taken.blocks()[1].any()
    hidden = found.hide(np.ones((13, 4), bool))
    assert not hidden.blocks().any() and np.array_equal(hidden.over(found).blocks(), found.blocks())
    assert np.array_equal(found.over(taken.take(np.zeros(13))).codes[0], found.codes[0])
    assert not missing(encoding, 0).take(np.array([-1])).blocks().any()


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([datetime.date(2000, 1, 1)] * 9, "column 'born' holds date.* convert it first .a date to an age., or drop it"),
        ([{"day": 1}] * 9, "column 'born' holds struct"),
    ],
)
def test_a_column_that_is_none_is_named(column, message):
    with pytest.raises(SchemaError, match=f"users: {message}"):
        learn_encoding(pa.table({"born": column}), "users")


def test_text_in_a_column_of_numbers_is_refused_by_name(encoding):
    with pytest.raises(SchemaError, match="users: column 'age' should hold numbers, got text such as 'old'"):
        encode(encoding, pa.table({"age": ["old"]}), "users")


# ---------------------------------------------------------------------------------------- tables of users


@pytest.fixture
def dataset():
    return build([[[0], [1]]] * 12, 2)  # users u0 ... u11


def people(**columns) -> dict:
    return {"user_id": [f"u{number}" for number in range(12)], "country": ["north", "south"] * 6, **columns}


def test_users_without_events_change_nothing_that_is_learned(dataset):
    table = pd.DataFrame(people())
    strangers = pd.DataFrame({"user_id": [f"x{number}" for number in range(50)], "country": "west"})
    fitted, _ = fit_user_table(dataset, table)
    more, notes = fit_user_table(dataset, pd.concat([strangers, table]))
    assert more.encoding == fitted.encoding and len(more.users) == 62
    assert np.array_equal(more.of(dataset.users).codes, fitted.of(dataset.users).codes)
    assert any("12 of 12 users with events have attributes: country" in note for note in notes)


def test_the_order_of_rows_never_matters_and_a_copy_of_a_row_is_no_second_one(dataset):
    table = pd.DataFrame(people(age=np.linspace(20, 70, 12)))
    fitted, _ = fit_user_table(dataset, table)
    other, _ = fit_user_table(dataset, pd.concat([table.sample(frac=1, random_state=1), table.head(3)]))
    assert other.encoding == fitted.encoding
    assert np.array_equal(other.of(dataset.users).codes, fitted.of(dataset.users).codes)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"country": ["north"] * 12}, "users has no column 'user_id'"),
        (people(user_id=list(range(12))), "user_id: known are str such as 'u0', got int"),
        (
            people(user_id=[f"x{number}" for number in range(12)]),
            "none of 12 users has an event, such as 'x0'; .* such as 'u0'",
        ),
        (people(user_id=["u0"] * 12), "user 'u0' has 2 rows that differ in column 'country', expected one row per user"),
        ({"user_id": ["u0", "u1"]}, "no column can be read as attributes. There is only user_id"),
        (
            people(country=[f"c{number}" for number in range(12)]),
            "no column can be read.*12 values of 'country' with fewer than 5",
        ),
        ({"user_id": [], "country": []}, "users is empty"),
        ({"user_id": [None], "country": ["north"]}, "no row has a user_id"),
    ],
)
def test_a_bad_table_of_users_says_what_is_wrong(dataset, table, message):
    with pytest.raises((DataError, SchemaError), match=message):
        fit_user_table(dataset, table)


def test_a_later_table_may_lack_columns_and_have_others_but_not_only_others(dataset):
    fitted, _ = fit_user_table(dataset, people(plan=["free", "paid"] * 6))
    later, notes = read_user_table(fitted.encoding, {"user": ["new"], "country": ["south"], "shoe": [42]}, {"user": "user_id"})
    assert later.attributes.known.tolist() == [[True, False]] and any("column 'shoe' is not read" in note for note in notes)
    with pytest.raises(
        DataError, match="no column is an attribute that was fitted, expected one of 'country', 'plan', got 'shoe'"
    ):
        read_user_table(fitted.encoding, {"user_id": ["new"], "shoe": [42]})


def test_a_list_of_ids_is_no_table():
    frame = pd.DataFrame(people())
    tables = (frame, people(), pa.table(people()), [{"user_id": "u0"}], "people.csv", "people.PARQUET")
    assert all(is_table(table) for table in tables)
    assert not any(is_table(ids) for ids in (["u0"], [], frame["user_id"], np.array([1]), ("u0",), "u0", 5, {"u0"}))
