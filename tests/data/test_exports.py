"""Tables as shops export them: a plain CSV file is read in Python as in the command, ids lose what nobody sees, what may be two
things is refused, and what only looks wrong is said."""

from __future__ import annotations

from datetime import date, datetime

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmrec.data.build import build
from llmrec.data.changes import read_values
from llmrec.data.clean import Cleaning
from llmrec.data.files import MISSING
from llmrec.data.ids import Ids
from llmrec.data.reading import read
from llmrec.data.table_format import TableFormat
from llmrec.errors import DataError, DataLossWarning, SchemaError

TIMES = ["2026-01-01T10:00", "2026-01-02T10:00", "2026-01-03T10:00"]


@pytest.fixture
def write(tmp_path):
    def write(names: str, *rows: str):
        path = tmp_path / "orders.csv"
        path.write_text("".join(f"{row}\n" for row in (names, *rows)), encoding="utf-8")
        return path

    return write


def events(**columns) -> dict:
    return {"user_id": ["u1", "u2", "u3"], "item_id": ["a", "b", "c"], "timestamp": TIMES} | columns


def said(report) -> str:
    return "\n".join([*(f"{step.name}: {step.detail}" for step in report.steps), *report.notes])


# ---------------------------------------------------------------------------------------- in Python as in the command


@pytest.mark.parametrize(
    ("written", "ids", "mark"),
    [
        (['"=""007"""', '="A2"', "B3"], ["007", "A2", "B3"], '="..."'),
        (["'007", "'008", "A3"], ["007", "008", "A3"], "'..."),
        (["#REF!", "A2", "A3"], ["A2", "A3"], "an error of a spreadsheet"),
    ],
)
@pytest.mark.filterwarnings("ignore::llmrec.errors.DataLossWarning")
def test_ids_of_a_plain_file_are_not_what_a_spreadsheet_put_around_them(write, written, ids, mark):
    path = write("user_id,item_id,timestamp", *(f"{one},i,2026-01-0{day}" for day, one in enumerate(written, 1)))
    dataset, report = build(path)
    assert dataset.users.values == ids and mark in said(report)


@pytest.mark.parametrize(
    ("column", "shown", "why"),
    [
        ("user_id", "####", "a column too narrow to show"),
        ("timestamp", "####", "a column too narrow to show"),
        ("timestamp", "1.71235E+12", "a long number that a spreadsheet has shortened"),
    ],
)
def test_what_a_spreadsheet_shows_of_several_values_is_refused_in_python_as_in_the_command(write, column, shown, why):
    row = {"user_id": "u", "timestamp": "1700000000", column: shown}
    path = write("user_id,item_id,timestamp", f"{row['user_id']},a,{row['timestamp']}")
    for reading in (build, read):
        with pytest.raises(DataError) as caught:
            reading(path)
        assert f"line 2, column '{column}': '{shown}' is {why}" in str(caught.value)


def test_dates_and_prices_of_a_plain_file_are_read_as_people_write_them(write):
    rows = ('u1,a,1/31/2026 1:05 PM,"$1,234.50"', "u2,b,2/1/2026 12:05 AM,7")
    dataset, report = build(write("user_id,item_id,timestamp,price", *rows))
    assert (dataset.time % 86_400 // 3600).tolist() == [13, 0]
    assert dataset.attributes["price"].tolist() == [1234.5, 7] and "month, day, year" in said(report)
    items = write("item_id,title,price", 'a,Mug,"1,234.50"', "b,Tent,9", "c,Lamp,")
    assert build(events(), items)[0].catalogue.table["price"].to_pylist()[:2] == [1234.5, 9]


def test_a_date_of_a_plain_file_that_may_be_two_is_refused(write):
    with pytest.raises(DataError, match=r"line 3, column 'timestamp': '03/04/2026' may be day/month/year"):
        build(write("user_id,item_id,timestamp", "u1,a,2026-01-01", "u2,b,03/04/2026"))


def test_names_in_another_language_do_not_hide_what_is_wrong_below_them(write):
    with pytest.raises(DataError, match="'03/04/2026' may be day/month/year"):
        build(write("Kunde,Artikel,Datum", "u1,a,03/04/2026"))


def test_new_prices_alone_are_read_from_any_file_and_leave_the_titles(write):
    known = build(events(), {"item_id": ["a", "b", "c"], "title": ["Mug", "Tent", "Lamp"], "text": ["red"] * 3})[0].catalogue
    german = "Artikelnummer;Preis;text", "a;3,00;blue", "b;;grey"
    for rows in (("item_id,price,text", "a,$3,blue", "b,on request,grey"), german):
        place, values, _ = read_values(known, write(*rows), None, Cleaning())
        assert place.tolist() == [0, 1] and sorted(values.column_names) == ["price", "text"]
        assert values["price"][0].as_py() == 3 and values["text"].to_pylist() == ["blue", "grey"]


def test_a_column_is_left_out_in_python_as_the_message_says(write):
    path = write("user_id,item_id,timestamp,price", "u1,a,2026-01-01,cheap", "u2,b,2026-01-02,dear")
    with pytest.raises(DataError, match=r'--columns "price=".*in Python --columns A=b is columns='):
        build(path)
    for table in (path, events(price=["cheap", "dear", None]), pd.DataFrame(events(price=["cheap", "dear", None]))):
        dataset, report = build(table, columns={"price": ""})
        assert "price" not in dataset.attributes and "'price': not read" in said(report)
    items = {"item_id": ["a", "b"], "title": ["Mug", "Tent"], "price": ["cheap", "dear"]}
    assert build(path, items, {"price": ""}, {"price": ""})[0].catalogue.table.column_names == ["item_id", "title"]


def test_a_plain_file_of_reviews_lends_no_item_their_title(write):
    path = write("rating,title,text,parent_asin,user_id,timestamp,helpful_vote", "5,Nice,Very,007,u1,1700000000,1")
    dataset, _ = build(path)
    assert dataset.catalogue.table["title"].to_pylist() == ["item 007"] and dataset.attributes["rating"].tolist() == [5]


def test_true_and_false_are_one_and_zero_in_every_file(write):
    for row in ("u{},i{},2026-01-0{},{}", "u{};i{};2026-01-0{};{}"):
        rows = [row.format(day, day, day, flag) for day, flag in enumerate(("True", "False", "NA"), 1)]
        path = write("user_id,item_id,timestamp,rating".replace(",", row[3]), *rows)
        for table in (path, read(path).table):
            rating = build(table)[0].attributes["rating"].tolist()
            assert rating[:2] == [1, 0] and rating[2] != rating[2]


# ---------------------------------------------------------------------------------------- where the table begins, and its ids


def test_a_title_row_with_separators_above_the_names_is_told_from_names(write):
    path = write("Sales 2026,,", ",,", "user_id,item_id,timestamp", "u1,a,2026-01-01", "u2,b,2026-01-02")
    for reading in (build, read):
        with pytest.raises(DataError, match=r"line 1: begins with 'Sales 2026'.* line 3: say --skip-rows 2"):
            reading(path)
    with pytest.raises(DataError, match="delete the lines above it"):
        read(write("Items,", "item_id,title", "a,Mug"), "items")


def test_values_that_are_also_names_of_columns_are_no_header(write):
    items = write("sku;label;note", "1;Title;Price", "2;Category;Brand")
    with pytest.raises(DataError, match="the names of the columns stand in line 2"):
        read(items, "items")
    told = TableFormat(columns=(("label", "title"),))
    assert read(items, "items", told).table["title"].to_pylist() == ["Title", "Category"]
    users = write("user_id;segment;reason", "u1;price;brand", "u2;rating;date")
    assert read(users, "users").table["segment"].to_pylist() == ["price", "rating"]


def test_a_row_of_groups_above_the_names_and_lines_in_quotes_are_told(write):
    with pytest.raises(DataError, match="line 1: begins with 'Customer'.* stand in line 2: say --skip-rows 1"):
        read(write("Customer,,Order,", "user_id,name,item_id,timestamp", "u1,Ann,a,2026-01-01"))
    for reading in (build, read):
        with pytest.raises(DataError, match="each line is one text in quotes.* outer quotes off"):
            reading(write('"user_id,item_id,timestamp"', '"u1,a,2026-01-01"'))


def test_rows_of_empty_cells_above_the_names_are_blank_lines(write):
    path = write(",,,", ",user_id,item_id,timestamp", ",u1,a,2026-01-01", ",,,")
    assert read(path).table.column("user_id").to_pylist() == ["u1", None]
    with pytest.warns(DataLossWarning):
        assert build(path, columns={"user_id": "user_id"})[0].users.values == ["u1"]


def test_the_parts_of_a_date_are_not_read_one_alone_unless_a_person_says_so(write):
    path = write("user_id,item_id,year,month,day", "u1,a,2026,1,31", "u1,b,2026,2,1")
    for reader in (read, build):
        with pytest.raises(DataError, match="'year', 'month', 'day' are parts of a date") as caught:
            reader(path)
        assert '--columns "day=timestamp"' in str(caught.value)
    assert read(path, table_format=TableFormat(columns=(("day", "timestamp"),))).table.num_rows == 2
    assert read(write("user_id,item_id,day", "u1,a,2026-01-31")).table.num_rows == 1


@pytest.mark.parametrize("rows", [("2026-01-31,2026-01", "2026-02-01,2026-02"), ("90,1", "711,24")])
def test_a_day_that_is_a_whole_date_or_counted_on_is_read_beside_its_month(write, rows):
    path = write("user_id,item_id,day,month", *(f"u1,{item},{row}" for item, row in zip("ab", rows, strict=True)))
    assert np.diff(build(path)[0].time).item() > 0


def test_no_name_is_guessed_from_the_few_letters_of_another_script():
    with pytest.raises(SchemaError, match="no column 'user_id'") as caught:
        build({"用户ID": ["u"], "商品ID": ["a"], "时间": TIMES[:1]})
    assert "Did you mean" not in str(caught.value)
    with pytest.raises(SchemaError, match="Did you mean 'Käufer-ID'"):
        build({"Käufer-ID": ["u"], "item_id": ["a"], "timestamp": TIMES[:1]})


def test_a_title_is_offered_as_id_where_nothing_else_is_one(write):
    with pytest.raises(SchemaError, match=r'can be the id\. .*--columns "product_name=item_id"'):
        read(write("order_id,customer_id,product_name,order_date", "1,u1,Mug,2026-01-01"))


@pytest.mark.parametrize(
    "around", ["\u200e{}", "{}\u202c", "\u2060{}\u200b", "\u00ad{}", "\ufeff {}\0", "\u200f \u200b{} \u200d"]
)
def test_signs_that_nobody_sees_around_an_id_are_taken_off(around):
    dataset, report = build(events(user_id=[around.format("u1"), "u1", "u2"]))
    signs = "zero bytes" if "\0" in around else "unseen signs"
    assert dataset.users.values == ["u1", "u2"] and f"user_id: 1 {signs} around taken off" in said(report)
    assert Ids(["x", "u1"]).find([around.format("u1")]).tolist() == [1]


@pytest.mark.parametrize("other", ["a\u200b1", "\uff211", "A1", "'a1", "a1.0"])
@pytest.mark.filterwarnings("ignore::llmrec.errors.DataLossWarning")
def test_an_id_that_only_looks_like_the_catalogues_is_named(other):
    _, report = build(events(item_id=["b", "b", other]), {"item_id": ["a1", "b"], "title": ["Mug", "Tent"]})
    assert f"{other!r} is not the catalogue's 'a1', but looks like it" in said(report)


def test_ids_with_and_without_a_fraction_are_said_to_be_two():
    _, report = build(events(user_id=["17850.0", "17850", "13047"]))
    assert "user_id: 1 such as '17850.0' are other ids than those without .0" in said(report)
    assert "without .0" not in said(build(events(user_id=["1.0", "2", "A"]))[1])


# ---------------------------------------------------------------------------------------- missing values


def test_the_mark_of_a_missing_title_is_no_title_where_others_are_known():
    mark = {"title": ["NA", "NA", "Mug"], "item_id": ["a"] * 3}
    assert build(events(**mark))[0].catalogue.table["title"].to_pylist() == ["Mug"]
    alone, report = build(events(title=["None", "Tent", "Mug"]))
    assert alone.catalogue.table["title"].to_pylist() == ["item a", "Tent", "Mug"] and "1 written as 'None'" in said(report)
    for none in ("null", "(null)", "[NULL]"):
        assert none in MISSING
        items = {"item_id": ["a", "b", "c"], "title": [none, none, "Mug"], "text": [none, "a tent", ""], "category": [none] * 3}
        assert build(events(), items)[0].catalogue.table["title"].to_pylist() == ["item a", "a tent", "Mug"]


def test_marks_of_missing_texts_and_categories_are_null_and_counted_and_those_of_names_are_said():
    items = {
        "item_id": ["a", "b", "c"],
        "title": ["Mug"] * 3,
        "text": ["N/A", "a tent", None],
        "category": ["tools", "null", "-"],
    }
    dataset, report = build(events(scene=["NA", "EU", "EU"], event_type=["buy", "buy", "None"]), items)
    assert dataset.catalogue.table["text"].to_pylist() == [None, "a tent", None]
    assert dataset.catalogue.table["category"].to_pylist() == ["tools", None, None]
    for counted in ("text: mark of a missing value 1", "category: mark of a missing value 2"):
        assert counted in said(report)
    assert dataset.scenes == ("EU", "NA") and "scene: 1 are texts such as 'NA', kept as names" in said(report)
    assert "event_type: 1 are texts such as 'None'" in said(report)


def test_titles_that_are_not_the_items_are_noted():
    differing = events(item_id=["a"] * 3, name=["Ann", "Bob", "Eve"])
    assert "such as 'Ann' and 'Bob' of 'a': if these are not the items'" in said(build(differing)[1])
    renamed = events(item_id=["a"] * 3, name=["Mug", "Red mug", "Red mug"])
    assert "if these are not" not in said(build(renamed)[1])


# ---------------------------------------------------------------------------------------- frames and folders


@pytest.mark.parametrize("turned", [False, True])
def test_days_beside_times_are_refused_and_lose_no_time_of_day(turned):
    moments = [date(2026, 1, 1), datetime(2026, 1, 2, 10), pd.NaT][:: -1 if turned else 1]
    with pytest.raises(SchemaError, match="column 'timestamp' mixes .*date"):
        build(events(timestamp=moments))
    with pytest.warns(DataLossWarning):
        assert build(events(timestamp=[date(2026, 1, 1), pd.NaT, date(2026, 1, 3)]))[0].n_events == 2


def test_whole_numbers_of_128_bits_are_refused_by_name():
    frame = pl.DataFrame(events()).with_columns(pl.Series("user_id", [1, 2, 3], dtype=pl.Int128))
    with pytest.raises(SchemaError, match="column 'user_id' holds whole numbers of 128 bits"):
        build(frame)


def test_a_list_of_files_is_refused_with_how_to_join_them():
    with pytest.raises(SchemaError, match=r"list of str, expected one table; join several by pandas\.concat"):
        build(["a.csv", "b.csv"])


def test_files_of_a_folder_that_differ_in_the_type_of_an_id_are_refused(tmp_path):
    for name, ids in (("1.parquet", [1, 2, 3]), ("2.parquet", ["007", "8", "9"])):
        pq.write_table(pa.table(events(user_id=ids)), tmp_path / name)
    with pytest.raises(
        DataError, match="column 'user_id' is int64 in '1.parquet' and string in '2.parquet', expected one type"
    ):
        build(tmp_path)


def test_rows_of_dicts_have_the_columns_that_any_of_them_has():
    rows = [
        {"user_id": "u1", "item_id": "a", "timestamp": 1.7e9},
        {"user_id": "u2", "item_id": "b", "timestamp": 1.7e9, "price": 3},
    ]
    assert build(rows)[0].attributes["price"].tolist()[1] == 3


def test_values_that_are_no_column_and_ids_that_lost_digits_are_said_in_words(tmp_path):
    with pytest.raises(SchemaError, match="column 'item_id' holds values of the type ndarray, expected one type: text"):
        build(events(item_id=np.array([["a"], ["b"], ["c"]])))
    path = tmp_path / "events.jsonl"
    path.write_text('{"user_id": 12345678901234567890, "item_id": "a", "timestamp": 1}\n')
    with pytest.raises(SchemaError, match=r"got floats such as 1\.2345678901234567e\+19; write them as text"):
        build(path)
    path.write_text('{"user_id": "u", "item_id": "a", "timestamp": 1},\n')
    with pytest.raises(DataError, match=r"no line holds an object \(line 1: not valid JSON \(Extra data"):
        build(path)
