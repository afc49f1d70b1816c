"""Counts against loops over written-down histories."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from llmrec.data.dataset import EventWeights
from llmrec.data.tasks import Tasks, first_baskets
from llmrec.errors import DataError
from llmrec.models import counts
from llmrec.models.counts import basket_items, membership, support_counts, user_item_weights, user_items
from llmrec.models.item_item import fit_ease, fit_item_knn, fit_markov
from llmrec.models.popularity import fit_most_frequent, fit_popularity
from llmrec.models.sasrec import SasrecSettings, fit_sasrec


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


def test_counting_one_support_makes_no_table_of_all_events_and_indices_of_32_bits(world, random_history, monkeypatch):
    """The first would grow with everybody's events; with 64 bits, products would copy the indices of the other table."""
    tasks = first_baskets(world(random_history, 12), np.arange(25), known=3, horizon=1)
    expected = support_counts(tasks).toarray()
    for name in ("basket_of_events", "user_of_baskets"):
        monkeypatch.setattr(counts, name, None)
    found = support_counts(tasks)
    assert np.array_equal(found.toarray(), expected)
    assert found.indices.dtype == found.indptr.dtype == np.int32


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
    plain = user_item_weights(dataset).toarray()
    assert plain.tolist() == (user_items(dataset).toarray() > 0).tolist()
    kind = np.random.default_rng(0).integers(0, 3, dataset.n_events).astype(np.float32)
    typed = replace(
        dataset, attributes={"event_type": kind}, event_types=("a", "b", "c"), event_weights=EventWeights((0.1, 1.0, 0.0))
    )
    expected = np.zeros(plain.shape)
    for user, item, code in zip(typed.user, typed.item, kind, strict=True):
        expected[user, item] = max(expected[user, item], (0.1, 1.0, 0.0)[int(code)])
    np.testing.assert_allclose(user_item_weights(typed).toarray(), expected, rtol=1e-6)


def test_a_basket_counts_an_item_with_the_largest_weight_of_its_events_and_says_what_it_holds(world, random_history):
    dataset = world(random_history, 12)
    kind = np.random.default_rng(0).integers(0, 3, dataset.n_events).astype(np.float32)
    typed = replace(
        dataset, attributes={"event_type": kind}, event_types=("a", "b", "c"), event_weights=EventWeights((0.1, 1.0, 0.0))
    )
    baskets = [(user, number) for user, history in enumerate(random_history) for number in range(len(history))]
    expected = np.zeros((len(baskets), 12))
    for user, basket, item, code in zip(typed.user, typed.basket, typed.item, kind, strict=True):
        row = baskets.index((user, basket))
        expected[row, item] = max(expected[row, item], (0.1, 1.0, 0.0)[int(code)])
    found = basket_items(typed)
    np.testing.assert_allclose(found.toarray(), expected, rtol=1e-6)
    assert membership(found).toarray().tolist() == basket_items(dataset).toarray().tolist()
    assert user_items(typed).toarray().tolist() == user_items(dataset).toarray().tolist()


@pytest.fixture
def disliked(world, random_history):
    """A third of the events, of the first type, counts 0."""
    dataset = world(random_history, 12)
    kind = np.random.default_rng(0).integers(0, 3, dataset.n_events).astype(np.float32)
    return replace(
        dataset, attributes={"event_type": kind}, event_types=("a", "b", "c"), event_weights=EventWeights((0.0, 1.0, 1.0))
    )


FITS = {
    "popularity": fit_popularity,
    "recent": partial(fit_popularity, recent=300.0),
    "by position": partial(fit_popularity, position=(1, 3)),
    "most frequent": fit_most_frequent,
    "item kNN": fit_item_knn,
    "kNN by the log": partial(fit_item_knn, log=True, include_self=True),
    "EASE": partial(fit_ease, ridge=3.0),
    "EASE by the log": partial(fit_ease, ridge=3.0, log=True),
    "Markov": partial(fit_markov, horizon=2, last=2),
    "SASRec": partial(fit_sasrec, settings=SasrecSettings(width=8, layers=1, epochs=1)),
}


@pytest.mark.parametrize("name", FITS)
def test_events_that_count_0_are_as_if_they_had_not_been(disliked, name):
    bare, fit, users = disliked.keep(disliked.sample_weight > 0), FITS[name], np.arange(20)
    assert bare.n_events < disliked.n_events
    tasks = first_baskets(disliked, np.arange(20, 25), known=3, horizon=0)
    found = fit(disliked, users).scores(tasks)
    np.testing.assert_array_equal(found, fit(bare, users).scores(tasks.counted))
    everything = replace(disliked, event_weights=EventWeights())
    assert (found != fit(everything, users).scores(replace(tasks, dataset=everything))).any()


def scores_with(dataset, name, event_weights, **attributes):
    """Scores of the last five users, fitted on the others."""
    dataset = replace(dataset, event_weights=event_weights, attributes={**dataset.attributes, **attributes})
    return FITS[name](dataset, np.arange(20)).scores(first_baskets(dataset, np.arange(20, 25), known=3, horizon=0))


@pytest.mark.parametrize("name", FITS)
def test_where_all_weights_are_1_nothing_changes(disliked, name):
    plain = scores_with(disliked, name, EventWeights())
    np.testing.assert_array_equal(scores_with(disliked, name, EventWeights((1.0, 1.0, 1.0))), plain)
    threes = np.full(disliked.n_events, 3.0, np.float32)
    np.testing.assert_array_equal(scores_with(disliked, name, EventWeights((), 3.0), weight=threes), plain)


@pytest.mark.parametrize("name", [name for name in FITS if name != "SASRec"])
def test_events_that_count_little_are_counted_little(disliked, name):
    """Less than in full, and not as if they had not been."""
    whole, little, none = (scores_with(disliked, name, EventWeights((factor, 1.0, 1.0))) for factor in (1.0, 0.1, 0.0))
    assert (little != whole).any() and (little != none).any()


@pytest.mark.parametrize("name", FITS)
def test_the_unit_of_a_column_of_weights_is_its_mean(disliked, name):
    weight = np.random.default_rng(1).integers(1, 5, disliked.n_events).astype(np.float32)
    one, other = (scores_with(disliked, name, EventWeights((), c * 2.0), weight=c * weight) for c in (1.0, 8.0))
    np.testing.assert_array_equal(one, other)


def test_sasrec_counts_events_that_count_little_whole(disliked):
    whole, little = (scores_with(disliked, "SASRec", EventWeights((factor, 1.0, 1.0))) for factor in (1.0, 0.1))
    np.testing.assert_array_equal(little, whole)


@pytest.mark.parametrize("decay", [1.0, 0.5])
def test_a_history_counts_events_of_little_weight_whole(disliked, decay):
    whole, little = (replace(disliked, event_weights=EventWeights((factor, 1.0, 1.0))) for factor in (1.0, 0.1))
    one, other = (support_counts(first_baskets(data, np.arange(25), known=3, horizon=0), decay) for data in (whole, little))
    assert (one != other).nnz == 0


def test_every_event_can_be_counted_whatever_it_counts(disliked):
    tasks = first_baskets(disliked, np.arange(25), known=3, horizon=0)
    whole = support_counts(tasks, decay=0.5, every=True)
    assert (
        whole != support_counts(replace(tasks, dataset=replace(disliked, event_weights=EventWeights())), decay=0.5)
    ).nnz == 0
    assert whole.sum() > support_counts(tasks, decay=0.5).sum()
