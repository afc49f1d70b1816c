"""Who is asked about, and an answer as a table."""

from __future__ import annotations

import uuid
import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from llmrec.data.build import asked_for, events_for
from llmrec.data.dataset import Catalogue
from llmrec.data.ids import Ids
from llmrec.data.requests import (
    allowed_items,
    answer_table,
    as_ids,
    check_count,
    check_new_users,
    check_users,
    find_items,
    warn_if_short,
    with_titles,
)
from llmrec.errors import DataError, ShortAnswerWarning, UnknownItemError

CATALOGUE = Catalogue(Ids(["mug", "tent", "rope"]), pa.table({"title": ["a", "b", "c"]}))


def test_ids_are_listed_as_python_has_them():
    assert as_ids(np.array([3, 1]), "users").values == [3, 1]
    assert [type(value) for value in as_ids(np.array([3, 1]), "users").values] == [int, int]
    with pytest.raises(DataError, match=r"users is the text 'ann', expected a list of ids; say \['ann'\]"):
        as_ids("ann", "users")


def test_what_lists_no_ids_is_refused_with_what_to_pass():
    table = {"user_id": [1, 2]}
    frames = (table, pd.DataFrame(table), pa.table(table))
    for frame in frames:
        with pytest.raises(DataError, match="users is a .*, expected a list of ids; pass one column of it, or .* as histories"):
            as_ids(frame, "users")
    with pytest.raises(DataError, match="items is a dict, expected a list of ids; pass one column of it$"):
        as_ids(table, "items")
    with pytest.raises(DataError, match=r"users is 5, expected a list of ids; say \[5\]"):
        as_ids(5, "users")
    for value in (None, float("nan"), 1.5, True, np.bool_(False), pd.NaT, b"ann", ("ann",), pa.scalar(None, pa.int64())):
        with pytest.raises(DataError, match=r"users\[1\] is .*, expected an id: str, int or UUID; drop missing ids"):
            as_ids([1, value], "users")


def test_ids_of_every_column_type_are_read_alike():
    """A column of whole floats is what pandas makes of ints where some are missing."""
    for column in (pa.chunked_array([[3, 1]]), pd.Series([3.0, 1.0]), pd.Series([3, 1], dtype="Int64"), {3: 0, 1: 0}.keys()):
        assert as_ids(column, "users").values == [3, 1]
        assert all(type(value) is int for value in as_ids(column, "users").values)


def test_ids_of_another_type_than_the_known_ones_are_refused_with_both_and_the_remedy():
    one, ints, texts = uuid.UUID(int=1), Ids([13047, 13048, 13049]), Ids(["a", "b"])
    message = r"users are str such as '5', but the known ids are int such as 13047, 13048; convert them: \[int\(value\) for"
    with pytest.raises(DataError, match=message):
        check_users(Ids(["5"]), ints)
    for asked, known in (([5], texts), ([one], texts), ([one], ints), (["5"], Ids([one]))):
        with pytest.raises(DataError, match="users are (int|str|UUID) such as"):
            check_users(Ids(asked), known)
    for asked, known in ((["c"], texts), ([5], ints), ([], ints), ([5], Ids([])), ([one], Ids([one]))):
        check_users(Ids(asked), known)
    with pytest.raises(UnknownItemError, match=r": they are str, not int; convert them: \[str\(value\) for value in ids\]"):
        find_items(CATALOGUE, Ids([5]))


def test_k_is_a_whole_number():
    for k in (2.5, 3.0, "3", None, True, np.float32(3)):
        with pytest.raises(DataError, match="k is .*; expected a whole number, at least 1"):
            check_count(k)
    check_count(np.int32(3))


def test_titles_stand_behind_the_answer():
    table = with_titles(pa.table({"item_id": ["rope", "mug"]}), CATALOGUE, np.array([2, 0]))
    assert table.to_pydict() == {"item_id": ["rope", "mug"], "title": ["c", "a"]}


def test_askers_come_in_the_order_of_the_table_each_once_and_without_the_nameless():
    table = {"who": ["b", None, "a", "b", ""], "item_id": ["x", "x", None, "y", "y"], "timestamp": [1, 2, 3, 4, 5]}
    catalogue = Catalogue(Ids(["x", "y"]), pa.table({"title": ["x", "y"]}))
    dataset, report, asked = asked_for(catalogue, table, {"who": "user_id"})
    assert asked.values == ["b", "a"] and dataset.users.values == ["b"]
    assert [step.name for step in report.steps].count("ids") == 1
    one, told = events_for(catalogue, table, {"who": "user_id"})
    assert (one.users.values, one.item.tolist(), told) == (["b"], dataset.item.tolist(), report)


def test_items_are_found_or_named():
    assert find_items(CATALOGUE, Ids(["rope", "mug"])).tolist() == [2, 0]
    assert allowed_items(CATALOGUE, ["rope"]).tolist() == [False, False, True]
    with pytest.raises(UnknownItemError, match=r"items \['pan'\] are not in the catalogue of 3; its ids look like \['mug'"):
        allowed_items(CATALOGUE, ["mug", "pan"])
    with pytest.raises(UnknownItemError, match=r"\['Mug'\] are not .*\. 'Mug' is not the catalogue's 'mug', but looks like it"):
        allowed_items(CATALOGUE, ["Mug"])


def test_new_users_have_ids_of_any_kind_that_do_not_look_like_known_ones():
    known = Ids(["7", "ann"])
    check_new_users(Ids([8, 9]), known)
    check_new_users(Ids(["new"]), known)
    with pytest.raises(DataError, match="users are int such as 8, but the known ids are str such as '7', 'ann'"):
        check_new_users(Ids([8, 7]), known)


def test_who_gets_too_few_is_said_once():
    def call(k: int) -> None:
        warn_if_short(np.array([0, 0, 1]), Ids(["ann", "bob"]), k, True, False)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        call(1)
    with pytest.warns(ShortAnswerWarning, match="1 user gets fewer than k = 2 items, such as 'bob' .1.: the cat") as caught:
        call(2)
    assert len(caught) == 1
    with pytest.warns(ShortAnswerWarning, match="2 users get fewer than k = 3 items, such as 'ann' \\(2\\)"):
        call(3)


def test_a_count_is_one_at_least():
    check_count(1)
    with pytest.raises(DataError, match="k is 0; expected at least 1"):
        check_count(0)


def test_an_answer_is_a_table_in_the_order_given():
    rows = (np.array([1, 0]), np.array([2, 0]), np.array([0.5, 1.5], np.float32), np.array([1, 1]), ["x", "y"])
    table = answer_table(Ids(["ann", "bob"]), CATALOGUE, *rows)
    assert table.to_pydict() == {
        "user_id": ["bob", "ann"],
        "item_id": ["rope", "mug"],
        "score": [0.5, 1.5],
        "rank": [1, 1],
        "source": ["x", "y"],
    }
    nothing = np.zeros(0, np.int64)
    assert answer_table(Ids([]), CATALOGUE, nothing, nothing, nothing, nothing, []).column_names == table.column_names
    with pytest.raises(DataError, match="users mix int and str, expected ids of one kind"):
        answer_table(Ids(["ann", 2]), CATALOGUE, *rows)
