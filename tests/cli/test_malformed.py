"""Malformed tables in the command `llmrec check`: each is an error with its place and a remedy, or a repair that is counted."""

from __future__ import annotations

import gzip
import json
import re

import pytest
from click.testing import CliRunner

from llmrec.cli import main
from llmrec.data.build import build
from llmrec.data.reading import read
from llmrec.recommender.settings import Settings

NAMES = "user_id,item_id,timestamp,price,title\n"
ROW = "u{0},i{0},2026-04-0{0} 10:00,1.50,mug {0}\n"
ROWS = "".join(ROW.format(number) for number in range(1, 7))
ITEMS = "item_id,title,price\n" + "".join(f"i{number},mug {number},1.50\n" for number in range(1, 7))


def times(*values: str) -> str:
    """Events of these timestamps."""
    return "user_id,item_id,timestamp\n" + "".join(f"u{n},i{n},{value}\n" for n, value in enumerate(values, 1))


def prices(*values: str) -> str:
    """Events of these prices."""
    rows = "".join(f'u{n},i{n},2026-04-0{n},"{value}"\n' for n, value in enumerate(values, 1))
    return "user_id,item_id,timestamp,price\n" + rows


def check(folder, events, items=None, *options):
    paths = []
    for name, content in (("events.csv", events), ("items.csv", items)):
        if content is not None:
            paths.append(folder / name)
            paths[-1].write_bytes(content if isinstance(content, bytes) else content.encode())
    return CliRunner().invoke(main, ["check", *map(str, paths), "--json", *options])


# events, items, what the error says: where, and what to do
REFUSED = {
    "days of a spreadsheet": (times("44201", "44202.5"), None, ["line 2, column 'timestamp'", "44201", "2026-04-03"]),
    "years alone": (times("2024", "2025"), None, ["line 2, column 'timestamp'", "look like years", "2026-04-03"]),
    "months alone": (times("202401", "202402"), None, ["line 2, column 'timestamp'", "months, YYYYMM"]),
    "day, month and year as digits": (times("03042026", "25042026"), None, ["line 2, column 'timestamp'", "DDMMYYYY"]),
    "ticks of .NET": (times("638450000000000000"), None, ["line 2, column 'timestamp'", "ticks of .NET", "us"]),
    "seconds and milliseconds": (
        times("1700000000", "1700000001", "1700000000000"),
        None,
        ["line 4, column 'timestamp'", "mixes units", "unit"],
    ),
    "times of day alone": (times("10:00", "11:30"), None, ["line 2, column 'timestamp'", "'10:00'", "--columns"]),
    "years of two digits": (times("26-04-01", "26-04-02"), None, ["line 2", "'26-04-01'", "--date-format dmy or ymd"]),
    "years of two digits behind": (times("13-Apr-26"), None, ["line 2, column 'timestamp'", "four digits"]),
    "names of zones": (times("13.04.2026 10:00 CET"), None, ["line 2", "zone name off"]),
    "shares": (prices("50%", "20%"), None, ["line 2, column 'price'", "'50%'", '--columns "price="']),
    "thousands or decimals": (prices("1,234", "2,345"), None, ["line 2, column 'price'", "--decimal comma or --decimal point"]),
    "two decimal signs": (prices("1,50", "2.50"), None, ["line 2, column 'price'", "'2.50'", "--decimal"]),
    "two currencies": (prices("$5.00", "£6.00"), None, ["line 2, column 'price'", "'£6.00'", "in the export"]),
    "units behind": (prices("3 Stk", "2 Stk"), None, ["line 2, column 'price'", "'3 Stk'", '--columns "price="']),
    "shortened ids": (
        "user_id,item_id,timestamp\n12,7,2026-04-01\n1.2E+11,8,2026-04-02\n",
        None,
        ["line 3, column 'user_id'", "'1.2E+11'", "as text"],
    ),
    "no value of a user": (times("2026-04-01").replace("u1", ""), None, ["user_id: 1 missing", "no row has user_id"]),
    "two users": (
        "customer_id,member_id,item_id,timestamp\n1,2,3,2026-04-01\n",
        None,
        ["'customer_id', 'member_id'", '--columns "customer_id=user_id"'],
    ),
    "a name twice": (
        "user_id,item_id,timestamp,timestamp\nu,a,2026-04-01,2026-04-02\n",
        None,
        ["line 1", "several columns are named 'timestamp'", "Rename"],
    ),
    "a comma behind each row": (
        "user_id,item_id,timestamp\nu,a,2026-04-01,\nu,b,2026-04-02,\n",
        None,
        ["line 1", "3 names", "4 fields", "Name every column"],
    ),
    "a comment above": ("# of the shop\n" + times("2026-04-01", "2026-04-02"), None, ["line 1", "line 2", "--skip-rows 1"]),
    "no names": ("17,3,2026-04-01\n18,4,2026-04-02\n", None, ["line 1", "'17'", "--names user_id,item_id,timestamp"]),
    "columns of fixed width": (
        "user_id   item_id   timestamp\nu1        a         2026-04-01\nu2        b         2026-04-02\n",
        None,
        ["no separator", "'user_id   item_id   timestamp'", "--separator"],
    ),
    "a page of the web": ("<table><tr><td>user_id</td></tr></table>", None, ["a web page", "export a table as CSV"]),
    "a workbook under another name": (b"PK\x03\x04\x14\x00\x06\x00", None, ["an Excel workbook", "CSV UTF-8"]),
    "a packed file cut off": (gzip.compress((NAMES + ROWS).encode())[:-12], None, ["cannot be unpacked", "transfer it again"]),
    "Parquet under another name": (b"PAR1\x00\x00", None, ["a Parquet file", "name it .parquet"]),
    "an empty file": ("", None, ["is empty", "names of the columns"]),
    "names alone": (NAMES, None, ["a header line but no readable row"]),
    "two encodings": (
        (NAMES + "u,i,2026-04-01,1,Größe\n" * 3).encode() + "u,j,2026-04-01,1,Größe\n".encode("latin-1"),
        None,
        ["line 5", "Two encodings", "as UTF-8"],
    ),
    "Cyrillic": ((NAMES + "u,i,2026-04-01,1,лампа\n").encode("cp1251"), None, ["Line 2", "--encoding"]),
    "JSON whose users change type": (
        '{"user_id":1,"item_id":"a","timestamp":1700000000}\n{"user_id":"2","item_id":"a","timestamp":1700000000}\n',
        None,
        ["line 2, column 'user_id'", "the type changes", "all as text or all as numbers"],
    ),
    "an item twice": (NAMES + ROWS, ITEMS + "i1,cup,1.50\n", ["'i1'", "rows that differ", "--on-duplicate first"]),
    "items without a title": (NAMES + ROWS, "item_id,colour\ni1,red\n", ["title", "'colour'", "--item-columns"]),
    "two titles": (
        NAMES + ROWS,
        "item_id,product_name,item_name\ni1,red,r\n",
        ["'product_name', 'item_name'", '--item-columns "product_name=title"'],
    ),
    "items without names": (NAMES + ROWS, "1,mug\n2,cup\n", ["items", "line 1", "Write the names above the rows"]),
    "items of other events": (NAMES + ROWS, "item_id,title\n1,mug\n2,cup\n", ["no item_id is in items", "both are str"]),
    "two currencies of items": (
        NAMES + ROWS,
        "item_id,title,price\ni1,a,$1\ni2,b,€2\n",
        ["items", "line", "'price'", "currencies"],
    ),
    "ranges of prices": (
        NAMES + ROWS,
        "item_id,title,price\ni1,a,1 - 2\ni2,b,3 - 4\n",
        ["line 2", "'1 - 2'", "--item-columns"],
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_with_its_place_and_a_remedy(tmp_path, name):
    events, items, said = REFUSED[name]
    found = check(tmp_path, events, items)
    assert found.exit_code == 2 and found.stdout == "", found.output
    message = found.stderr.strip().splitlines()[0]
    assert message.startswith("Error: ") and all(part in message for part in said), message


# events, items, what the report says, how many events are left
MENDED = {
    "rows that are short": (times("2026-04-01", "2026-04-02") + "u,i\n" * 2, None, "line 4: 2 fields, expected 3.*; line 5", 2),
    "a row of totals": (NAMES + ROWS + "Total,,,9.00,\n", None, "missing values.*item_id: 1; timestamp: 1", 6),
    "the names again": (NAMES + ROWS + NAMES + ROWS, None, "line 8: the names of the columns again", 6),
    "a line at the end": (NAMES + ROWS + "(6 rows affected)\n", None, "line 8: 1 field, expected 5", 6),
    "a rule under the names": (
        times("---", "2026-04-01", "2026-04-02"),
        None,
        "1 is not a date or time, such as '---', line 2",
        2,
    ),
    "a quote left open": (NAMES + 'u9,"i9,2026-04-09,1,x\n' + ROWS, None, 'line 2: a quote " that is never closed', 6),
    "a comma in a title": (NAMES + "u9,i9,2026-04-09,1,red, mug\n" + ROWS, None, "line 2: 6 fields, expected 5", 6),
    "hours up to 24": (times("2026-04-01 24:00:00", *["2026-04-02 10:00"] * 5), None, "'2026-04-01 24:00:00', line 2", 5),
    "a day that is not there": (times("2026-02-30", *["2026-04-02"] * 5), None, "'2026-02-30', line 2", 5),
    "zeros for a date": (times("0000-00-00", *["2026-04-02"] * 5), None, "'0000-00-00', line 2", 5),
    "a time far ahead": (times("9999-12-31", "2026-04-02"), None, "1 timestamp far in the future, up to 9999-12-31", 2),
    "a time long ago": (times("0001-01-01", "2026-04-02"), None, "1 timestamp before 1980, from 0001-01-01", 2),
    "a share among prices": (prices("50", "20%"), None, "'20%', line 3, now unknown", 2),
    "a number in brackets": (prices("(5.00)", "6.00"), None, r"'\(5.00\)', line 2, now unknown", 2),
    "thousands": (prices("1,234.50", "2,345.00"), None, "price: 2 written with thousands separators", 2),
    "decimal commas": (prices("1,50", "2,25"), None, "price: 2 written with a decimal comma", 2),
    "an infinite price": (prices("inf", "6.00"), None, "'inf', line 2, now unknown", 2),
    "a number of another kind": (prices("0x10", "6.00"), None, "'0x10', line 2, now unknown", 2),
    "an error of a spreadsheet": (times("#REF!", "2026-04-01", "2026-04-02"), None, "timestamp: 1", 2),
    "spaces and zero bytes around ids": (
        times("2026-04-01", "2026-04-02").replace("u1", " u1\0"),
        None,
        "zero bytes around taken off",
        2,
    ),
    "white space around ids": (
        times("2026-04-01", "2026-04-02").replace("u1", "\tu1 "),
        None,
        "1 white space around taken off",
        2,
    ),
    "ids as a spreadsheet keeps them": (
        times("2026-04-01", "2026-04-02").replace("u1", '="007"'),
        None,
        r'1 written as ="\.\.\." for a spreadsheet',
        2,
    ),
    "whole numbers with a point": (
        "user_id,item_id,timestamp\n7.0,1.0,2026-04-01\n8.0,2.0,2026-04-02\n",
        None,
        "user_id: 2 floats to int; item_id: 2 floats to int",
        2,
    ),
    "equal rows of items": (NAMES + ROWS, ITEMS + "i1,mug 1,1.50\n", "duplicated ids", 6),
    "items without a value of the title": (NAMES + ROWS, ITEMS.replace("mug 1", ""), "missing titles.*1 from the id", 6),
    "prices of items in words": (
        NAMES + ROWS,
        ITEMS.replace("mug 1,1.50", "mug 1,on request"),
        "'on request', line 2, now unknown",
        6,
    ),
    "a title of 100,000 letters": (NAMES + ROWS + f"u9,i9,2026-04-09,1,{'x' * 100_000}\n", None, "title: capped 1", 7),
    "tags in a title": (NAMES + ROWS.replace("mug 1", "<b>mug</b> &amp; cup"), None, "title: html 1", 6),
    "text that was encoded twice": (NAMES + ROWS.replace("mug 1", "GrÃ¼n"), None, "encoded twice", 6),
}


@pytest.mark.parametrize("name", MENDED)
@pytest.mark.filterwarnings("ignore::llmrec.errors.DataLossWarning")
def test_it_is_mended_and_counted(tmp_path, name):
    events, items, said, left = MENDED[name]
    found = check(tmp_path, events, items)
    assert found.exit_code == 0, found.output
    facts = json.loads(found.stdout)
    steps = [f"{step['name']} {step['rows_dropped']} {step['detail']}" for step in facts["cleaning"]["steps"]]
    report = "\n".join([*steps, *facts["cleaning"]["notes"]])
    assert re.search(said, report), report
    assert facts["left"]["events"] == left


def test_there_are_forty_and_more():
    assert len(REFUSED) + len(MENDED) >= 60


def test_what_looks_odd_and_is_right_is_read_as_it_stands(tmp_path):
    for content, users in (
        ("\ufeff" + times("2026-04-01", "2026-04-02"), ["u1", "u2"]),  # a byte-order mark
        (times("2026-04-01", "2026-04-02").replace("\n", "\r"), ["u1", "u2"]),
        (gzip.compress(times("2026-04-01", "2026-04-02").encode()), ["u1", "u2"]),
        ("sep=,\n" + times("2026-04-01", "2026-04-02"), ["u1", "u2"]),
        ("user_id,item_id,timestamp\n007,a,2026-04-01\n7,b,2026-04-01\n", ["007", "7"]),  # zeros in front
        ("user_id,item_id,timestamp\n-1,a,2026-04-01\n-2,b,2026-04-01\n", [-1, -2]),
        ('user_id\titem_id\ttimestamp\ttitle\nu1\ta\t2026-04-01\t"red\tmug"\nu2\tb\t2026-04-01\tcup\n', ["u1", "u2"]),
    ):
        found = check(tmp_path, content)
        assert [row["user_id"] for row in json.loads(found.stdout)["events"]["first_rows"]] == users
    same = "2026-04-01 08:00:00"
    for written in (
        ("1775030400", "1775030401"),
        ("1775030400000", "1775030401000"),
        ("1775030400000000", "1775030401000000"),
        ("1775030400000000000", "1775030401000000000"),
        ("2026-04-01T10:00:00+02:00", "2026-04-01T08:00:01Z"),
        ("01.04.2026 08:00:00", "13.04.2026 08:00:01"),
        ("2026-04-01T08:00:00", "13.04.2026 08:00"),
    ):
        path = tmp_path / "times.csv"
        path.write_text(times(*written))
        assert str(build(read(path).table)[0].time[0].astype("datetime64[s]")).replace("T", " ") == same, written


def test_numbers_of_yaml_that_are_not_what_they_look_like_are_refused(tmp_path):
    path = tmp_path / "settings.yaml"
    for text, said in (("010", "010 is 8 in YAML"), ("1:30", "1:30 is 90 in YAML")):
        path.write_text(f"layers: 1\nranking_tasks: {text}\n")
        with pytest.raises(ValueError, match=f"settings.yaml: line 2: {said}; write the number without zeros in front"):
            Settings.from_yaml(path)
    path.write_text("ranking_tasks: 1_000\n")
    assert Settings.from_yaml(path).ranking_tasks == 1000
