"""Who is asked about, and an answer as a table."""

from __future__ import annotations

import warnings

import numpy as np
import pyarrow as pa
import pytest

from llmrec.data.asked import allowed_items, answer_table, askers, check_count, find_items, listed, warn_if_short
from llmrec.data.dataset import Catalogue
from llmrec.data.ids import Ids
from llmrec.errors import DataError, ShortAnswerWarning, UnknownItemError

CATALOGUE = Catalogue(Ids(["mug", "tent", "rope"]), pa.table({"title": ["a", "b", "c"]}))


def test_ids_are_listed_as_python_has_them():
    assert listed(np.array([3, 1]), "users").values == [3, 1]
    assert [type(value) for value in listed(np.array([3, 1]), "users").values] == [int, int]
    with pytest.raises(DataError, match=r"users is the text 'ann', expected a list of ids; say \['ann'\]"):
        listed("ann", "users")


def test_askers_come_in_the_order_of_the_table_each_once_and_without_the_nameless():
    table = {"who": ["b", None, "a", "b", ""], "item_id": ["x", "x", None, "y", "y"], "timestamp": [1, 2, 3, 4, 5]}
    assert askers(table, {"who": "user_id"}).values == ["b", "a"]


def test_items_are_found_or_named():
    assert find_items(CATALOGUE, Ids(["rope", "mug"])).tolist() == [2, 0]
    assert allowed_items(CATALOGUE, ["rope"]).tolist() == [False, False, True]
    with pytest.raises(UnknownItemError, match=r"items \['pan'\] are not in the catalogue of 3; its ids look like \['mug'"):
        allowed_items(CATALOGUE, ["mug", "pan"])


def test_who_gets_too_few_is_said_once():
    def call(k: int) -> None:
        warn_if_short(np.array([0, 0, 1]), Ids(["ann", "bob"]), k, True, False)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        call(1)
    with pytest.warns(ShortAnswerWarning, match="1 user gets fewer than k = 2 items, such as 'bob' 1: the catalogue") as caught:
        call(2)
    assert len(caught) == 1
    with pytest.warns(ShortAnswerWarning, match="2 users get fewer than k = 3 items, such as 'ann' 2"):
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
