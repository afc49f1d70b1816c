"""The comparison: users count once, every arm is in every cell, differences are paired and signed as they say."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec.data.tasks import first_baskets
from llmrec.demo.arms import by_user, cells, compare, unseen


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

    arms = {"meta_lora": (oracle, oracle), "most_frequent": (contrary, contrary)}
    rows = compare(cells("world", {1: tasks})[:1], arms, 0, np.random.default_rng(0))
    found = {(row.method, row.versus, row.metric): row for row in rows}
    assert found["meta_lora", "", "ndcg@10"].value == pytest.approx(1.0)
    assert found["most_frequent", "", "auc"].value == pytest.approx(0.0)
    assert found["meta_lora", "most_frequent", "auc"].value == pytest.approx(1.0)
    assert {row.n for row in rows} == {len(tasks)}


def test_an_arm_may_have_another_function_for_new_items(tasks):
    asked = []

    def named(name):
        def scores(part):
            asked.append(name)
            return np.zeros((len(part), part.dataset.n_items), np.float32)

        return scores

    one = named("one")
    compare(cells("world", {1: tasks}), {"a": (one, one), "b": (named("all"), named("new"))}, 0, np.random.default_rng(0))
    assert asked == ["one", "all", "new"]
