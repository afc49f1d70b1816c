"""Columns of lists: words of a list and places of a vector as numbers."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pytest

from llmrec.data.attributes import Encoding, encode, learn_encoding
from llmrec.data.parts import learn_parts
from llmrec.errors import SchemaError

GENRES = [["drama", "war"], ["comedy"], ["drama"], None, [], ["drama", " drama", "comedy", "rare"]]
VECTORS = [[1.0, 10.0], [2.0, 30.0], None, [3.0, 20.0], [4.0, 20.0], [5.0, 20.0]]


def table(**columns) -> pa.Table:
    return pa.table(columns)


def test_a_list_of_words_is_a_number_for_each_word_that_enough_rows_have():
    encoding, notes = learn_encoding(table(genres=GENRES), "items", least=2)
    assert [column.part for column in encoding.columns] == ["comedy", "drama"] and encoding.names == ("genres",)
    assert notes == ("items: 2 words of 'genres' in fewer than 2 rows, not read",)
    found, notes = encode(encoding, table(genres=GENRES), "items")
    np.testing.assert_array_equal(found.codes, [[0, 1], [1, 0], [0, 1], [np.nan] * 2, [0, 0], [1, 1]])
    np.testing.assert_array_equal(found.blocks()[:, -1], [1, 1, 1, 0, 1, 1])  # one column of the mask for the list
    assert found.blocks().shape[1] == encoding.width == 3
    assert "'rare', 'war' was in too few rows" in notes[0]
    assert encoding.groups == 0 and (found.groups() == -1).all()


def test_of_many_words_the_most_frequent_are_read():
    column = pa.chunked_array([[["a", "b", "c"], ["a", "b"], ["b"], ["c", "a"]]])
    parts, notes = learn_parts(column, "tags", "items", least=1, most=2)
    assert [part.part for part in parts] == ["a", "b"]
    assert notes == ("items: 1 word of 'tags' not among the 2 most frequent, not read",)


def test_a_vector_of_any_length_weighs_as_much_as_one_standardised_number():
    rng = np.random.default_rng(0)
    for width in (1, 3, 200):
        vectors = rng.normal(5, rng.uniform(0.1, 9, width), (500, width))
        column = table(vector=vectors.tolist())
        encoding, _ = learn_encoding(column, "items")
        blocks = encode(encoding, column, "items")[0].blocks()
        assert blocks.shape == (500, width + 1)
        np.testing.assert_allclose(blocks[:, :-1].mean(0), 0, atol=1e-5)
        assert (blocks[:, :-1] ** 2).sum(1).mean() == pytest.approx(1, abs=1e-4)


def test_a_missing_vector_is_zero_and_masked_and_lists_stand_beside_other_columns():
    both = table(year=[float(number) + 0.5 for number in range(6)], vector=VECTORS)
    encoding, _ = learn_encoding(both, "items")
    again = Encoding.from_dict({"columns": [vars(column) for column in encoding.columns]})
    assert again == encoding and encoding.names == ("vector", "year") and encoding.first == [0, 2]
    found = encode(encoding, both, "items")[0]
    blocks = found.blocks()
    assert blocks.shape[1] == encoding.width
    np.testing.assert_array_equal(blocks[2, :2], 0)
    np.testing.assert_array_equal(blocks[:, -2:], [[1, 1], [1, 1], [0, 1], [1, 1], [1, 1], [1, 1]])
    alone = encode(learn_encoding(both.select(["year"]), "items")[0], both.select(["year"]), "items")[0]
    np.testing.assert_array_equal(found.groups()[:, 2], alone.groups()[:, 0])
    without = encode(encoding, both.select(["year"]), "items")[0]
    np.testing.assert_array_equal(without.codes[:, 2:], found.codes[:, 2:])
    assert np.isnan(without.codes[:, :2]).all()


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.large_list(pa.float64()), pa.list_(pa.float32(), 2)])
def test_any_kind_of_list_is_read(kind):
    column = pa.table({"vector": pa.array(VECTORS, kind)})
    encoding, _ = learn_encoding(column, "items")
    plain = encode(encoding, table(vector=VECTORS), "items")[0]
    np.testing.assert_allclose(encode(encoding, column, "items")[0].codes, plain.codes, atol=1e-6)


def test_rows_that_are_all_missing_and_columns_of_nothing():
    encoding, _ = learn_encoding(table(vector=VECTORS), "items")
    nothing = pa.table({"vector": pa.array([None, None], pa.list_(pa.float64()))})
    assert np.isnan(encode(encoding, nothing, "items")[0].codes).all()
    assert learn_encoding(nothing, "items") == (Encoding(()), ("items: column 'vector' is empty, and is not read",))
    empty = pa.table({"genres": pa.array([[], []], pa.list_(pa.null()))})
    found, notes = learn_encoding(empty, "items")
    assert found == Encoding(()) and "no word of column 'genres'" in notes[0]


def test_what_cannot_be_read_is_named():
    encoding, _ = learn_encoding(table(vector=VECTORS, genres=GENRES), "items", least=2)
    for wrong, said in (
        (table(vector=[[1.0, 2.0], [1.0]]), r"items: column 'vector' holds vectors of 1 to 2 numbers, expected one length"),
        (table(vector=[[1.0, float("nan")]]), "missing or infinite"),
        (table(vector=[[1.0, None]]), "missing or infinite"),
        (table(vector=[[[1.0]], [[2.0]]]), "expected lists of text or vectors of numbers"),
    ):
        with pytest.raises(SchemaError, match=said):
            learn_encoding(wrong, "items")
    for wrong, said in (
        (table(vector=[[1.0, 2.0, 3.0]]), "vectors of 3 numbers, expected 2, as in fit"),
        (table(vector=["a"]), "expected lists, as in fit"),
        (table(vector=[["a"]]), "expected lists of numbers"),
        (table(genres=[[1.0]]), "expected lists of text"),
    ):
        with pytest.raises(SchemaError, match=said):
            encode(encoding, wrong, "items")


@pytest.mark.parametrize("separator", ["|", ", ", ";"])
def test_cells_of_several_values_are_read_as_lists_of_them(separator):
    rng = np.random.default_rng(0)
    words = ["comedy", "drama", "war", "crime"]
    lists = [None, *(list(rng.permutation(words)[: rng.integers(1, 4)]) for _ in range(40))]
    cells = pa.array(["NULL" if row is None else separator.join(row) for row in lists])
    encoding, notes = learn_encoding(table(genres=cells), "items")
    assert [column.part for column in encoding.columns] == sorted(words)
    assert notes == (f"items: cells of 'genres' hold several values, and are split at {separator.strip()!r}",)
    wanted = encode(learn_encoding(table(genres=lists), "items")[0], table(genres=lists), "items")[0].codes
    for column in (cells, cells.dictionary_encode(), lists):
        np.testing.assert_array_equal(encode(encoding, table(genres=column), "items")[0].codes, wanted)
    one = encode(encoding, table(genres=[separator.join(["war", "drama"]), "crime", " "]), "items")[0].codes
    np.testing.assert_array_equal(one, [[0, 0, 1, 1], [0, 1, 0, 0], [np.nan] * 4])
    nothing = encode(encoding, table(genres=pa.array([None], pa.null())), "items")[0].codes
    assert np.isnan(nothing).all()
    assert Encoding.from_dict(json.loads(json.dumps(asdict(encoding)))) == encoding


def test_a_number_alone_is_a_value_of_cells_with_several():
    cells = [f"{a}|{b}" for a in range(1, 6) for b in range(1, 6)] * 2
    encoding, _ = learn_encoding(table(size=cells), "users")
    codes = encode(encoding, table(size=[5, 2]), "users")[0].codes
    np.testing.assert_array_equal(codes, [[0, 0, 0, 0, 1], [0, 1, 0, 0, 0]])


@pytest.mark.parametrize(
    "cells",
    [
        [f"Town {number % 8}, Germany" for number in range(80)] + ["Clothing, Shoes & Jewelry"] * 20,
        [f"{last}, {first}" for last in ("Smith", "Lee", "Poe", "Ito", "Roy") for first in ("Ann", "Bob", "Eve", "Tom", "Joe")]
        * 6,
        [f"{euro},{cent:02}" for euro in range(10) for cent in range(10, 20)] * 2,
        [f'["{a}", "{b}", "x"]' for a in "abcde" for b in "abcde"] * 6,
    ],
)
def test_cells_with_a_comma_that_are_one_value_stay_one(cells):
    encoding, notes = learn_encoding(table(place=cells), "users")
    assert all(column.part is None for column in encoding.columns) and "several" not in " ".join(notes)
