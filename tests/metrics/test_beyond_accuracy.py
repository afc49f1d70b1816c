"""Coverage, novelty and calibration against the lists themselves, over all orders of the tied items."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from llmrec.data.categories import one_hot
from llmrec.errors import DataError
from llmrec.metrics import beyond_accuracy as beyond
from llmrec.metrics.beyond_accuracy import calibration, coverage, novelty


def lists(scores: list[float], allowed: list[bool], k: int) -> list[tuple[int, ...]]:
    """First k of every order of the catalogue after a stable sort: every order of tied items equally often."""
    ranked = [item for item in range(len(scores)) if allowed[item]]
    return [tuple(sorted(start, key=lambda i: -scores[i])[:k]) for start in itertools.permutations(ranked)]


@st.composite
def small_worlds(draw):
    items = draw(st.integers(1, 4))
    user = st.tuples(
        st.lists(st.sampled_from([0.0, 1.0, -np.inf, np.inf]), min_size=items, max_size=items),
        st.lists(st.booleans(), min_size=items, max_size=items),
    )
    return draw(st.lists(user, min_size=1, max_size=2)), draw(st.integers(1, 5))


@settings(max_examples=100, deadline=None)
@given(small_worlds())
def test_ties_are_settled_by_the_mean_over_all_orders(drawn):
    users, k = drawn
    scores, allowed = np.array([user[0] for user in users]), np.array([user[1] for user in users])
    each = [lists(*user, k) for user in users]
    items = scores.shape[1]
    seen = [len(set(itertools.chain(*shown))) / items for shown in itertools.product(*each)]  # users' orders are independent
    assert coverage(scores, k, allowed) == pytest.approx(np.mean(seen), abs=1e-12)

    count = np.arange(items) * 3.0
    bits = -np.log2((count + 1) / (count + 1).sum())
    found = novelty(scores, count, k, allowed)
    for row, shown in enumerate(each):
        expected = np.mean([bits[list(one)].mean() for one in shown]) if shown[0] else np.nan
        np.testing.assert_allclose(found[row], expected, atol=1e-12)


@pytest.fixture
def plain():
    """50 users, 30 items without ties, of which a fifth is not allowed, histories with repeats, 4 categories."""
    rng = np.random.default_rng(0)
    scores = rng.permuted(np.tile(np.arange(30.0), (50, 1)), axis=1)
    history = [rng.integers(0, 30, rng.integers(1, 20)) for _ in range(50)]
    return scores, rng.random((50, 30)) < 0.8, history, rng.integers(0, 4, 30)


def top(scores, allowed, k):
    return [[i for i in np.argsort(-row) if may[i]][:k] for row, may in zip(scores, allowed, strict=True)]


def test_without_ties_they_are_the_definitions(plain):
    scores, allowed, history, category = plain
    shown = top(scores, allowed, 5)
    assert coverage(scores, 5, allowed) == pytest.approx(len({i for one in shown for i in one}) / 30)
    assert coverage(scores[:3], 5, allowed[:3]) == pytest.approx(len({i for one in shown[:3] for i in one}) / 30)
    count = np.bincount(np.concatenate(history), minlength=30)
    bits = -np.log2((count + 1) / (count.sum() + 30))
    np.testing.assert_allclose(novelty(scores, count, 5, allowed), [bits[one].mean() for one in shown])
    found = calibration(scores, history, one_hot(category.tolist()), 5, allowed)
    for row in range(50):
        p = np.bincount(category[history[row]], minlength=4) / len(history[row])
        q = np.bincount(category[shown[row]], minlength=4) / 5
        mixed = 0.99 * q + 0.01 * p
        assert found[row] == pytest.approx(sum(a * np.log(a / b) for a, b in zip(p, mixed, strict=True) if a), abs=1e-12)


def test_blocks_of_users_are_one_computation(plain, monkeypatch):
    scores, allowed, history, category = plain
    kinds = one_hot(category.tolist())
    whole = coverage(scores, 5, allowed), novelty(scores, category, 5, allowed), calibration(scores, history, kinds, 5, allowed)
    monkeypatch.setattr(beyond, "_CELLS", 7 * 30)
    assert coverage(scores, 5, allowed) == pytest.approx(whole[0])
    np.testing.assert_array_equal(novelty(scores, category, 5, allowed), whole[1])
    np.testing.assert_array_equal(calibration(scores, history, kinds, 5, allowed), whole[2])


def test_a_list_like_the_history_is_calibrated_and_one_of_another_kind_is_not():
    scores, kinds = np.array([[4.0, 3.0, 2.0, 1.0], [1.0, 2.0, 4.0, 3.0]]), one_hot(["a", "b", "c", "c"])
    found = calibration(scores, [np.array([0, 1, 0, 1])] * 2, kinds, 2)
    assert found[0] == pytest.approx(0)
    assert found[1] == pytest.approx(-np.log(0.01))  # the most there can be
    half = calibration(scores, [np.array([0, 1])] * 2, kinds, 2, smoothing=0.5)
    assert half[1] == pytest.approx(np.log(2))


def test_an_item_of_two_categories_is_half_of_each_and_dense_is_sparse():
    kinds = one_hot([["a", "b"], "a", "b"])
    assert calibration(np.array([[0.0, 2.0, 1.0]]), [np.array([0])], kinds, 2)[0] == pytest.approx(0)
    weights = np.array([[3.0, 1.0], [2.0, 0.0], [0.0, 7.0]])  # in proportion; an item's own total says nothing
    found = calibration(np.array([[0.0, 2.0, 1.0]]), [np.array([0])], weights, 2, smoothing=1e-9)[0]
    assert found == pytest.approx(0.75 * np.log(0.75 / 0.5) + 0.25 * np.log(0.25 / 0.5))
    same = calibration(np.array([[0.0, 2.0, 1.0]]), [np.array([0])], sparse.csr_array(weights), 2, smoothing=1e-9)[0]
    assert same == found


def test_calibration_is_nan_where_there_is_nothing_to_compare():
    scores, kinds = np.array([[3.0, 2.0, 1.0]] * 3), one_hot(["a", None, "b"])
    history = [np.array([0]), np.array([], np.int64), np.array([1])]
    found = calibration(scores, history, kinds, 1)
    assert found[0] == pytest.approx(0)
    assert np.isnan(found[1:]).all()
    allowed = np.array([[False, True, False]] * 3)
    assert np.isnan(calibration(scores, history, kinds, 1, allowed)).all()  # the list has no category


def test_a_user_with_nothing_to_show_is_nan_and_touches_nobody():
    allowed = np.array([[False, False], [True, False]])
    found = novelty(np.zeros((2, 2)), np.array([3, 0]), 1, allowed)
    assert np.isnan(found[0])
    assert found[1] == pytest.approx(np.log2(5 / 4))
    assert coverage(np.zeros((2, 2)), 1, allowed) == 0.5


def test_no_users_at_all():
    assert coverage(np.zeros((0, 4)), 2) == 0
    assert novelty(np.zeros((0, 4)), np.ones(4), 2).shape == (0,)
    assert calibration(np.zeros((0, 4)), [], np.eye(4), 2).shape == (0,)


def test_the_more_popular_the_less_novel():
    scores = np.eye(3)
    first, second, third = novelty(scores, np.array([7, 0, 0]), 1)
    assert (first, second, third) == (pytest.approx(np.log2(10 / 8)), pytest.approx(np.log2(10)), pytest.approx(np.log2(10)))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: coverage(np.array([[0.0, np.nan]]), 1), r"scores\[0, 1\] is NaN"),
        (lambda: coverage(np.zeros(3), 1), "expected \\(users, items\\)"),
        (lambda: coverage(np.zeros((1, 3)), 0), "at least 1"),
        (lambda: coverage(np.zeros((1, 3)), 1, np.ones((1, 2), bool)), "allowed"),
        (lambda: coverage(np.zeros((1, 3)), 1, np.ones((1, 3))), "allowed: expected bool"),
        (lambda: novelty(np.zeros((1, 3)), np.ones(2), 1), "count: expected 3"),
        (lambda: novelty(np.zeros((1, 3)), np.array([1, 2, -1]), 1), "count"),
        (lambda: novelty(np.zeros((1, 3)), np.array([1, 2, np.inf]), 1), "count"),
        (lambda: calibration(np.zeros((1, 3)), [[0]], np.eye(2), 1), "categories: expected \\(3"),
        (lambda: calibration(np.zeros((1, 3)), [[0]], -np.eye(3), 1), "categories"),
        (lambda: calibration(np.zeros((1, 3)), [[0], [1]], np.eye(3), 1), "history: expected 1 arrays"),
        (lambda: calibration(np.zeros((1, 3)), [[3]], np.eye(3), 1), "history: .* 0..2"),
        (lambda: calibration(np.zeros((1, 3)), [[0.5]], np.eye(3), 1), "history: .*int"),
        (lambda: calibration(np.zeros((1, 3)), [[0]], np.eye(3), 1, smoothing=0), "smoothing"),
    ],
)
def test_what_cannot_be_measured_is_refused(call, says):
    with pytest.raises(DataError, match=says):
        call()
