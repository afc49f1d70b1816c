from __future__ import annotations

import numpy as np
import pytest

from llmrec.index.filters import Filter, isin_sorted, some


@pytest.mark.parametrize("span", [1, 50, 10**12], ids=["one", "by table", "by bisection"])
def test_among_is_isin(span):
    rng = np.random.default_rng(span)
    known = np.unique(rng.integers(0, span, 40))
    wanted = np.concatenate([rng.integers(0, 2 * span, 50), known]).reshape(2, -1) if span > 1 else np.array([[0, 1]])
    np.testing.assert_array_equal(isin_sorted(wanted, known), np.isin(wanted, known))
    assert isin_sorted(wanted, known).any() and not isin_sorted(wanted, known).all()
    assert not isin_sorted(wanted, known[:0]).any() and isin_sorted(wanted[:, :0], known).size == 0


def test_a_filter_speaks_of_rows():
    ids = np.array([3, 5, 8])
    allowed = np.zeros((2, 10), bool)
    allowed[0, [3, 5]] = allowed[1, [5, 9]] = True
    both = Filter(ids, 2, allowed, [np.array([5, -1, 99]), np.zeros(0, int)])
    assert both.rows.tolist() == [0, 1] and not both.whole
    assert both.of(0).tolist() == [0] and both.of(1).tolist() == [1]
    assert both.drops(np.array([1, 0]), np.array([[0, 1, -1], [0, 1, -1]])).tolist() == [
        [True, False, True],
        [False, True, True],
    ]
    assert Filter(ids, 2, None, None).whole and Filter(ids, 2, np.ones(9, bool), None).whole


def test_a_message_names_a_few():
    assert some(np.arange(5)) == "0, 1, 2, 3, 4" and some(np.arange(9)) == "0, 1, 2, 3, 4 and 4 more"


def test_rows_are_listed_only_where_they_are_asked_for():
    ids = np.arange(1_000_000)
    open_to_all, some = Filter(ids, 1, None, [np.array([3])]), Filter(ids, 1, ids < 4, [np.array([3])])
    assert (open_to_all.count, some.count) == (1_000_000, 4) and "rows" not in vars(open_to_all)
    assert some.of(0).tolist() == [0, 1, 2] and open_to_all.of(0).tolist()[:4] == [0, 1, 2, 4]
