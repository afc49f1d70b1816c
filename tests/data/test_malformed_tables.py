"""Tables as people really export them: each is refused with its place and a remedy, or mended and counted. None is misread."""

from __future__ import annotations

import gzip
from datetime import datetime

import pytest

from llmrec.data.reading import read
from llmrec.data.table_format import table_format
from llmrec.errors import LlmrecError

HEAD = "Kundennr;Artikelnr;Datum;Preis\n"
ROW = "17;A1;13.04.2026;1,50\n"


def head(*rows: str) -> str:
    """A German table with these rows."""
    return HEAD + "".join(row + "\n" for row in rows)


REFUSED = {
    "a day or a month": (head("17;A1;03/04/2026;1,50"), {}, ["line 2", "'Datum'", "'03/04/2026'", "--date-format dmy or mdy"]),
    "a day or a month, with points": (head("17;A1;03.04.2026;1,50"), {}, ["line 2", "'Datum'", "--date-format"]),
    "a day or a year": (head("17;A1;25.04.26;1,50"), {}, ["'25.04.26'", "year/month/day", "--date-format dmy or ymd"]),
    "two orders of dates": (
        head("17;A1;13/01/2026;1", "18;A1;14/01/2026;1", "18;A1;01/15/2026;1"),
        {},
        ["line 4", "'Datum'", "'01/15/2026'", "two orders are mixed", "--date-format dmy"],
    ),
    "no dates": (head("17;A1;gestern;1,50"), {}, ["line 2", "'Datum'", "'gestern'", "ISO 8601", "--columns"]),
    "days of a spreadsheet": (
        head("17;A1;44201,5;1,50"),
        {},
        ["line 2", "'Datum'", "'44201,5'", "no value of the column is a date"],
    ),
    "two decimal signs": (
        head("17;A1;13.04.2026;1,50", "17;A2;13.04.2026;2.50"),
        {},
        ["line 2", "'Preis'", "'1,50'", "'2.50'", "--decimal"],
    ),
    "thousands or decimals": (head("17;A1;13.04.2026;1.234"), {}, ["line 2", "'Preis'", "'1.234'", "--decimal comma"]),
    "prices that are none": (
        head("17;A1;13.04.2026;auf Anfrage"),
        {},
        ["line 2", "'Preis'", "'auf Anfrage'", "price", "--columns"],
    ),
    "two currencies": (
        head("17;A1;13.04.2026;5 €", "17;A1;13.04.2026;$6"),
        {},
        ["line 2", "'Preis'", "two currencies", "'5 €'"],
    ),
    "ids that a spreadsheet shortened": (
        head(ROW.strip(), "17;4,00638E+12;13.04.2026;1,50"),
        {},
        ["line 3", "'Artikelnr'", "'4,00638E+12'", "as text"],
    ),
    "times that a spreadsheet shortened": (
        head("17;A1;1.71235E+12;1,50"),
        {},
        ["line 2", "'Datum'", "'1.71235E+12'", "different times may have become one", "as text"],
    ),
    "ids in a column too narrow": (head("####;A1;13.04.2026;1"), {}, ["line 2", "'Kundennr'", "too narrow", "Export"]),
    "no user": (
        "Kundin von;Artikelnr;Datum\n17;A1;2026-04-13\n",
        {},
        ["user_id (the user)", "'Kundin von'", '--columns "Kundin von=user_id"'],
    ),
    "two users": (
        "Kundennr;Mitgliedsnummer;Artikelnr;Datum\n1;2;A;2026-04-13\n",
        {},
        ["'Kundennr', 'Mitgliedsnummer'", "user_id", '--columns "Kundennr=user_id"'],
    ),
    "day and time apart": (
        "Kunde;Artikel;Datum;Uhrzeit\n1;A;2026-04-13;10:00\n",
        {},
        ["'Datum', 'Uhrzeit'", '"Datum=timestamp"'],
    ),
    "two ids of items": (
        '{"user_id":"u","asin":"a","sku":"b","timestamp":1}\n',
        {},
        ["'asin', 'sku'", '"asin=item_id"'],
    ),
    "a name twice": ("Kunde;Artikel;Datum;Datum\n1;A;2026-04-13;2026-04-14\n", {}, ["line 1", "'Datum'", "Rename"]),
    "no names": ("17;A1;2026-04-13\n18;A2;2026-04-14\n", {}, ["line 1", "'17'", "--names user_id,item_id,timestamp"]),
    "no names, with ::": ("1::1193::5::978300760\n", {}, ["line 1", "'1'", "--names"]),
    "nothing": ("", {}, ["is empty", "names of the columns"]),
    "blank lines": (" \n\n \n", {}, ["is empty"]),
    "a byte-order mark alone": ("\ufeff", {}, ["is empty"]),
    "names alone": (HEAD, {}, ["a header line but no readable row"]),
    "one column": ("Kunde\n1\n2\n", {}, ["'Kunde'", "--separator"]),
    "no separator": ("this is a letter\nand not a table, really\n", {}, ["'this is a letter'", "--separator", "--skip-rows"]),
    "two separators": ("a,b;c,d\n1,2;3,4\n5,6;7,8\n", {}, ["','", "';'", "--separator"]),
    "a wrong separator": (head(ROW.strip()), {"separator": "|"}, ["line 1", "one column only", "--separator"]),
    "lines above the names": (
        "Export vom 13.04.2026\n\n" + HEAD + ROW * 3,
        {},
        ["line 1", "1 name", "4 fields", "line 3", "--skip-rows 2"],
    ),
    "a field too many": (
        head(*["17;A1;13.04.2026;1,50;x"] * 2, *[ROW.strip()] * 5),
        {},
        ["line 2", "5 fields, expected 4", "--on-bad-rows skip"],
    ),
    "fields missing": (
        head(*[ROW.strip()] * 3, *["17;A1"] * 2),
        {},
        ["line 5", "2 fields, expected 4", "'17;A1'", "--on-bad-rows skip"],
    ),
    "a quote never closed": (
        head(*[ROW.strip(), '17;"A1;13.04.2026;1,50'] * 2),
        {},
        ["line 3", "never closed", "--on-bad-rows"],
    ),
    "text behind a quote": (
        head(*[ROW.strip(), '17;"12" disk";13.04.2026;1,50'] * 2),
        {},
        ["line 3", "behind a closing quote", "twice"],
    ),
    "backslashes before quotes": (
        head(*[ROW.strip(), '17;"12\\" disk";13.04.2026;1,50'] * 2),
        {},
        ["line 3", "behind a closing quote"],
    ),
    "a separator behind every row": (
        HEAD + "17;A1;13.04.2026;1,50;\n" * 3,
        {},
        ["line 1", "4 names", "5 fields", "Name every column"],
    ),
    "decimal commas between commas": (
        "user_id,item_id,date,price\n1,2,2026-04-13,1,50\n1,2,2026-04-13,2,50\n",
        {},
        ["line 1", "5 fields", "decimal comma"],
    ),
    "two encodings": (
        (HEAD + "1;Ü1;13.04.2026;1\n" * 3).encode() + "1;Ü1;13.04.2026;1\n".encode("latin-1"),
        {},
        ["line 5", "UTF-8", "export"],
    ),
    "Polish": (head("1;łóżko;13.04.2026;1").encode("cp1250"), {}, ["Line 2", "'łóżko' in cp1250", "--encoding"]),
    "Russian": (head("1;лампа;13.04.2026;1").encode("koi8_r"), {}, ["Line 2", "--encoding"]),
    "Traditional Chinese": (head("1;紅色茶杯;13.04.2026;1").encode("big5"), {}, ["Line 2", "'紅色茶杯' in big5", "--encoding"]),
    "German of DOS": (head("1;Größe;13.04.2026;1").encode("cp850"), {}, ["Line 2", "'Größe' in cp850", "--encoding"]),
    "French of a Mac": (head("1;café;13.04.2026;1").encode("mac_roman"), {}, ["Line 2", "'café' in mac_roman", "--encoding"]),
    "a wrong encoding": (
        head("1;Größe;13.04.2026;1").encode("latin-1"),
        {"encoding": "utf-8"},
        ["line 2", "utf-8", "--encoding"],
    ),
    "a wrong encoding at the beginning of a line": (
        head(ROW.strip(), "Ü7;A1;13.04.2026;1").encode("latin-1"),
        {"encoding": "utf-8"},
        ["line 3", "utf-8", "--encoding"],
    ),
    "UTF-16 cut off": (head(ROW.strip()).encode("utf-16")[:-1], {}, ["utf-16", "--encoding"]),
    "gzip cut off": (
        gzip.compress(head(ROW.strip()).encode())[:-9],
        {},
        ["cannot be unpacked", "cut off", "transfer it again"],
    ),
    "a workbook": (b"PK\x03\x04rest", {}, ["Excel workbook", "CSV UTF-8"]),
    "an old workbook": (b"\xd0\xcf\x11\xe0rest", {}, ["Excel workbook", "CSV UTF-8"]),
    "a PDF": (b"%PDF-1.7", {}, ["a PDF", "CSV"]),
    "a web page": ("\n<!DOCTYPE html><html>", {}, ["a web page", "CSV"]),
    "JSON whose ids change type": (
        '{"user_id":1,"item_id":"a","timestamp":1}\n{"user_id":"2","item_id":"a","timestamp":1}\n',
        {},
        ["line 2", "column 'user_id'", "the type changes", "of one type"],
    ),
    "JSON with a broken line": (
        '{"user_id":1,"item_id":"a","timestamp":1}\n{"user_id":2,\n{"user_id":3,\n',
        {},
        ["line 2", "not valid JSON", "--on-bad-rows"],
    ),
    "JSON that is no list of objects": ("[[1,2],[3,4]]", {}, ["no readable row"]),
    "a list of JSON cut off": ('[{"user_id":1,"item_id":2', {}, ["not valid JSON", "one object per line"]),
    "a column that is not there": (head(ROW.strip()), {"columns": ["Kdnr=user_id"]}, ["'Kdnr'", "Did you mean 'Kundennr'?"]),
    "a meaning that there is not": (head(ROW.strip()), {"columns": ["Kundennr=user"]}, ["'Kundennr'", "'user_id'"]),
    "names turned round": (
        "user_id;Art;Datum\n1;2;2026-04-13\n",
        {"columns": ["item_id=Art"]},
        ["'item_id'", "its columns are"],
    ),
    "names given for a file that has names": (
        head(ROW.strip()),
        {"names": "a,b,c,d", "columns": ["a=user_id,b=item_id,c=timestamp"]},
        ["line 1", "'Kundennr'", "--skip-rows 1"],
    ),
    "Chinese that is UTF-8 by chance": (
        "user_id,item_id,timestamp,size\n1,2,2026-04-13,小\n".encode("gbk"),
        {},
        ["line 2", "--encoding gbk"],
    ),
    "too few names given": ("17;A1;2026-04-13\n", {"names": "user_id,item_id"}, ["line 1", "3 fields, expected 2"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_table_that_cannot_be_read_for_sure_is_refused_with_its_place_and_a_remedy(tmp_path, name):
    content, options, said = REFUSED[name]
    path = tmp_path / "export.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(LlmrecError) as caught:
        read(path, "events", table_format(**options))
    message = str(caught.value)
    assert all(part in message for part in said), message
    assert "\n" not in message and len(message) < 700


def test_there_are_forty_of_them():
    assert len(REFUSED) >= 40


MENDED = {
    "one row in a hundred": (HEAD + ROW * 150 + "17;A1\n" + ROW, {}, "line 152: 2 fields, expected 4: '17;A1'", 151),
    "the names again, where two exports were joined": (
        HEAD + ROW * 75 + HEAD + ROW * 75,
        {},
        "line 77: the names of the columns again",
        150,
    ),
    "one row of a small table": (head(ROW.strip(), "17;A1", ROW.strip()), {}, "line 3: 2 fields, expected 4: '17;A1'", 2),
    "errors of a spreadsheet": (head("#REF!;A1;13.04.2026;1", ROW.strip()), {}, "Kundennr: 1 is an error of a spreadsheet", 2),
    "a price that is none": (head(ROW.strip(), "17;A1;13.04.2026;gratis"), {}, "'gratis', line 3, now unknown", 2),
    "a day that is not there": (
        head(ROW.strip(), "17;A1;31.02.2026;1"),
        {},
        "1 is not a date or time, such as '31.02.2026', line 3",
        2,
    ),
    "a time that is none among ISO": (
        "user;item;date\n1;2;2026-04-13\n1;2;soon\n",
        {},
        "1 is not a date or time, such as 'soon', line 3",
        2,
    ),
    "a minus behind": (head("17;A1;13.04.2026;1,50-"), {}, "Preis: 1 written with a decimal comma", 1),
    "a currency": (head("17;A1;13.04.2026;€ 1.200"), {"decimal": "comma"}, "Preis: 1 written with", 1),
    "JSON with a line that is none": (
        '{"user_id":1,"item_id":"a","timestamp":1}\n' * 150 + "...\n",
        {},
        "line 151: not valid JSON",
        150,
    ),
}


@pytest.mark.parametrize("name", MENDED)
def test_what_is_mended_is_counted_with_its_line(tmp_path, name):
    content, options, said, rows = MENDED[name]
    path = tmp_path / "export.csv"
    path.write_text(content, encoding="utf-8")
    found = read(path, "events", table_format(**options))
    steps = [step.detail for step in found.steps]
    assert any(said in detail for detail in steps), steps
    assert len(found.table) == rows
    assert found.steps[0].rows_in - found.steps[0].rows_dropped == rows == found.steps[1].rows_in


def test_values_of_mended_rows(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text(head("017;A1;13.04.2026;-1.200,50 €", "#N/A;A2;13.04.26 10:30;1,5-", "18;;31.02.2026;"), encoding="utf-8")
    table = read(path).table.select(["user_id", "item_id", "timestamp", "price"])
    assert table.to_pylist() == [
        {"user_id": "017", "item_id": "A1", "timestamp": datetime(2026, 4, 13), "price": -1200.5},
        {"user_id": None, "item_id": "A2", "timestamp": datetime(2026, 4, 13, 10, 30), "price": -1.5},
        {"user_id": "18", "item_id": None, "timestamp": None, "price": None},
    ]


def test_a_broken_row_takes_no_other_along(tmp_path):
    rows = [
        ROW.strip(),
        '1;"open;13.04.2026;1',
        ROW.strip(),
        '1;"a "b" c";13.04.2026;1',
        ROW.strip(),
        "",
        "   ",
        "x",
        '2;"two\nlines";13.04.2026;2',
        ROW.strip(),
    ]
    path = tmp_path / "x.csv"
    path.write_text(head(*rows), encoding="utf-8")
    found = read(path, on_bad_rows="skip")
    assert [row.line for row in found.broken] == [3, 5, 9]
    assert found.table.column("item_id").to_pylist() == ["A1", "A1", "A1", "two\nlines", "A1"]
    with pytest.raises(LlmrecError, match="line 3: a quote"):
        read(path, on_bad_rows="error")


def test_rows_that_are_few_are_left_out_and_more_are_an_error(tmp_path):
    path = tmp_path / "x.csv"
    for count, bad in ((198, 2), (197, 3)):
        path.write_text(HEAD + ROW * count + "broken\n" * bad, encoding="utf-8")
        if bad == 2:
            assert len(read(path).broken) == 2
        else:
            with pytest.raises(LlmrecError, match=r"line 199.*3 of 200 rows are broken"):
                read(path)
    path.write_text(HEAD + ROW * 1000 + "broken\n", encoding="utf-8")
    with pytest.raises(LlmrecError, match="line 1,002"):
        read(path, on_bad_rows="error")
