from __future__ import annotations

from itertools import pairwise

import pyarrow as pa
import pytest

from llmrec.data.clean import Cleaning
from llmrec.data.clean_items import clean_items, fill_titles, near_duplicates, one_row_an_id
from llmrec.errors import DataError, SchemaError


def test_equal_rows_of_one_id_are_one_item():
    table = pa.table({"item_id": [2, 1, 2], "title": ["b", "a", "b"]})
    left, step = one_row_an_id(table, "error")
    assert left.to_pylist() == [{"item_id": 2, "title": "b"}, {"item_id": 1, "title": "a"}]
    assert step.rows_dropped == 1


def test_different_rows_of_one_id_are_an_error_with_a_remedy():
    table = pa.table({"item_id": ["x", "y", "x", "x"], "title": ["first", "b", "second", "first"]})
    with pytest.raises(DataError, match=r"1 item id with rows that differ \('x'\), expected one row per item") as caught:
        one_row_an_id(table, "error")
    assert 'Cleaning(on_duplicate="first")' in str(caught.value)
    left, step = one_row_an_id(table, "first")
    assert left.column("title").to_pylist() == ["first", "b"]
    assert step.rows_dropped == 2
    assert "1 id had rows that differ, first kept: 'x'" in step.detail


def test_missing_titles_are_filled_from_text_then_category_then_id():
    table = pa.table(
        {
            "item_id": [1, 2, 3, 4],
            "title": ["t", None, "", None],
            "text": [None, "long", "", None],
            "category": ["c", "c", "c", None],
        }
    )
    filled, step = fill_titles(table)
    assert filled.column("title").to_pylist() == ["t", "long", "c", "item 4"]
    assert (step.rows_changed, step.detail) == (3, "1 from text; 1 from category; 1 from the id")


def test_near_duplicates_are_reported_and_kept():
    step = near_duplicates(pa.table({"item_id": ["a", "b", "c", "d"], "title": ["Red shoe", "shoe, RED", "Blue shoe", "?"]}))
    assert (step.rows_dropped, step.rows_changed) == (0, 0)
    assert step.detail == "2 items have the same words as another, kept, such as 'a', 'b': 'Red shoe'"


def test_the_whole_catalogue():
    table = pa.table(
        {
            "item_id": [1.0, None, 3.0, 3.0],
            "title": ["Tom &amp; Jerry", "lost", "x" * 1_000_000, "x" * 1_000_000],
            "text": [["a", "b"], None, [], []],
            "price": ["9.5", "1", "?", "?"],
            "colour": ["red", "red", "🎈", "🎈"],
        }
    )
    items, steps = clean_items(table, Cleaning(text_cap=100))
    assert items.column("item_id").to_pylist() == [1, 3]
    assert items.column("title").to_pylist() == ["Tom & Jerry", "x" * 100]
    assert items.column("text").to_pylist() == ["a b", ""]
    assert str(items.column("price").to_pylist()) == "[9.5, nan]"
    assert items.column("colour").to_pylist() == ["red", "🎈"]
    for before, after in pairwise(steps):
        assert before.rows_out == after.rows_in
    assert [step.rows_dropped for step in steps if step.rows_dropped] == [1, 1]
    assert "title: html 1, capped 1" in next(step.detail for step in steps if step.name == "text")


def test_an_empty_catalogue_and_bytes_as_text_are_refused():
    with pytest.raises(DataError, match="items has no row with an item_id"):
        clean_items(pa.table({"item_id": pa.nulls(1), "title": ["a"]}), Cleaning())
    with pytest.raises(SchemaError, match="column 'title' should be text"):
        clean_items(pa.table({"item_id": [1], "title": [b"a"]}), Cleaning())


@pytest.mark.parametrize("mark", ["NaN", "nan", "NULL", "null", "None", "N/A", "NA", "<NA>", "-", "\\N"])
def test_titles_that_are_marks_of_a_missing_value_are_filled_and_counted(mark):
    filled, step = fill_titles(
        pa.table({"item_id": [1, 2, 3], "title": ["t", mark, "Banana"], "category": ["c", "fruit", "c"]})
    )
    assert filled.column("title").to_pylist() == ["t", "fruit", "Banana"]
    assert (step.rows_changed, step.detail) == (1, f"1 written as {mark!r}; 1 from category")
