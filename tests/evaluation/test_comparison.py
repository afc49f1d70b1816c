"""The comparison: users count once, every arm is in every cell, differences are paired and signed as they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmrec.data.tasks import first_baskets
from llmrec.evaluation.comparison import best, by_user, cells, compare, quality, unseen


@pytest.fixture
def tasks(random_shop):
    return first_baskets(random_shop, np.arange(random_shop.n_users), 1, 1)


def test_a_user_with_many_tasks_counts_once(tasks):
    doubled = tasks.take(np.array([0, 0, 1]))
    np.testing.assert_allclose(by_user(np.array([0.0, 1.0, 0.2]), doubled), [0.5, 0.2])


def test_a_task_without_an_answer_leaves_its_user_to_the_others(tasks):
    doubled = tasks.take(np.array([0, 0, 1]))
    found = by_user(np.array([np.nan, 1.0, np.nan]), doubled)
    assert found[0] == 1.0
    assert np.isnan(found[1])


def test_new_cells_rank_only_what_the_support_does_not_hold(tasks):
    mask = unseen(tasks)
    for task in range(len(tasks)):
        had = set(tasks.dataset.item[tasks.support(task)].tolist())
        assert set(np.flatnonzero(~mask[task]).tolist()) == had


def test_the_oracle_beats_the_contrary_by_all_there_is(tasks):
    def oracle(part):
        scores = np.zeros((len(part), part.dataset.n_items), np.float32)
        for task, items in enumerate(part.relevant()):
            scores[task, items] = 1.0
        return scores

    def contrary(part):
        return -oracle(part)

    arms = {"llmrec": (oracle, oracle), "most_frequent": (contrary, contrary)}
    rows = compare(cells("world", {1: tasks})[:1], arms, "llmrec", ("llmrec",), 0, np.random.default_rng(0))
    found = {(row.method, row.versus, row.metric): row for row in rows}
    assert found["llmrec", "", "ndcg@10"].value == pytest.approx(1.0)
    assert found["most_frequent", "", "auc"].value == pytest.approx(0.0)
    assert found["llmrec", "most_frequent", "auc"].value == pytest.approx(1.0)
    assert {row.n for row in rows} == {len(tasks)}


def test_an_arm_may_have_another_function_for_new_items(tasks):
    asked = []

    def named(name):
        def scores(part):
            asked.append(name)
            return np.zeros((len(part), part.dataset.n_items), np.float32)

        return scores

    one = named("one")
    compare(
        cells("world", {1: tasks}),
        {"a": (one, one), "b": (named("all"), named("new"))},
        "a",
        ("a",),
        0,
        np.random.default_rng(0),
    )
    assert asked == ["one", "all", "new"]


def test_quality_is_the_mean_over_users_of_what_they_have(tasks):
    """User 0 has three tasks with the first place missed in none, user 1 one task with nothing right."""
    doubled = tasks.take(np.array([0, 0, 0, 1]))
    cell = cells("validation", {1: doubled})[0]
    scores = np.zeros((4, tasks.dataset.n_items), np.float32)
    for task in range(3):
        scores[task, cell.relevant[task]] = 1.0
    scores[3, cell.relevant[3]] = -1.0
    last = quality(cells("validation", {1: tasks.take(np.array([1]))})[0], scores[3:])
    assert last < 0.9
    assert quality(cell, scores) == pytest.approx((1.0 + last) / 2)
    nothing = replace(cell, relevant=[np.zeros(0, np.int64)] * 4)
    assert quality(nothing, scores) == 0.0


def test_the_best_way_is_found_and_the_first_where_nothing_tells(tasks):
    cell = cells("validation", {1: tasks})[0]

    def constant(part):
        return np.zeros((len(part), part.dataset.n_items), np.float32)

    def oracle(part):
        scores = constant(part)
        for task, items in enumerate(part.relevant()):
            scores[task, items] = 1.0
        return scores

    assert best(cell, [constant, oracle, lambda part: -oracle(part)]) == 1
    assert best(cell, [constant, constant]) == 0
    nobody = replace(cell, tasks=tasks.take(np.zeros(0, np.int64)), relevant=[])
    assert best(nobody, [constant, oracle]) == 0
