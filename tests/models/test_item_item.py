"""Item-item controls against slow independent references."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from llmrec.data.dataset import EventWeights
from llmrec.data.tasks import Tasks, first_baskets
from llmrec.errors import DataError
from llmrec.models import item_item
from llmrec.models.counts import support_counts, user_item_weights
from llmrec.models.item_item import fit_ease, fit_item_knn, fit_markov

USERS = np.arange(20)


@pytest.fixture
def dataset(world, random_history):
    return world(random_history, 12)


@pytest.fixture
def tasks(dataset):
    return first_baskets(dataset, np.arange(20, 25), known=3, horizon=0)


def interactions(history, log: bool) -> np.ndarray:
    counts = np.array([[sum(item in basket for basket in user) for item in range(12)] for user in history[:20]], float)
    return np.log1p(counts) if log else (counts > 0).astype(float)


@pytest.mark.parametrize(
    ("neighbours", "shrink", "log", "include_self"), [(200, 0.0, False, False), (3, 2.5, False, True), (4, 1.0, True, False)]
)
@pytest.mark.parametrize("cells", [1 << 23, 30])
def test_item_knn_is_the_cosine_of_columns(
    dataset, tasks, random_history, monkeypatch, neighbours, shrink, log, include_self, cells
):
    monkeypatch.setattr(item_item, "_CELLS", cells)
    matrix = interactions(random_history, log)
    expected = np.zeros((12, 12))
    for i in range(12):
        for j in set(range(12)) - {i}:
            a, b = matrix[:, i], matrix[:, j]
            expected[i, j] = a @ b / (np.linalg.norm(a) * np.linalg.norm(b) + shrink)
        least = sorted(expected[i], reverse=True)[min(neighbours, 12) - 1]
        expected[i][expected[i] < least] = 0
    expected += np.eye(12) * include_self
    control = fit_item_knn(dataset, USERS, neighbours, shrink, log, decay=0.8, include_self=include_self)
    np.testing.assert_allclose(control.similarity.toarray(), expected, atol=1e-12)
    history = support_counts(tasks, decay=0.8).toarray()
    np.testing.assert_allclose(control.scores(tasks), history @ expected, rtol=1e-6)


def test_neighbours_as_similar_as_the_last_one_all_stay(world):
    dataset = world([[[0], [1]], [[0], [2]], [[0], [3]], [[4]]], 5)
    similarity = fit_item_knn(dataset, np.arange(4), neighbours=2).similarity.toarray()
    assert np.count_nonzero(similarity[0]) == 3  # items 1, 2, 3 are equally similar to item 0


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("exact", [True, False])
def test_ease_is_a_ridge_regression_of_each_item_on_the_others(dataset, random_history, monkeypatch, log, exact):
    if not exact:
        monkeypatch.setattr(item_item, "_EXACT_ITEMS", 0)
    ridge, matrix = 3.0, interactions(random_history, log)
    weight = fit_ease(dataset, USERS, ridge, log=log, repeat=0.25).weight
    for j in range(12):
        others = [i for i in range(12) if i != j]
        x = matrix[:, others]
        expected = np.linalg.solve(x.T @ x + ridge * np.eye(11), x.T @ matrix[:, j])
        np.testing.assert_allclose(weight[others, j], expected, rtol=1e-4, atol=1e-6)
        assert weight[j, j] == 0.25


def test_ease_scores_the_decayed_history(dataset, tasks):
    control = fit_ease(dataset, USERS, 3.0, decay=0.5)
    expected = support_counts(tasks, decay=0.5).toarray() @ control.weight
    np.testing.assert_allclose(control.scores(tasks), expected, rtol=1e-5, atol=1e-6)


def test_ease_regresses_on_what_events_count(dataset):
    """Against the same regression on a matrix of 1 and .25, column by column."""
    liked = np.random.default_rng(0).random(dataset.n_events) < 0.5
    typed = replace(
        dataset,
        attributes={"event_type": np.where(liked, 0, 1).astype(np.float32)},
        event_types=("liked", "other"),
        event_weights=EventWeights((1.0, 0.25)),
    )
    matrix = user_item_weights(typed).toarray()[:20]
    assert set(np.unique(matrix)) == {0.0, 0.25, 1.0}
    weight = fit_ease(typed, USERS, 3.0).weight
    for item in range(12):
        others = [other for other in range(12) if other != item]
        x = matrix[:, others]
        expected = np.linalg.solve(x.T @ x + 3.0 * np.eye(11), x.T @ matrix[:, item])
        np.testing.assert_allclose(weight[others, item], expected, atol=1e-6)
    assert not np.allclose(weight, fit_ease(dataset, USERS, 3.0).weight, atol=1e-3)


@pytest.fixture
def weighted(dataset):
    """Events weigh .1, 1 or 2."""
    kind = np.random.default_rng(3).integers(0, 3, dataset.n_events).astype(np.float32)
    names, factors = ("view", "buy", "subscribe"), EventWeights((0.1, 1.0, 2.0))
    return replace(dataset, attributes={"event_type": kind}, event_types=names, event_weights=factors)


def largest(dataset, user, first, stop) -> dict[int, float]:
    """Per item the largest weight of the user's events with it in the baskets first ... stop - 1, one event at a time."""
    found: dict[int, float] = {}
    for event in np.flatnonzero((dataset.user == user) & (dataset.basket >= first) & (dataset.basket < stop)):
        item = int(dataset.item[event])
        found[item] = max(found.get(item, 0.0), float(dataset.sample_weight[event]))
    return found


@pytest.mark.parametrize("log", [False, True])
def test_item_knn_multiplies_entries_by_weights(weighted, random_history, log):
    matrix, weight = interactions(random_history, log), np.zeros((20, 12))
    for user in range(20):
        for item, most in largest(weighted, user, 0, 99).items():
            weight[user, item] = most
    matrix = matrix * weight
    similarity = fit_item_knn(weighted, USERS, shrink=1.5, log=log).similarity.toarray()
    for i in range(12):
        for j in set(range(12)) - {i}:
            a, b = matrix[:, i], matrix[:, j]
            assert similarity[i, j] == pytest.approx(a @ b / (np.linalg.norm(a) * np.linalg.norm(b) + 1.5), abs=1e-9)


@pytest.mark.parametrize("ridge", [0.0, -1.0, float("nan")])
def test_ease_needs_a_ridge(dataset, ridge):
    with pytest.raises(DataError, match="ridge"):
        fit_ease(dataset, USERS, ridge)


def test_mirror_makes_whole_what_is_below_the_diagonal():
    whole = np.random.default_rng(0).normal(size=(2100, 2100))
    whole = whole + whole.T
    lower = np.asfortranarray(np.tril(whole))
    item_item._mirror(lower)
    np.testing.assert_array_equal(lower, whole)


@pytest.mark.parametrize(("last", "horizon", "shrink"), [(1, 1, 0.0), (2, 3, 4.0), (5, 10, 1.0), (50, 50, 1.0)])
def test_markov_counts_what_follows_each_cut(dataset, tasks, random_history, last, horizon, shrink):
    together, before, after, cuts = np.zeros((12, 12)), np.zeros(12), np.zeros(12), 0
    for history in random_history[:20]:
        for cut in range(1, len(history)):
            known = sorted({item for basket in history[max(0, cut - last) : cut] for item in basket})
            comes = sorted({item for basket in history[cut : cut + horizon] for item in basket})
            cuts += 1
            before[known] += 1
            after[comes] += 1
            together[np.ix_(known, comes)] += 1
    base = after / cuts
    chance = np.tile(base, (12, 1))  # of an item without a cut of its own
    seen = before + shrink > 0
    chance[seen] = (together[seen] + shrink * base) / (before[seen, None] + shrink)
    control = fit_markov(dataset, USERS, last, horizon, shrink, decay=0.8)
    history = support_counts(tasks, decay=0.8, last=last).toarray()
    np.testing.assert_allclose(control.scores(tasks), history @ chance, rtol=1e-6)


@pytest.mark.parametrize(("last", "horizon", "shrink"), [(1, 1, 0.0), (2, 3, 4.0), (3, 4, 1.0), (5, 7, 1.0), (50, 50, 1.0)])
def test_markov_weighs_what_follows_and_reads_in_full_what_precedes(weighted, tasks, last, horizon, shrink):
    together, before, after, cuts = np.zeros((12, 12)), np.zeros(12), np.zeros(12), 0
    for user in range(20):
        for cut in range(1, weighted.n_baskets[user]):
            known = list(largest(weighted, user, max(0, cut - last), cut))
            comes = largest(weighted, user, cut, cut + horizon)
            cuts += 1
            before[known] += 1
            for item, weight in comes.items():
                after[item] += weight
                together[known, item] += weight
    control = fit_markov(weighted, USERS, last, horizon, shrink, decay=0.8)
    np.testing.assert_allclose(control.prior, after / cuts, rtol=1e-9)
    seen = before + shrink > 0
    chance = np.tile(after / cuts, (12, 1))
    chance[seen] = (together[seen] + shrink * after / cuts) / (before[seen, None] + shrink)
    history = support_counts(tasks, decay=0.8, last=last).toarray()
    np.testing.assert_allclose(control.scores(tasks), history @ chance, rtol=1e-6)


def test_chances_of_markov_are_at_most_the_largest_weight(weighted):
    for most, factors in ((1.0, (0.1, 1.0, 0.5)), (2.0, (0.1, 1.0, 2.0))):
        control = fit_markov(replace(weighted, event_weights=EventWeights(factors)), USERS)
        chance = control.follows.toarray() + control.exit_rate[:, None] * control.prior
        assert 0 < chance.max() <= most and control.prior.max() <= most


def test_markov_without_a_history_is_what_follows_anything(dataset, tasks):
    control = fit_markov(dataset, USERS)
    scores = control.scores(Tasks(dataset, tasks.start, tasks.start, tasks.stop))
    assert control.prior.max() > 0
    np.testing.assert_array_equal(scores, np.tile(control.prior.astype(np.float32), (len(tasks), 1)))


def test_markov_knows_the_next_of_a_cycle(world):
    dataset = world([[[(start + step) % 6] for step in range(9)] for start in range(6)], 7)
    tasks = first_baskets(dataset, np.arange(6), known=4, horizon=1)
    scores = fit_markov(dataset, np.arange(6), last=1, horizon=1, shrink=1.0).scores(tasks)
    assert scores.argmax(axis=1).tolist() == [(start + 4) % 6 for start in range(6)]
    assert (scores[:, 6] == 0).all()


@pytest.mark.parametrize("wrong", [{"neighbours": 0}, {"shrink": -1.0}])
def test_item_knn_has_neighbours_and_shrinks_downward(dataset, wrong):
    with pytest.raises(DataError, match="neighbours >= 1"):
        fit_item_knn(dataset, USERS, **wrong)


@pytest.mark.parametrize("decay", [0.0, 1.1, float("nan")])
@pytest.mark.parametrize("fit", [fit_item_knn, fit_markov, partial(fit_ease, ridge=1.0)])
def test_a_decay_out_of_range_is_refused_before_the_work(dataset, fit, decay):
    with pytest.raises(DataError, match="decay"):
        fit(dataset, USERS, decay=decay)


@pytest.mark.parametrize("wrong", [{"last": 0}, {"horizon": 0}, {"shrink": -1.0}])
def test_markov_windows_have_a_range(dataset, wrong):
    with pytest.raises(DataError, match="last >= 1"):
        fit_markov(dataset, USERS, **wrong)
