"""Counts against loops over written-down histories."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmrec.data.dataset import Worth
from llmrec.data.tasks import Tasks, first_baskets
from llmrec.errors import DataError
from llmrec.models.counts import basket_items, support_counts, user_items, user_worth


def test_a_written_down_example(world):
    tasks = first_baskets(world([[[0, 0, 1], [1], [2]], [[3], [3, 0], [1]]], 4), np.arange(2), known=2, horizon=1)
    assert support_counts(tasks).toarray().tolist() == [[1, 2, 0, 0], [1, 0, 0, 2]]
    assert support_counts(tasks, decay=0.5).toarray().tolist() == [[0.5, 1.5, 0, 0], [1, 0, 0, 1.5]]
    assert support_counts(tasks, last=1).toarray().tolist() == [[0, 1, 0, 0], [1, 0, 0, 1]]


@pytest.mark.parametrize(("decay", "last"), [(1.0, None), (0.8, None), (0.8, 2), (1.0, 1)])
def test_support_counts_are_the_loop(world, random_history, decay, last):
    tasks = first_baskets(world(random_history, 12), np.arange(25), known=3, horizon=1)
    tasks = tasks.take(np.random.default_rng(0).permutation(len(tasks)))
    expected = np.zeros((len(tasks), 12))
    for row, user in enumerate(tasks.user):
        for back, basket in enumerate(reversed(random_history[user][:3])):
            for item in set(basket):
                expected[row, item] += decay**back if last is None or back < last else 0
    np.testing.assert_allclose(support_counts(tasks, decay, last).toarray(), expected)


def test_an_empty_support_has_no_counts(world):
    dataset = world([[[0], [1]], [[2]]], 3)
    edge = np.array([0, 2], np.int64)
    assert support_counts(Tasks(dataset, edge, edge, edge + 1), decay=0.5).toarray().tolist() == [[0, 0, 0], [0, 0, 0]]


def test_no_tasks(world):
    none = first_baskets(world([[[0]]], 3), np.arange(1), known=2, horizon=1)
    assert support_counts(none).shape == (0, 3)


@pytest.mark.parametrize("wrong", [{"decay": 0.0}, {"decay": 1.5}, {"last": 0}])
def test_decay_and_last_have_a_range(world, wrong):
    tasks = first_baskets(world([[[0], [1]]], 2), np.arange(1), known=1, horizon=1)
    with pytest.raises(DataError, match=next(iter(wrong)) + ": expected"):
        support_counts(tasks, **wrong)


def test_baskets_and_users_are_the_loop(world, random_history):
    dataset = world(random_history, 12)
    baskets = [[float(item in basket) for item in range(12)] for history in random_history for basket in history]
    users = [[sum(item in basket for basket in history) for item in range(12)] for history in random_history]
    assert basket_items(dataset).toarray().tolist() == baskets
    assert user_items(dataset).toarray().tolist() == users


def test_a_user_without_events_has_an_empty_row(world):
    dataset = world([[[0]], [[1]]], 2).keep(np.array([False, True]))
    assert user_items(dataset).toarray().tolist() == [[0, 0], [0, 1]]


def test_an_item_counts_what_the_best_of_the_users_events_with_it_does(world, random_history):
    dataset = world(random_history, 12)
    plain = user_worth(dataset).toarray()
    assert plain.tolist() == (user_items(dataset).toarray() > 0).tolist()
    kind = np.random.default_rng(0).integers(0, 3, dataset.n_events).astype(np.float32)
    typed = replace(dataset, attributes={"event_type": kind}, event_types=("a", "b", "c"), worth_by=Worth((0.1, 1.0, 0.0)))
    expected = np.zeros(plain.shape)
    for user, item, code in zip(typed.user, typed.item, kind, strict=True):
        expected[user, item] = max(expected[user, item], (0.1, 1.0, 0.0)[int(code)])
    np.testing.assert_allclose(user_worth(typed).toarray(), expected, rtol=1e-6)
