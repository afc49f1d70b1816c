"""What is refused is refused with advice that leads on: the next call reads the file, or nothing is read wrongly."""

from __future__ import annotations

from datetime import datetime

import pyarrow as pa
import pytest

from llmrec.data.build import build
from llmrec.data.meanings import column_meanings
from llmrec.data.reading import detect, read
from llmrec.data.table_format import TableFormat, table_format
from llmrec.data.times import seconds, time_notes
from llmrec.errors import DataError, LlmrecError, SchemaError


@pytest.fixture
def file(tmp_path):
    """Writes a table; returns its path."""

    def write(text: str):
        path = tmp_path / "table.csv"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def of_numbers(values):
    return seconds(pa.chunked_array([pa.array(values)]))[0]


# ---------------------------------------------------------------------------------------- dates as digits

DIGITS = [
    ([3042026, 25042026], "03042026, which look like dates, DDMMYYYY;", "'%d%m%Y'"),
    ([4252026, 12312025], "04252026, which look like dates, MMDDYYYY;", "'%m%d%Y'"),
    ([3042026, 5042026], "DDMMYYYY or MMDDYYYY;", "'%d%m%Y' or '%m%d%Y'"),
    ([3042026, 13042026, 4132026, 5062026], "DDMMYYYY or MMDDYYYY;", "'%d%m%Y' or '%m%d%Y'"),
    ([260403, 260425], "260403, which look like dates, YYMMDD;", "'%y%m%d'"),
    ([*range(260_401, 260_410), 0], "YYMMDD", "zfill(6)"),
    ([733_000, 739_709], "733000, which look like days counted from the year 1", "719163"),
]


@pytest.mark.parametrize(("values", "said", "remedy"), DIGITS)
@pytest.mark.parametrize("kind", [int, float, str])
def test_dates_as_digits_in_another_order_are_no_seconds(values, said, remedy, kind):
    with pytest.raises(DataError) as caught:
        of_numbers([kind(value) for value in values])
    assert said in str(caught.value) and remedy in str(caught.value) and "write dates as 2026-04-03" in str(caught.value)


def test_dates_as_digits_in_a_file_are_no_seconds(file):
    path = file("user_id,item_id,timestamp\na,1,03042026\na,2,25042026\n")
    for open_it in (build, read):
        with pytest.raises(DataError, match=r"DDMMYYYY.*write dates as 2026-04-03"):
            open_it(path)


@pytest.mark.parametrize(
    "values",
    [
        [*range(260_401, 260_409), 0, 1],  # eight in ten
        [260403.5, 260425.5],
        list(range(250_000, 260_000)),
        list(range(0, 3_000_000, 3600)),
        [103_042_026, 125_042_026],  # nine digits: seconds of 1973
        [1_003_042_026, 1_725_042_026],
        [1_003_042_026_000, 1_725_042_026_000],
    ],
)
def test_seconds_and_orders_whose_digits_are_a_date_by_chance_stay(values):
    unit = 1000 if values[0] > 1e11 else 1
    assert of_numbers(values).tolist() == [value / unit for value in values]


def test_times_that_all_lie_before_1990_are_noted():
    def notes(values):
        column = pa.chunked_array([pa.array(values)])
        time, _ = seconds(column)
        return " ".join(time_notes(column, time, pa.chunked_array([["u"] * len(time)]), True))

    assert "all times are before 1990, such as 1975-03-04; is the unit right?" in notes(["1975-03-04", "1980-01-01"])
    assert "before 1990" in notes([170_000_000, 170_000_001]) and "before 1990" in notes(["17000", "17001"])
    assert "before 1990" not in notes(["1975-03-04", "1991-01-01"])


# ---------------------------------------------------------------------------------------- day and month


@pytest.mark.parametrize("clock", ["", " 10:00"])
def test_the_year_first_and_day_and_month_turned_is_two_orders(file, clock):
    path = file(f"user_id,item_id,timestamp\na,1,2026-04-03{clock}\na,2,2026-25-04{clock}\n")
    with pytest.raises(DataError, match=r"line 3.*'2026-25-04.*two orders are mixed.*--date-format ymd"):
        read(path)
    for table in (path, {"user_id": ["a"] * 2, "item_id": [1, 2], "timestamp": ["2026-04-03", f"2026-25-04{clock}"]}):
        with pytest.raises(DataError, match=r"'2026-25-04.*two orders are mixed.*%Y-%d-%m"):
            build(table)
    known = read(path, table_format=table_format(date_format="ymd"))
    assert known.table.column("timestamp").to_pylist()[1] is None


def test_the_year_first_with_other_signs_and_a_day_that_is_not_there(file):
    with pytest.raises(DataError, match="'2026/25/04'.*two orders"):
        read(file("user_id,item_id,timestamp\na,1,2026/04/03\na,2,2026/25/04\n"))
    assert read(file("user_id,item_id,timestamp\na,1,2026-04-03\na,2,2026-02-30\n")).steps[2].detail != ""


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("13-Apr-26", "Write the year with four digits"),
        ("Apr 13, 26 10:00", "Write the year with four digits"),
        ("Mon, 13 Apr 2026 10:00:00 +0000", "Take the weekday or zone name off"),
        ("13.04.2026 10:00 CET", "Take the weekday or zone name off"),
        ("2026-04-13 10:00 CEST", "Take the weekday or zone name off"),
        ("Mon, 13 Apr 26", "Take the weekday or zone name off. Write the year with four digits. "),
        ("gestern", ""),
        ("10:00", ""),
    ],
)
def test_dates_that_are_almost_readable_say_what_to_change(file, text, advice):
    with pytest.raises(DataError) as caught:
        read(file(f'user_id;item_id;timestamp\na;1;"{text}"\n'))
    message = str(caught.value)
    assert f"no value of the column is a date, such as {text!r}. {advice or 'Expected'}" in message
    assert ("Write" in message or "Take" in message) == bool(advice)


# ---------------------------------------------------------------------------------------- columns


def test_a_file_without_a_header_is_told_how_to_keep_its_first_line(file):
    path = file("u1,i1,2026-04-13x\nu2,i2,2026-04-14x\n")
    with pytest.raises(SchemaError, match="no column could be read as user_id.*columns not understood: 'u1', 'i1'") as caught:
        read(path)
    assert "say --names user_id,item_id,timestamp" in str(caught.value)
    with pytest.raises(SchemaError) as caught:
        column_meanings(["Kunde", "x", "Datum"], "events")
    assert "--names" not in str(caught.value) and '--columns "NAME IN THE FILE=item_id"' in str(caught.value)
    with pytest.raises(SchemaError, match="no column is left over"):
        column_meanings(["Kunde", "Datum"], "events")


@pytest.mark.parametrize(
    ("what", "names"),
    [("events", "user_id,item_id,timestamp"), ("items", "item_id, title, column3"), ("users", "user_id, column2, column3")],
)
@pytest.mark.parametrize("rows", ["1,2,3\n4,5,6\n", "u1,a b,x\nu2,c d,y\n"])
def test_a_file_without_a_header_is_told_the_names_of_its_own_table(file, what, names, rows):
    """The options --names and --skip-rows are for events alone: in the command they would change how the events are read."""
    with pytest.raises(LlmrecError) as caught:
        read(file(rows), what)
    assert names in str(caught.value)
    assert ("--names" in str(caught.value)) == (what == "events") == ("timestamp" in str(caught.value))


@pytest.mark.parametrize(("what", "remedy"), [("events", "--skip-rows 2"), ("items", "delete the lines above it")])
def test_lines_above_the_header_are_skipped_by_an_option_or_deleted(file, what, remedy):
    with pytest.raises(DataError, match=f"If the names stand in line 3, .*{remedy}"):
        read(file("Export 2026\n\nuser_id,item_id,timestamp,title\n" + "1,2,2026-04-13,a\n" * 3), what)


def test_an_option_that_is_not_needed_is_to_be_left_out():
    names = ["user_id", "item_id", "timestamp"]
    with pytest.raises(SchemaError, match="'user_id' is understood as it is; leave the option out"):
        column_meanings(names, "events", (("user", "user_id"),))
    with pytest.raises(SchemaError, match='The file\'s name comes first: "Art=item_id"'):
        column_meanings(["user_id", "Art", "Datum"], "events", (("item_id", "Art"),))


@pytest.mark.parametrize("value", ["3 Stk", "4/5", "80%"])
def test_a_column_that_cannot_be_read_can_be_left_out(file, value):
    path = file(f"Kunde;Artikel;Datum;Menge\na;1;13.04.2026;{value}\na;2;14.04.2026;{value}\n")
    with pytest.raises(DataError, match=rf"'{value}' is not a number.*read as quantity.*--columns \"Menge=\""):
        read(path)
    known = table_format(columns=["Menge="])
    assert known == TableFormat(left_out=("Menge",))
    found = read(path, table_format=known)
    assert found.table.column_names == ["user_id", "item_id", "timestamp"] and found.unread == ()
    assert any("'Menge': not read" in note for note in found.notes)
    assert read(path, table_format=detect(path, "events", known)).table.equals(found.table)
    both = table_format(columns=["Menge=,Artikel=item_id"])
    assert both.left_out == ("Menge",) and both.columns == (("Artikel", "item_id"),)
    with pytest.raises(SchemaError, match="'Mnge'.*Did you mean 'Menge'"):
        read(path, table_format=table_format(columns=["Mnge="]))


def test_a_column_of_items_is_left_out_with_the_option_of_items(file):
    path = file("Artikel;Titel;Preis\n1;a;auf Anfrage\n2;b;auf Anfrage\n")
    with pytest.raises(DataError, match='--item-columns "Preis="'):
        read(path, "items")
    assert read(path, "items", table_format(columns=["Preis="])).table.column_names == ["item_id", "title"]


def test_the_date_and_not_the_time_of_day_is_proposed():
    for names in (["Datum", "Uhrzeit"], ["Uhrzeit", "Datum"], ["time", "date"]):
        with pytest.raises(SchemaError, match=r"join the two in the export") as caught:
            column_meanings(["Kunde", "Artikel", *names], "events")
        assert f'"{next(name for name in names if name[0] in "Dd")}=timestamp"' in str(caught.value)
    with pytest.raises(SchemaError) as caught:
        column_meanings(["Kunde", "Artikel", "Bestelldatum", "Rechnungsdatum"], "events")
    assert "join" not in str(caught.value)


# ---------------------------------------------------------------------------------------- values


def test_dollars_of_the_united_states_are_a_currency(file):
    path = file("user_id,item_id,timestamp,price\na,1,2026-04-13,US$1.50\na,2,2026-04-14,us$ 2.25\n")
    assert read(path).table.column("price").to_pylist() == [1.5, 2.25]
    with pytest.raises(LlmrecError, match=r'two currencies.*--columns "price="'):
        read(file("user_id,item_id,timestamp,price\na,1,2026-04-13,US$1.50\na,2,2026-04-14,€2.25\n"))


def test_ids_written_as_formulas_are_ids(file):
    path = file('user_id;item_id;timestamp\n="007";="A1";2026-04-13\n"=""008""";5;2026-04-14\n')
    found = read(path)
    assert found.table.column("user_id").to_pylist() == ["007", "008"]
    assert found.table.column("item_id").to_pylist() == ["A1", "5"]
    assert 'user_id: 2 written as ="..."' in found.steps[1].detail
    assert found.table.column("timestamp").to_pylist()[0] in ("2026-04-13", datetime(2026, 4, 13))
