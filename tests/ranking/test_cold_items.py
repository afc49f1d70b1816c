"""Which items speak for one that nobody had, against a loop over pairs of items."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from llmrec.errors import DataError
from llmrec.ranking import cold_items
from llmrec.ranking.cold_items import Alike, alike, carry

USERS = np.arange(3)


@pytest.fixture
def world(shop):
    """Items 0, 4 and 7 are had by the fourth user alone."""
    return shop([[[1, 2]], [[3], [5, 6]], [[8, 9]], [[0], [4, 7], [1]]], 10)


@pytest.fixture
def text() -> np.ndarray:
    rows = np.random.default_rng(4).normal(size=(10, 3))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("k", [1, 3, 7])
@pytest.mark.parametrize("as_words", [False, True])
@pytest.mark.parametrize("cells", [1, 1 << 23])
def test_the_warm_items_most_alike_speak_for_a_cold_one(world, text, k, as_words, cells, monkeypatch):
    monkeypatch.setattr(cold_items, "_CELLS", cells)  # one row at a time, and all at once
    found = alike(world, USERS, sparse.csr_array(text) if as_words else text, k)
    warm = [1, 2, 3, 5, 6, 8, 9]
    assert found.cold.tolist() == [0, 4, 7] and np.flatnonzero(found.trained).tolist() == warm
    table = carry(found, k, 3.0).toarray()
    for row, item in enumerate(found.cold):
        likeness = {other: float(text[item] @ text[other]) for other in warm}
        near = sorted(warm, key=lambda other: -likeness[other])[:k]
        assert found.warm[row].tolist() == near
        np.testing.assert_allclose(found.likeness[row], [max(likeness[other], 0) for other in near])
        expected = np.zeros(10)
        expected[near] = [max(likeness[other], 0) ** 3 for other in near]
        np.testing.assert_allclose(table[:, item], expected)
    assert not table[:, warm].any()


def test_of_items_equally_alike_the_lower_one_speaks(world):
    text = np.ones((10, 1))
    text[5] = 2.0
    assert alike(world, USERS, text, 4).warm.tolist() == [[5, 1, 2, 3]] * 3


def test_fewer_neighbours_than_were_found_are_the_nearest():
    found = Alike(np.array([2]), np.array([[0, 1]]), np.array([[0.8, 0.5]]), np.array([True, True, False]))
    assert carry(found, 1, 2.0).toarray().tolist() == [[0, 0, pytest.approx(0.64)], [0, 0, 0], [0, 0, 0]]
    assert carry(found, 5, 1.0).toarray()[:, 2].tolist() == [0.8, 0.5, 0.0]


def test_where_all_was_had_nobody_speaks_for_another(world, text):
    found = alike(world, np.arange(4), text, 3)
    assert found.cold.size == 0 and carry(found, 3, 1.0).nnz == 0


def test_more_neighbours_than_there_are_is_refused(world, text):
    with pytest.raises(DataError, match="k: expected 1 to 7, the items purchased by training users, got 8"):
        alike(world, USERS, text, 8)
