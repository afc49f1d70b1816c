"""Values of attributes and context are one level in every dress, and different levels as they are written never become one."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from worlds import build as world

from llmrec.data.attributes import encode, learn_encoding
from llmrec.data.build import build, events_for
from llmrec.data.context import code_name, request_context
from llmrec.data.files import MISSING, levels_or_numbers, read_plain
from llmrec.data.reading import read
from llmrec.data.user_tables import fit_user_table, read_user_table
from llmrec.errors import DataError, SchemaError


@pytest.fixture
def dataset():
    return world([[[0], [1]]] * 20, 2)  # users u0 ... u19


def people(values: list[str]) -> pd.DataFrame:
    """20 users; the values repeat."""
    return pd.DataFrame({"user_id": [f"u{user}" for user in range(20)], "x": [values[u % len(values)] for u in range(20)]})


def dress(table: pd.DataFrame, kind: str, path, what: str = "users"):
    """A table of text as a frame, as a CSV file, or as `read` gives a file with semicolons."""
    if kind == "frame":
        return table
    table.to_csv(path / f"{what}.csv", index=False, sep=";" if kind == "read" else ",")
    return read(path / f"{what}.csv", what).table if kind == "read" else path / f"{what}.csv"


def levels(encoding, name: str = "x"):
    return next(column.levels for column in encoding.columns if column.name == name)


KINDS = pytest.mark.parametrize("kind", ["frame", "csv", "read"])


# ---------------------------------------------------------------------------------------- users


@KINDS
@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (["01", "1"], ("01", "1")),
        (["01001", "10001"], ("01001", "10001")),
        (["1", "2"], ("1", "2")),
        (["1.0", "2.0"], ("1", "2")),
        (["true", "false"], ("False", "True")),
        (["12345678901234567891", "12345678901234567892"], ("12345678901234567891", "12345678901234567892")),
        (["1E5", "2E5"], ("1E5", "2E5")),
        (["NA", "de"], ("de",)),
    ],
)
def test_levels_of_users_are_as_they_are_written(dataset, tmp_path, kind, written, expected):
    table = people(written)
    fitted, _ = fit_user_table(dataset, dress(table, kind, tmp_path))
    assert levels(fitted.encoding) == expected
    for asked in ("frame", "csv", "read"):
        found, _ = read_user_table(fitted.encoding, dress(table, asked, tmp_path))
        assert np.array_equal(found.attributes.codes, fitted.attributes.codes, equal_nan=True), asked


@KINDS
def test_a_level_of_text_that_is_like_a_number_is_found_alone(dataset, tmp_path, kind):
    fitted, _ = fit_user_table(dataset, people(["1.10", "1.1", "beta", "2"]))
    asked = people(["1.10", "1.1", "2"])
    found, _ = read_user_table(fitted.encoding, dress(asked, kind, tmp_path))
    assert [levels(fitted.encoding)[int(code)] for code in found.attributes.codes[:, 0]] == asked.x.tolist()


@KINDS
def test_numbers_of_users_are_numbers_in_every_dress(dataset, tmp_path, kind):
    table = people([f"{20.5 + user:g}" for user in range(18)] + ["-", "NULL"])
    numbers = pd.DataFrame({"user_id": table.user_id, "x": pd.to_numeric(table.x, errors="coerce")})
    expected, _ = fit_user_table(dataset, numbers)
    fitted, _ = fit_user_table(dataset, dress(table, kind, tmp_path))
    assert fitted.encoding == expected.encoding and not levels(fitted.encoding)
    assert np.array_equal(fitted.attributes.codes, expected.attributes.codes, equal_nan=True)
    one, _ = read_user_table(fitted.encoding, dress(table.tail(2), kind, tmp_path))
    assert not one.attributes.some.any()


def test_a_decimal_comma_of_users_is_read(dataset, tmp_path):
    table = people([f"{20.5 + user:g}" for user in range(19)] + [""])
    expected, _ = fit_user_table(dataset, table)
    comma = table.assign(x=table.x.str.replace(".", ","))
    assert fit_user_table(dataset, dress(comma, "read", tmp_path))[0].encoding == expected.encoding


@pytest.mark.parametrize("mark", MISSING)
@KINDS
def test_what_stands_for_a_missing_value_is_no_level(dataset, tmp_path, kind, mark):
    for known in ("red", "007", "7"):
        table = people([known, f" {mark} " if kind == "frame" else mark])
        fitted, _ = fit_user_table(dataset, dress(table, kind, tmp_path))
        assert levels(fitted.encoding) == (known,)
        assert fitted.attributes.some.tolist() == [True, False] * 10


def test_a_number_is_a_level_that_is_written_with_zeros_where_only_one_is():
    encoding, _ = learn_encoding(pa.table({"x": ["05"] * 5 + ["12"] * 5 + ["07"] * 5 + ["7"] * 5}), "users")
    codes = encode(encoding, pa.table({"x": [5, 12, 7]}), "users")[0].codes[:, 0]
    assert codes.tolist() == [levels(encoding).index(level) for level in ("05", "12", "7")]
    assert np.isnan(encode(encoding, pa.table({"x": ["5"]}), "users")[0].codes).all()
    rare, _ = learn_encoding(pa.table({"x": ["5"] * 5 + ["05"]}), "users")
    assert np.isnan(encode(rare, pa.table({"x": ["05"]}), "users")[0].codes).all()


def test_numbers_too_large_for_a_mean_are_refused_by_name():
    for far in ([1e308, -1e308], [1e308, 1.5e308]):
        with pytest.raises(SchemaError, match="users: column 'income' holds numbers such as .*e\\+308, so large"):
            learn_encoding(pa.table({"income": far * 10, "age": [20.5] * 20}), "users")
    encoding, _ = learn_encoding(pa.table({"income": [1e30, 2e30] * 10}), "users")
    json.dumps(asdict(encoding), allow_nan=False)
    assert encode(encoding, pa.table({"income": [1.7e308, -1.7e308]}), "users")[0].codes[:, 0].tolist() == [4.0, -4.0]


def test_what_is_a_number():
    def kind(*texts: str) -> pa.DataType:
        return levels_or_numbers(pa.chunked_array([pa.array(texts, pa.large_string())])).type

    assert kind("1", " -2 ", "0", "n/a") == pa.int64()
    for texts in (["1", "2.50"], [".5", "5."], ["1e-05", "0.1"], ["1e+308"], ["1.0E10"], ["inf", "2.5"], ["-0.0"]):
        assert kind(*texts) == pa.float64(), texts
    for texts in (["01"], ["00.5"], ["+5"], ["1_000"], ["1E5"], ["1,5"], ["-"], ["0x1"], ["12345678901234567.5"], ["1", "a"]):
        assert kind(*texts) == pa.large_string(), texts


# ---------------------------------------------------------------------------------------- CSV files


def test_only_the_columns_that_are_named_keep_their_text(tmp_path):
    path = tmp_path / "events.csv"
    path.write_text("user_id,price,page,zip,day\n1,04,02,007,2024-01-01\n2,05,12,17,2024-01-02\n")
    table = read_plain(path, "events", list, lambda name: name in ("page", "day"))
    assert table["page"].to_pylist() == ["02", "12"] and table["zip"].to_pylist() == [7, 17]
    assert table["price"].to_pylist() == [4, 5] and table.schema.field("day").type == pa.date32()
    assert table.column_names == ["user_id", "price", "page", "zip", "day"]
    assert read_plain(path, "events", list)["page"].to_pylist() == [2, 12]


def test_a_text_far_down_in_a_column_of_numbers_is_read(dataset, tmp_path):
    rows = 200_000
    table = pd.DataFrame({"user_id": [f"u{row}" for row in range(rows)], "x": ["7", "8"] * (rows // 2 - 1) + ["-", "7A"]})
    fitted, _ = fit_user_table(dataset, dress(table, "csv", tmp_path))
    assert levels(fitted.encoding) == ("7", "8") and fitted.attributes.known[-3:, 0].tolist() == [True, False, False]


# ---------------------------------------------------------------------------------------- context


def shop(page: list[str]) -> pd.DataFrame:
    rows = [
        (f"u{user}", f"i{(user + step) % 5}", f"2024-01-{step + 1:02d}", page[(user + step) % len(page)])
        for user in range(10)
        for step in range(6)
    ]
    return pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp", "x"])


@KINDS
def test_context_is_heard_as_it_is_written(tmp_path, kind):
    table = shop(["02", "2", "11", "NULL"])
    fitted = build(dress(table, kind, tmp_path, "events"), context=["x"])[0]
    assert levels(fitted.context) == ("02", "11", "2")
    heard = [request_context(fitted.context, {"x": value})[0].codes[0, 0] for value in ("02", "11", "2", 2, 11)]
    assert heard == [0, 1, 2, 2, 1] and not request_context(fitted.context, {"x": "-"})[0].some.any()
    for asked in ("frame", "csv", "read"):
        later = events_for(fitted.catalogue, dress(table, asked, tmp_path, "events"), context=fitted.context)[0]
        assert np.array_equal(later.attributes[code_name("x")], fitted.attributes[code_name("x")], equal_nan=True)


@KINDS
def test_a_context_of_numbers_is_numbers(tmp_path, kind):
    table = shop([f"{degrees:.1f}" for degrees in np.linspace(-5, 30.3, 41)])
    fitted = build(dress(table, kind, tmp_path, "events"), context=["x"])[0]
    assert fitted.context == build(table.assign(x=table.x.astype(float)), context=["x"])[0].context
    assert np.array_equal(
        request_context(fitted.context, {"x": "7.5"})[0].codes, request_context(fitted.context, {"x": 7.5})[0].codes
    )


def test_text_of_items_is_no_context():
    table = shop(["a"]).rename(columns={"x": "title"})
    items = pd.DataFrame({"item_id": [f"i{item}" for item in range(5)], "title": "mug"})
    for given in (None, items):
        with pytest.raises(DataError, match="context: 'title' says what the item of an event is, which is not known when"):
            build(table, given, context=["title"])


# ---------------------------------------------------------------------------------------- files in other formats


@pytest.mark.parametrize(("separator", "encoding"), [(";", "utf-8"), (",", "latin-1"), (";", "latin-1"), ("\t", "utf-8")])
def test_a_table_of_users_in_another_format_is_read(dataset, tmp_path, separator, encoding):
    path = tmp_path / ("g.tsv" if separator == "\t" else "g.csv")
    people(["Köln", "01"]).rename(columns={"x": "title"}).to_csv(path, sep=separator, encoding=encoding, index=False)
    fitted, notes = fit_user_table(dataset, path)
    assert f"encoding {encoding}, separator {separator!r}" in notes[0]
    assert levels(fitted.encoding, "title") == ("01", "Köln")


def test_a_table_of_items_in_another_format_is_read(tmp_path):
    path = tmp_path / "items.csv"
    path.write_text("Artikelnr;Titel\ni0;a\ni1;b\ni2;c\ni3;d\ni4;e\n")
    assert build(shop(["a"]), path)[0].catalogue.column("title") == list("abcde")


def test_a_file_of_users_without_a_column_of_users_is_refused(tmp_path):
    path = tmp_path / "g.csv"
    path.write_text("shoe;price\n1;2\n")
    with pytest.raises(SchemaError, match="users: no column could be read as user_id"):
        read(path, "users")
    path.write_text("Kundennr;price;date\n1;2;heute\n")
    assert read(path, "users").table.to_pydict() == {"user_id": [1], "price": ["2"], "date": ["heute"]}
