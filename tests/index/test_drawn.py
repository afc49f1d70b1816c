"""Drawn candidates: one that was taken, and others by popularity that the task does not know."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmrec.data.tasks import first_baskets
from llmrec.errors import DataError
from llmrec.index.drawn import drawn_candidates


@pytest.fixture
def tasks(shop):
    """2,000 users of 8 items: each bought 0, then 1 or 2."""
    return first_baskets(shop([[[0], [1 + user % 2]] for user in range(2000)], 8), np.arange(2000), 1, 1)


def test_one_was_taken_and_the_others_are_neither_known_nor_taken(tasks):
    found = drawn_candidates(tasks, np.ones(8), 3, np.random.default_rng(0))
    assert np.diff(found.start).tolist() == [4] * 2000 and found.item.dtype == np.int32
    for task in range(0, 2000, 50):
        mine = found.of(task)
        assert (np.diff(mine) > 0).all() and 0 not in mine and 1 + task % 2 in mine
    again = drawn_candidates(tasks, np.ones(8), 3, np.random.default_rng(0))
    np.testing.assert_array_equal(again.item, found.item)


def test_others_come_by_popularity(tasks):
    popularity = np.array([9, 0, 0, 6, 3, 1, 0, 0])
    found = drawn_candidates(tasks, popularity, 1, np.random.default_rng(0))
    drawn = np.bincount(found.item, minlength=8)[3:]
    np.testing.assert_allclose(drawn / 2000, [0.6, 0.3, 0.1, 0, 0], atol=0.03)
    with pytest.raises(DataError, match="count: expected at most 3, the items that task 0 may draw, got 4"):
        drawn_candidates(tasks, popularity, 4, np.random.default_rng(0))


def test_a_task_that_took_nothing_has_no_candidates(tasks):
    nothing = replace(tasks, stop=np.where(np.arange(2000) == 1, tasks.split, tasks.stop)).take(np.arange(3))
    assert np.diff(drawn_candidates(nothing, np.ones(8), 2, np.random.default_rng(0)).start).tolist() == [3, 0, 3]
