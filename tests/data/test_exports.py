"""Tables as shops export them: a plain CSV file is read in Python as in the command, ids lose what nobody sees, what may be two
things is refused, and what only looks wrong is said."""

from __future__ import annotations

from datetime import date, datetime

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmrec.data.build import build
from llmrec.data.files import MISSING
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


# ---------------------------------------------------------------------------------------- missing values


def test_the_mark_of_a_missing_title_is_no_title_where_others_are_known():
    mark = {"title": ["NA", "NA", "Mug"], "item_id": ["a"] * 3}
    assert build(events(**mark))[0].catalogue.table["title"].to_pylist() == ["Mug"]
    for none in ("null", "(null)", "[NULL]"):
        assert none in MISSING
        items = {"item_id": ["a", "b", "c"], "title": [none, none, "Mug"], "text": [none, "a tent", ""], "category": [none] * 3}
        assert build(events(), items)[0].catalogue.table["title"].to_pylist() == ["item a", "a tent", "Mug"]


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
