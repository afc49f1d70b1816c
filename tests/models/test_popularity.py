"""One contract for every control, on a checkerboard whose right answer is known beforehand.

The world: items 0..5 are one half, 6..11 the other; each user buys from one half only, and of three users two buy from the
first. Popularity must put the first half on top for everyone, most frequent what the user bought, and the item-item
controls the user's own half.
"""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, replace

import numpy as np
import pytest

from llmrec.data.dataset import Dataset, EventWeights
from llmrec.data.tasks import Tasks, first_baskets
from llmrec.errors import DataError
from llmrec.metrics.ranking import ndcg
from llmrec.models.item_item import fit_ease, fit_item_knn, fit_markov
from llmrec.models.popularity import Popularity, choose, fit_most_frequent, fit_popularity

ITEMS, HALF = 12, 6
FIRST, SECOND = set(range(HALF)), set(range(HALF, ITEMS))


def checkerboard(world) -> Dataset:
    rng = np.random.default_rng(3)
    history = []
    for user in range(36):
        half = HALF * (user % 3 == 2) + np.arange(HALF)
        history.append([rng.choice(half, 2).tolist() for _ in range(6)])
    return world(history, ITEMS)


def relabelled(dataset: Dataset, name: np.ndarray) -> Dataset:
    """Item i becomes item name[i]."""
    return replace(dataset, item=name[dataset.item].astype(np.int32))


class Contract:
    """Subclasses say how to fit and which items have to be on top of a task's ranking."""

    def fit(self, dataset: Dataset, users: np.ndarray):
        raise NotImplementedError

    def right(self, bought: set[int]) -> set[int]:
        """Items that must be above all others, for a user who bought these."""
        raise NotImplementedError

    @pytest.fixture
    def dataset(self, world) -> Dataset:
        return checkerboard(world)

    @pytest.fixture
    def train(self) -> np.ndarray:
        return np.arange(24)

    @pytest.fixture
    def tasks(self, dataset) -> Tasks:
        return first_baskets(dataset, np.arange(24, 36), known=3, horizon=2)

    def test_the_right_items_are_on_top(self, dataset, train, tasks):
        scores = self.fit(dataset, train).scores(tasks)
        assert scores.shape == (12, ITEMS)
        assert scores.dtype == np.float32
        for row in range(len(tasks)):
            right = self.right(set(dataset.item[tasks.support(row)].tolist()))
            top, rest = sorted(right), sorted(set(range(ITEMS)) - right)
            assert scores[row, top].min() > scores[row, rest].max()

    def test_the_query_is_not_read(self, dataset, train, tasks):
        item = dataset.item.copy()
        for row in range(len(tasks)):
            item[tasks.query(row)] = ITEMS - 1 - item[tasks.query(row)]
        other = Tasks(replace(dataset, item=item), tasks.start, tasks.split, tasks.stop)
        control = self.fit(dataset, train)
        np.testing.assert_array_equal(control.scores(other), control.scores(tasks))

    def test_only_training_users_are_read(self, dataset, train, tasks):
        item = dataset.item.copy()
        item[dataset.user >= 24] = 0
        fitted = self.fit(replace(dataset, item=item), train).scores(tasks)
        np.testing.assert_array_equal(fitted, self.fit(dataset, train).scores(tasks))

    def test_the_names_of_items_do_not_matter(self, dataset, train, tasks):
        name = np.random.default_rng(0).permutation(ITEMS)
        other = relabelled(dataset, name)
        moved = self.fit(other, train).scores(Tasks(other, tasks.start, tasks.split, tasks.stop))
        np.testing.assert_allclose(moved[:, name], self.fit(dataset, train).scores(tasks), rtol=1e-5, atol=1e-6)

    def test_the_order_of_training_users_does_not_matter(self, dataset, train, tasks):
        back = self.fit(dataset, train[::-1]).scores(tasks)
        np.testing.assert_allclose(back, self.fit(dataset, train).scores(tasks), rtol=1e-5, atol=1e-6)

    def test_a_batch_is_its_tasks_one_by_one(self, dataset, train, tasks):
        control = self.fit(dataset, train)
        alone = [control.scores(tasks.take(np.array([row]))) for row in range(len(tasks))]
        np.testing.assert_array_equal(np.concatenate(alone), control.scores(tasks))

    def test_an_empty_support_has_finite_scores(self, dataset, train, tasks):
        scores = self.fit(dataset, train).scores(Tasks(dataset, tasks.start, tasks.start, tasks.stop))
        assert scores.shape == (12, ITEMS)
        assert np.isfinite(scores).all()

    def test_without_training_users_scores_are_finite(self, dataset, tasks):
        assert np.isfinite(self.fit(dataset, np.array([], np.int64)).scores(tasks)).all()

    def test_another_catalogue_is_refused(self, world, dataset, train):
        other = first_baskets(world([[[0], [1]]], ITEMS + 1), np.arange(1), known=1, horizon=1)
        with pytest.raises(DataError, match="expected a catalogue of 12 items, got 13"):
            self.fit(dataset, train).scores(other)

    def test_it_is_frozen_and_its_scores_are_the_callers(self, dataset, train, tasks):
        control = self.fit(dataset, train)
        with pytest.raises(FrozenInstanceError):
            setattr(control, fields(control)[0].name, None)
        before = control.scores(tasks)
        control.scores(tasks)[:] = -1
        np.testing.assert_array_equal(control.scores(tasks), before)

    def test_items_that_nobody_bought_do_no_harm(self, dataset, train, tasks):
        wide = replace(dataset, catalogue=replace(dataset.catalogue, ids=type(dataset.users)(list(range(ITEMS + 3)))))
        wide_tasks = Tasks(wide, tasks.start, tasks.split, tasks.stop)
        scores = self.fit(wide, train).scores(wide_tasks)
        assert np.isfinite(scores).all()
        np.testing.assert_allclose(scores[:, :ITEMS], self.fit(dataset, train).scores(tasks), atol=0.5)
        assert (scores[:, ITEMS:].max(axis=1) <= scores[:, :ITEMS].min(axis=1)).all()


class TestPopularity(Contract):
    def fit(self, dataset, users):
        return fit_popularity(dataset, users)

    def right(self, bought):
        return FIRST


class TestRecentPopularity(TestPopularity):
    def fit(self, dataset, users):
        return fit_popularity(dataset, users, recent=400.0)


class TestPopularityByPosition(TestPopularity):
    def fit(self, dataset, users):
        return fit_popularity(dataset, users, position=(1, 6))


class TestMostFrequent(Contract):
    def fit(self, dataset, users):
        return fit_most_frequent(dataset, users)

    def right(self, bought):
        return bought


class TestItemKnn(Contract):
    def fit(self, dataset, users):
        return fit_item_knn(dataset, users, shrink=1.0)

    def right(self, bought):
        return FIRST if bought <= FIRST else SECOND


class TestItemKnnForRepeats(TestItemKnn):
    def fit(self, dataset, users):
        return fit_item_knn(dataset, users, shrink=1.0, log=True, decay=0.8, include_self=True)


class TestEase(TestItemKnn):
    def fit(self, dataset, users):
        return fit_ease(dataset, users, ridge=50.0)

    # a ridge regression may give an item that nobody bought, weight 0, more than one with a negative weight
    def test_items_that_nobody_bought_do_no_harm(self, dataset, train, tasks):
        wide = replace(dataset, catalogue=replace(dataset.catalogue, ids=type(dataset.users)(list(range(ITEMS + 3)))))
        scores = self.fit(wide, train).scores(Tasks(wide, tasks.start, tasks.split, tasks.stop))
        assert (scores[:, ITEMS:] == 0).all()
        np.testing.assert_allclose(scores[:, :ITEMS], self.fit(dataset, train).scores(tasks), rtol=1e-5, atol=1e-6)


class TestEaseForRepeats(TestEase):
    def fit(self, dataset, users):
        return fit_ease(dataset, users, ridge=50.0, log=True, decay=0.8, repeat=1.0)


class TestMarkov(TestItemKnn):
    def fit(self, dataset, users):
        return fit_markov(dataset, users, last=2, horizon=3, shrink=5.0)


def test_popularity_counts_baskets_in_all_in_the_last_time_and_by_position(world):
    dataset = world([[[0, 0, 1], [0]], [[1], [1], [2]], [[2]]], 3)  # baskets at seconds 0, 100, 200
    everyone = np.arange(3)
    assert fit_popularity(dataset, everyone).count.tolist() == [2, 3, 2]
    assert fit_popularity(dataset, everyone[:1]).count.tolist() == [2, 1, 0]
    assert fit_popularity(dataset, everyone, recent=100.0).count.tolist() == [1, 1, 1]
    assert fit_popularity(dataset, everyone, recent=0.0).count.tolist() == [0, 0, 1]
    assert fit_popularity(dataset, everyone, position=(1, 3)).count.tolist() == [1, 1, 1]
    assert fit_popularity(dataset, everyone, recent=100.0, position=(1, 2)).count.tolist() == [1, 1, 0]


def viewed(dataset, code, view=0.1):
    """The same where events of code 0 are views, of weight `view`, and those of code 1 purchases."""
    kind = {"event_type": np.asarray(code, np.float32)}
    return replace(dataset, attributes=kind, event_types=("view", "buy"), event_weights=EventWeights((view, 1.0)))


@pytest.mark.parametrize("where", [{}, {"recent": 200.0}, {"position": (1, 3)}, {"recent": 300.0, "position": (1, 4)}])
def test_popularity_sums_the_largest_weights_of_the_baskets(world, random_history, where):
    dataset = world(random_history, 12)
    typed = viewed(dataset, np.random.default_rng(0).integers(0, 2, dataset.n_events))
    last, expected = dataset.time[dataset.user < 20].max(), np.zeros(12)
    for user in range(20):
        for number in range(len(random_history[user])):
            first, stop = where.get("position", (0, 99))
            if 100.0 * number >= last - where.get("recent", np.inf) and first <= number < stop:
                here = (dataset.user == user) & (dataset.basket == number)
                for item in set(dataset.item[here]):
                    expected[item] += typed.sample_weight[here & (dataset.item == item)].max()
    np.testing.assert_allclose(fit_popularity(typed, np.arange(20), **where).count, expected, rtol=1e-6)


def test_ten_views_of_a_tenth_are_as_popular_as_one_purchase(world):
    """Item 0 is viewed by ten users, item 1 bought by one, item 2 viewed five times by one of them."""
    dataset = world([*[[[0]]] * 10, [[1]], [[2]] * 5], 3)
    count = fit_popularity(viewed(dataset, [0] * 10 + [1] + [0] * 5), np.arange(12)).count
    np.testing.assert_allclose(count, [1.0, 1.0, 0.5], rtol=1e-6)
    twice = world([[[0, 0]], [[0]]], 1)  # what was viewed and then bought in one basket was bought
    np.testing.assert_allclose(fit_popularity(viewed(twice, [0, 1, 0]), np.arange(2)).count, [1.1], rtol=1e-6)


def test_most_frequent_is_frequency_and_then_popularity(world):
    train = [[[0], [0], [1]], [[0], [1], [2]]]  # popularity 3, 2, 1, 0
    dataset = world([*train, [[3], [3], [2], [1], [0]]], 4)
    tasks = first_baskets(dataset, np.array([2]), known=4, horizon=1)
    order = np.argsort(-fit_most_frequent(dataset, np.arange(2)).scores(tasks)[0])
    assert order.tolist() == [3, 1, 2, 0]


def test_popularity_decides_among_equals_beside_large_frequencies(world):
    dataset = world([[[item] for item in range(50) for _ in range(item + 1)], [[0]] * 400 + [[1]] * 400 + [[2]]], 50)
    tasks = first_baskets(dataset, np.array([1]), known=800, horizon=1)
    scores = fit_most_frequent(dataset, np.array([0])).scores(tasks)[0]
    assert np.argsort(-scores).tolist() == [1, 0, *range(49, 1, -1)]
    assert len(np.unique(scores)) == 50


def constant(name: str, best: int) -> Popularity:
    return Popularity(name, np.eye(ITEMS)[best])


def test_choose_takes_the_best_on_these_tasks_and_of_equals_the_first(world):
    dataset = world([[[0], [5]], [[0], [5]], [[0], [7]]], ITEMS)
    tasks = first_baskets(dataset, np.arange(3), known=1, horizon=1)

    def metric(scores, tasks):
        return ndcg(scores, tasks.relevant(), 1)

    five, seven, again = constant("five", 5), constant("seven", 7), constant("again", 5)
    assert choose([seven, five, again], tasks, metric) is five
    assert choose([seven, five], tasks.take(np.array([2])), metric) is seven


def test_choose_leaves_nan_tasks_out_and_refuses_nothing_but_nan(world):
    dataset = world([[[0], [5]], [[0], [7]]], ITEMS)
    tasks = first_baskets(dataset, np.arange(2), known=1, horizon=1)

    def first_is_nan(scores, tasks):
        return np.where(np.arange(len(tasks)) == 0, np.nan, ndcg(scores, tasks.relevant(), 1))

    assert choose([constant("five", 5), constant("seven", 7)], tasks, first_is_nan).name == "seven"
    with pytest.raises(DataError, match="'five' is NaN for all 2 tasks"):
        choose([constant("five", 5)], tasks, lambda scores, tasks: np.full(len(tasks), np.nan))
    with pytest.raises(DataError, match="at least one"):
        choose([], tasks, first_is_nan)
