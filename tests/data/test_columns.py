from __future__ import annotations

import pyarrow as pa
import pytest

from llmrec.data.columns import event_columns, item_columns, unread_columns
from llmrec.errors import SchemaError


def table(*names: str) -> pa.Table:
    return pa.table({name: pa.array([place]) for place, name in enumerate(names)})


def test_own_names_pass_without_a_note():
    came = table("user_id", "item_id", "timestamp", "rating")
    renamed, notes = event_columns(came)
    assert renamed.equals(came)
    assert notes == ()


@pytest.mark.parametrize(
    "names",
    [
        ("userId", "movieId", "ts"),
        ("customer_id", "product_id", "datetime"),
        ("household_id", "parent_asin", "date"),
        ("User", "sku", "Time"),
    ],
)
def test_known_aliases_are_renamed_in_place_and_said(names):
    renamed, notes = event_columns(table(*names))
    assert renamed.column_names == ["user_id", "item_id", "timestamp"]
    assert [column.to_pylist() for column in renamed.columns] == [[0], [1], [2]]
    for theirs, ours, note in zip(names, renamed.column_names, notes, strict=True):
        assert repr(theirs) in note and repr(ours) in note


def test_the_mapping_wins_over_aliases():
    renamed, _ = event_columns(table("asin", "parent_asin", "user_id", "timestamp"), {"parent_asin": "item_id"})
    assert renamed.column_names == ["asin", "item_id", "user_id", "timestamp"]


def test_an_exact_name_wins_over_an_alias():
    renamed, notes = item_columns(table("item_id", "asin", "title", "name"))
    assert renamed.column_names == ["item_id", "asin", "title", "name"]
    assert notes == ()


def test_rating_never_becomes_weight_nor_weight_rating():
    for name in ("rating", "weight"):
        renamed, _ = event_columns(table("user_id", "item_id", "timestamp", name))
        assert renamed.column_names[-1] == name


def test_unknown_columns_are_kept():
    renamed, _ = item_columns(table("id", "name", "colour"))
    assert renamed.column_names == ["item_id", "title", "colour"]


def test_item_text_is_read_from_events_only_when_wanted():
    came = table("user_id", "item_id", "timestamp", "name")
    assert event_columns(came)[0].column_names[-1] == "name"
    assert event_columns(came, with_item_text=True)[0].column_names[-1] == "title"


def test_a_misspelt_column_is_named_with_what_came_the_closest_and_the_remedy():
    with pytest.raises(SchemaError) as caught:
        event_columns(table("user_id", "item_id", "timestmap", "colour"))
    message = str(caught.value)
    assert "events has no column 'timestamp'" in message
    assert "'colour'" in message
    assert "Did you mean 'timestmap'?" in message
    assert "columns={'timestmap': 'timestamp'}" in message


def test_a_missing_column_without_a_close_name_guesses_nothing():
    with pytest.raises(SchemaError, match="no column 'title'") as caught:
        item_columns(table("item_id", "zzz"))
    assert "Did you mean" not in str(caught.value)
    assert "item_columns=" in str(caught.value)


def test_two_aliases_of_one_name_are_ambiguous():
    with pytest.raises(SchemaError, match="'asin', 'sku' could each be 'item_id'"):
        event_columns(table("user_id", "asin", "sku", "timestamp"))


def test_the_item_of_amazons_reviews_is_the_parent_and_their_title_is_none_of_it():
    names = ("rating", "title", "text", "asin", "parent_asin", "user_id", "timestamp", "helpful_vote")
    found, notes = event_columns(table(*names), with_item_text=True)
    assert found.column_names == ["rating", "asin", "item_id", "user_id", "timestamp", "helpful_vote"]
    said = " ".join(notes)
    assert "'parent_asin' is read" in said and "'title', 'text' of the reviews" in said
    found, _ = event_columns(table(*names), {"asin": "item_id", "title": "title"}, with_item_text=True)
    assert found.column_names[2:4] == ["item_id", "parent_asin"] and "title" in found.column_names


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("user_id item_id weight datetime", "user_id item_id weight timestamp"),  # RecTools
        ("user_idx item_idx relevance timestamp", "user_id item_id rating timestamp"),  # RePlay
        ("query_id item_id rating timestamp", "user_id item_id rating timestamp"),
        ("user_id query_id item_id relevance timestamp", "user_id query_id item_id relevance timestamp"),
        ("user_id:token item_id:token rating:float timestamp:float", "user_id item_id rating timestamp"),  # RecBole
        ("reviewerID asin overall unixReviewTime", "user_id item_id rating timestamp"),  # Amazon 2018
        ("userId movieId rating timestamp", "user_id item_id rating timestamp"),  # MovieLens
    ],
)
def test_names_of_other_libraries_and_data_sets_are_known(names, expected):
    assert event_columns(table(*names.split()))[0].column_names == expected.split()


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        ({"nope": "price"}, "names 'nope', which events does not have"),
        ({"item_id": "InvoiceNo"}, "expected one of"),
        ({"basket_id": "InvoiceNo"}, "from your name to the library's: columns={'InvoiceNo': 'basket_id'}"),
        ({"InvoiceNo": "baskt_id"}, "Did you mean 'basket_id'?"),
        ({"InvoiceNo": "item_id"}, "would all be 'item_id'"),
        ({"InvoiceNo": "scene", "timestamp": "scene"}, "to the one name 'scene'"),
    ],
)
def test_a_wrong_mapping_says_what_is_wrong(mapping, said):
    with pytest.raises(SchemaError) as caught:
        event_columns(table("user_id", "item_id", "timestamp", "InvoiceNo"), mapping)
    assert said in str(caught.value)


@pytest.mark.parametrize("name", ["plays", "count", "label", "score", "is_hidden", "anything else"])
def test_a_column_that_nothing_reads_is_noted(name):
    (note,) = unread_columns(table("user_id", "item_id", "timestamp", "price", name), "events", "columns")
    assert f"events: column {name!r} is not read" in note and "columns={" in note and "'price'," not in note
    (note,) = unread_columns(table("item_id", "title", name, "other"), "items", "item_columns")
    assert f"items: columns {name!r}, 'other' are not read, except by a prompt template or a rule that names them" in note
    assert ("items_to_recommend" in note) == (name == "is_hidden")


def test_a_column_that_looks_like_a_known_one_is_suggested():
    (note,) = unread_columns(table("user_id", "item_id", "timestamp", "ratingg", "plays"), "events", "columns")
    assert "'ratingg' looks like 'rating': columns={'ratingg': 'rating'}" in note and "'plays' looks" not in note
    (note,) = unread_columns(table("item_id", "title", "categories"), "items", "item_columns")
    assert "'categories' looks like 'category'" in note


def test_columns_that_are_read_are_not_noted():
    assert unread_columns(table("user_id", "item_id", "timestamp", "rating", "basket_id", "scene"), "events", "columns") == ()
    assert unread_columns(table("item_id", "title", "text", "image", "price"), "items", "item_columns") == ()
    names = table("user_id", "item_id", "timestamp", "title")
    assert unread_columns(names, "events", "columns", with_item_text=True) == ()
    assert "'title' is not read" in unread_columns(names, "events", "columns")[0]
