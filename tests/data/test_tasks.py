from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmrec.data.build import build
from llmrec.data.dataset import Dataset, EventWeights
from llmrec.data.tasks import (
    Tasks,
    expand_ranges,
    first_baskets,
    full_histories,
    joined,
    last_baskets,
    sample_windows,
    without_queries,
)


def shop(rows: int = 500) -> Dataset:
    rng = np.random.default_rng(0)
    user = rng.integers(0, 30, rows)
    basket = user * 10 + rng.integers(0, 8, rows)
    # A basket happens at one time, and baskets of a user at different times.
    time = np.random.default_rng(1).permutation(400)[basket]
    return build({"user_id": user, "item_id": rng.integers(0, 20, rows), "timestamp": time, "basket_id": basket})[0]


def hold_the_laws(tasks: Tasks, known: range, horizon: int) -> None:
    dataset = tasks.dataset
    for task in range(len(tasks)):
        support, query = tasks.support(task), tasks.query(task)
        assert support.stop == query.start
        assert set(dataset.user[support.start : query.stop]) == {tasks.user[task]}
        assert dataset.time[support].max() < dataset.time[query].min()  # later, not merely after
        baskets = [set(dataset.basket[rows].tolist()) for rows in (support, query)]
        assert not baskets[0] & baskets[1]
        assert len(baskets[0]) in known
        assert len(baskets[1]) == horizon


def test_first_baskets_by_a_plain_loop():
    dataset = shop()
    everyone = np.arange(dataset.n_users)
    tasks = first_baskets(dataset, everyone, known=3, horizon=2)
    hold_the_laws(tasks, range(3, 4), 2)
    assert tasks.user.tolist() == [user for user in everyone if len(set(dataset.basket[dataset.user == user])) >= 5]
    assert tasks.start.tolist() == dataset.start[tasks.user].tolist()


def test_last_baskets_leave_all_before_them():
    dataset = shop()
    users = np.flatnonzero(dataset.n_baskets > 2)[::3]
    tasks = last_baskets(dataset, users, horizon=2)
    assert tasks.user.tolist() == users.tolist()
    assert tasks.start.tolist() == dataset.start[users].tolist() and tasks.stop.tolist() == dataset.start[users + 1].tolist()
    hold_the_laws(tasks, range(1, 100), 2)
    left = without_queries(tasks)
    assert left.users is dataset.users and left.n_events == dataset.n_events - (tasks.stop - tasks.split).sum()
    for user in range(dataset.n_users):
        mine, kept = dataset.item[dataset.user == user], left.item[left.user == user]
        assert kept.tolist() == mine[: len(kept)].tolist()
        assert left.n_baskets[user] == dataset.n_baskets[user] - 2 * (user in users)


def test_joined_tasks_are_the_first_then_the_second():
    dataset = shop()
    first, second = first_baskets(dataset, np.arange(20), 2, 1), last_baskets(dataset, np.flatnonzero(dataset.n_baskets > 2), 2)
    both = joined(first, second)
    for part, rows in ((first, np.arange(len(first))), (second, len(first) + np.arange(len(second)))):
        there = both.take(rows)
        assert [there.start.tolist(), there.split.tolist(), there.stop.tolist()] == [
            part.start.tolist(),
            part.split.tolist(),
            part.stop.tolist(),
        ]


def test_sampled_windows_keep_the_laws_and_repeat_with_their_generator():
    dataset = shop()
    users = np.arange(5, 20)
    tasks = sample_windows(dataset, users, known=(2, 4), horizon=1, count=400, rng=np.random.default_rng(3))
    assert len(tasks) == 400
    hold_the_laws(tasks, range(2, 5), 1)
    assert set(tasks.user.tolist()) == {user for user in users if dataset.n_baskets[user] >= 3}
    again = sample_windows(dataset, users, known=(2, 4), horizon=1, count=400, rng=np.random.default_rng(3))
    np.testing.assert_array_equal(again.start, tasks.start)
    np.testing.assert_array_equal(again.stop, tasks.stop)
    # Anywhere in the history: also at its very end and its very beginning.
    assert (tasks.stop == dataset.start[1:][tasks.user]).any()
    assert (tasks.start == dataset.start[tasks.user]).any()


def test_lengths_are_drawn_log_uniformly():
    user, time = np.divmod(np.arange(50 * 40), 40)
    dataset = build({"user_id": user, "item_id": time % 3, "timestamp": time})[0]
    tasks = sample_windows(dataset, np.arange(50), (2, 31), 1, 20_000, np.random.default_rng(0))
    length = dataset.basket[tasks.split - 1] - dataset.basket[tasks.start] + 1
    octaves = np.histogram(length, [2, 4, 8, 16, 32])[0] / len(tasks)
    np.testing.assert_allclose(octaves, 0.25, atol=0.02)


def test_a_query_may_end_with_the_history():
    dataset = shop()
    tasks = sample_windows(dataset, np.arange(dataset.n_users), (1, 4), 3, 500, np.random.default_rng(0), least=1)
    end, first = dataset.first_basket[1:][tasks.user], np.searchsorted(dataset.basket_start, tasks.split)
    asked = np.searchsorted(dataset.basket_start, tasks.stop) - first
    assert np.array_equal(asked, np.minimum(3, end - first)) and set(asked) == {1, 2, 3}
    assert set(tasks.user.tolist()) == set(np.flatnonzero(dataset.n_baskets >= 2).tolist())


def test_nobody_long_enough_is_an_error():
    with pytest.raises(ValueError, match="no user has 50"):
        sample_windows(shop(), np.arange(5), (50, 60), 1, 10, np.random.default_rng(0))
    assert len(first_baskets(shop(), np.arange(5), 50, 1)) == 0


def test_relevant_items_are_distinct_and_new_ones_are_not_in_the_support():
    dataset = shop()
    tasks = first_baskets(dataset, np.arange(dataset.n_users), known=2, horizon=3)
    for task, (every, new) in enumerate(zip(tasks.relevant(), tasks.relevant(new_only=True), strict=True)):
        wanted, had = set(dataset.item[tasks.query(task)].tolist()), set(dataset.item[tasks.support(task)].tolist())
        assert every.tolist() == sorted(wanted)
        assert new.tolist() == sorted(wanted - had)
    some = tasks.take(np.array([2, 0]))
    assert some.user.tolist() == [tasks.user[2], tasks.user[0]]
    assert some.query(0) == tasks.query(2)


def test_everything_known_is_the_whole_history_and_nothing_is_asked():
    dataset = shop()
    tasks = full_histories(dataset, np.array([4, 1]))
    assert tasks.user.tolist() == [4, 1]
    for task, user in enumerate((4, 1)):
        assert np.arange(dataset.n_events)[tasks.support(task)].tolist() == np.flatnonzero(dataset.user == user).tolist()
        assert len(dataset.item[tasks.query(task)]) == 0


def test_tasks_over_the_events_that_count():
    dataset = shop()
    kind = np.random.default_rng(3).integers(0, 2, dataset.n_events).astype(np.float32)
    typed = replace(
        dataset, attributes={"event_type": kind}, event_types=("bad", "good"), event_weights=EventWeights((0.0, 1.0))
    )
    tasks = first_baskets(typed, np.arange(typed.n_users), known=2, horizon=2)
    counted = tasks.counted
    for task, relevant in enumerate(tasks.relevant()):
        for one, other in ((tasks.support(task), counted.support(task)), (tasks.query(task), counted.query(task))):
            assert typed.item[one][kind[one] == 1].tolist() == counted.dataset.item[other].tolist()
        query = tasks.query(task)
        assert relevant.tolist() == sorted(set(typed.item[query][kind[query] == 1].tolist()))
        new = set(relevant.tolist()) - set(typed.item[tasks.support(task)].tolist())
        assert tasks.relevant(new_only=True)[task].tolist() == sorted(new)
    assert first_baskets(dataset, np.arange(3), 2, 2).counted.dataset is dataset, "where all count, nothing is copied"


def test_ranges_are_expanded_in_their_order_also_empty_ones():
    owner, index = expand_ranges(np.array([5, 2, 9, 0]), np.array([7, 2, 12, 1]))
    assert owner.tolist() == [0, 0, 2, 2, 2, 3] and index.tolist() == [5, 6, 9, 10, 11, 0]
    assert [len(part) for part in expand_ranges(np.zeros(0, np.int64), np.zeros(0, np.int64))] == [0, 0]
