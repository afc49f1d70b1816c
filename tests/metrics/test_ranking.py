"""Metrics against all orders of the tied items, and against a plain sort where nothing is tied."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.errors import DataError
from llmrec.metrics import ranking as metrics

K_METRICS = [metrics.ndcg, metrics.recall, metrics.hit_rate, metrics.mean_average_precision]
NAMES = ["ndcg", "recall", "hit_rate", "mean_average_precision", "auc", "mrr", "whole_map"]


def all_metrics(scores, relevant, k, allowed=None) -> dict[str, np.ndarray]:
    of_k = {metric.__name__: metric(scores, relevant, k, allowed) for metric in K_METRICS}
    of_k["whole_map"] = metrics.mean_average_precision(scores, relevant, allowed=allowed)
    return of_k | {"auc": metrics.auc(scores, relevant, allowed), "mrr": metrics.mrr(scores, relevant, allowed)}


def precisions(order: list[int], relevant: set[int], k: int) -> float:
    """Sum over the relevant items among the first k of the share of relevant ones down to them."""
    return sum(len(relevant.intersection(order[: r + 1])) / (r + 1) for r, item in enumerate(order[:k]) if item in relevant)


def of_order(order: list[int], relevant: set[int], k: int) -> dict[str, float]:
    """The textbook definitions for one order of the items, written without numpy."""
    relevant = relevant & set(order)
    if not relevant:
        return dict.fromkeys(NAMES, float("nan"))
    gain = sum(1 / np.log2(rank + 2) for rank, item in enumerate(order[:k]) if item in relevant)
    ideal = sum(1 / np.log2(rank + 2) for rank in range(min(k, len(relevant))))
    hits = len(relevant.intersection(order[:k]))
    pairs = [order.index(i) < order.index(j) for i in relevant for j in order if j not in relevant]
    return {
        "ndcg": gain / ideal,
        "recall": hits / len(relevant),
        "hit_rate": float(hits > 0),
        "auc": sum(pairs) / len(pairs) if pairs else float("nan"),
        "mrr": 1 / (1 + min(order.index(i) for i in relevant)),
        "mean_average_precision": precisions(order, relevant, k) / min(k, len(relevant)),
        "whole_map": precisions(order, relevant, len(order)) / len(relevant),
    }


def over_all_orders(scores: list[float], relevant: set[int], k: int, allowed: list[bool]) -> dict[str, float]:
    """Mean over every order of the catalogue before a stable sort: every order of tied items equally often."""
    ranked = [item for item in range(len(scores)) if allowed[item]]
    orders = [sorted(start, key=lambda item: -scores[item]) for start in itertools.permutations(ranked)]
    found = [of_order(order, relevant, k) for order in orders]
    return {name: float(np.mean([one[name] for one in found])) for name in NAMES}


@st.composite
def small_worlds(draw):
    items = draw(st.integers(1, 5))
    user = st.tuples(
        st.lists(st.sampled_from([0.0, 1.0, 2.0, -np.inf, np.inf]), min_size=items, max_size=items),
        st.sets(st.integers(0, items - 1)),
        st.lists(st.booleans(), min_size=items, max_size=items),
    )
    return draw(st.lists(user, min_size=1, max_size=3)), draw(st.integers(1, 6))


@settings(max_examples=150, deadline=None)
@given(small_worlds())
def test_ties_are_settled_by_the_mean_over_all_orders(drawn):
    users, k = drawn
    scores = np.array([user[0] for user in users])
    relevant = [np.array(sorted(user[1]), np.int64) for user in users]
    allowed = np.array([user[2] for user in users])
    got = all_metrics(scores, relevant, k, allowed)
    for row, user in enumerate(users):
        expected = over_all_orders(user[0], user[1], k, user[2])
        for name in NAMES:
            np.testing.assert_allclose(got[name][row], expected[name], atol=1e-12, err_msg=name)


@pytest.fixture
def plain():
    """200 users, 300 items, no ties, 0 to 12 relevant items each."""
    rng = np.random.default_rng(0)
    scores = rng.permuted(np.tile(np.arange(300, dtype=np.float32), (200, 1)), axis=1)
    relevant = [rng.choice(300, rng.integers(0, 13), replace=False) for _ in range(200)]
    return scores, relevant, rng.random((200, 300)) < 0.8


def test_without_ties_they_are_the_textbook_definitions(plain):
    scores, relevant, allowed = plain
    got = all_metrics(scores, relevant, 10, allowed)
    for row in range(200):
        order = [int(item) for item in np.argsort(-scores[row]) if allowed[row, item]]
        expected = of_order(order, set(relevant[row].tolist()), 10)
        for name in NAMES:
            np.testing.assert_allclose(got[name][row], expected[name], atol=1e-12, err_msg=name)


@pytest.mark.parametrize("constant", [0.0, -np.inf, 1e30])
def test_constant_scores_get_what_a_random_order_gets(constant):
    items, k = 50, 10
    relevant = [np.arange(3), np.array([40])]
    got = all_metrics(np.full((2, items), constant), relevant, k)
    discount = 1 / np.log2(np.arange(2, k + 2))
    np.testing.assert_allclose(got["ndcg"], [3 / items * discount.sum() / discount[:3].sum(), discount.sum() / items])
    np.testing.assert_allclose(got["recall"], k / items)
    np.testing.assert_allclose(got["hit_rate"], [1 - (40 * 39 * 38) / (50 * 49 * 48), k / items])
    np.testing.assert_allclose(got["auc"], 0.5)
    np.testing.assert_allclose(got["mrr"][1], np.mean(1 / np.arange(1, items + 1)))


def test_the_order_of_the_catalogue_changes_nothing():
    rng = np.random.default_rng(1)
    scores = rng.integers(0, 6, (40, 60)).astype(float)
    relevant = [rng.choice(60, 5, replace=False) for _ in range(40)]
    order = rng.permutation(60)
    moved = [np.argsort(order)[wanted] for wanted in relevant]
    first, second = all_metrics(scores, relevant, 7), all_metrics(scores[:, order], moved, 7)
    for name in NAMES:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def test_removing_an_item_is_a_catalogue_without_it(plain):
    scores, relevant, _ = plain
    allowed = np.ones(scores.shape, bool)
    allowed[:, 250:] = False
    without = [wanted[wanted < 250] for wanted in relevant]
    first, second = all_metrics(scores, relevant, 10, allowed), all_metrics(scores[:, :250], without, 10)
    for name in NAMES:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def test_blocks_of_users_are_one_computation(plain, monkeypatch):
    scores, relevant, allowed = plain
    whole = all_metrics(scores, relevant, 10, allowed)
    monkeypatch.setattr(metrics, "_CELLS", 7 * 300)
    for name, values in all_metrics(scores, relevant, 10, allowed).items():
        np.testing.assert_array_equal(values, whole[name], err_msg=name)


def test_a_user_without_relevant_items_is_nan_and_touches_nobody():
    scores = np.array([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]])
    for name, values in all_metrics(scores, [np.array([], np.int64), np.array([0])], 2).items():
        assert np.isnan(values[0]), name
        assert values[1] == 1, name


def test_no_users_at_all():
    for values in all_metrics(np.zeros((0, 4)), [], 2).values():
        assert values.shape == (0,)


def test_auc_of_a_user_who_likes_everything_is_undefined():
    assert np.isnan(metrics.auc(np.zeros((1, 2)), [np.array([0, 1])])[0])


def test_recall_divides_by_all_relevant_items_and_ndcg_by_what_k_can_hold():
    scores, relevant = np.array([[4.0, 3.0, 2.0, 1.0]]), [np.array([0, 1, 2])]
    assert metrics.recall(scores, relevant, 2)[0] == pytest.approx(2 / 3)
    assert metrics.ndcg(scores, relevant, 2)[0] == pytest.approx(1)


def test_average_precision_divides_by_what_k_can_hold():
    scores, relevant = np.array([[4.0, 3.0, 2.0, 1.0]]), [np.array([0, 1, 3])]
    assert metrics.mean_average_precision(scores, relevant, 2)[0] == pytest.approx(1)
    assert metrics.mean_average_precision(scores, relevant, 3)[0] == pytest.approx(2 / 3)
    assert metrics.mean_average_precision(scores, relevant)[0] == pytest.approx((1 + 1 + 3 / 4) / 3)


def test_whole_numbers_half_floats_and_repeated_relevant_items():
    scores, relevant = np.array([[1, 3, 2]]), [np.array([2, 2, 2])]
    for kind in (np.int64, np.float16, np.float32):
        assert metrics.ndcg(scores.astype(kind), relevant, 3)[0] == pytest.approx(1 / np.log2(3))


@pytest.mark.parametrize(
    ("scores", "relevant", "k", "allowed", "says"),
    [
        (np.array([[0.0, np.nan]]), [[0]], 1, None, r"scores\[0, 1\] is NaN"),
        (np.zeros(3), [[0]], 1, None, "expected \\(users, items\\)"),
        (np.zeros((2, 3)), [[0]], 1, None, "expected 2 arrays"),
        (np.zeros((1, 3)), [[3]], 1, None, "0..2"),
        (np.zeros((1, 3)), [[-1]], 1, None, "0..2"),
        (np.zeros((1, 3)), [[0.5]], 1, None, "item indices"),
        (np.zeros((1, 3)), [[True, False, False]], 1, None, "np.flatnonzero"),
        (np.zeros((1, 3)), [[0]], 0, None, "at least 1"),
        (np.zeros((1, 3)), [[0]], 1, np.ones((1, 2), bool), "allowed"),
        (np.zeros((1, 3)), [[0]], 1, np.ones((1, 3)), "allowed: expected bool"),
    ],
)
def test_what_cannot_be_ranked_is_refused(scores, relevant, k, allowed, says):
    with pytest.raises(DataError, match=says):
        metrics.ndcg(scores, [np.array(wanted) for wanted in relevant], k, allowed)


def test_nan_in_a_later_block_is_named_by_its_own_row(monkeypatch):
    monkeypatch.setattr(metrics, "_CELLS", 4)
    scores = np.zeros((5, 2))
    scores[3, 1] = np.nan
    with pytest.raises(DataError, match=r"scores\[3, 1\]"):
        metrics.rank_targets(scores, [np.array([0])] * 5)
