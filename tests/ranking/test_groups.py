"""Counts by group: groups with tastes of their own are told from groups without, and few users from many."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from worlds import build

from llmrec.data.attributes import Attributes, encode, learn_encoding
from llmrec.data.dataset import Dataset
from llmrec.data.tasks import first_baskets, without_history
from llmrec.index.candidates import Candidates, Sources
from llmrec.index.faiss_index import build as build_index
from llmrec.ranking.features import FOR_BLEND, features_for_blend
from llmrec.ranking.groups import FEATURES, POPULAR, Groups, fit_groups
from llmrec.ranking.statistics import fit_statistics, read_texts
from llmrec.ranking.two_stage import Retrieval, retrieve_by_attributes

ITEMS, USERS = 20, 200


def attributes(**columns) -> Attributes:
    table = pa.table({name: list(values) for name, values in columns.items()})
    return encode(learn_encoding(table, "users")[0], table, "users")[0]


@pytest.fixture(scope="module")
def planted() -> Dataset:
    """Users of `taste` 0 take items 0 to 9 nine times in ten, those of taste 1 items 10 to 19; `noise` says nothing."""
    rng, history = np.random.default_rng(0), []
    for user in range(USERS):
        chance = np.where(np.arange(ITEMS) // 10 == user % 2, 0.9, 0.1)
        history.append([[int(item)] for item in rng.choice(ITEMS, 6, replace=False, p=chance / chance.sum())])
    given = attributes(
        taste=[f"t{user % 2}" for user in range(USERS)], noise=[f"n{value}" for value in rng.integers(0, 4, USERS)]
    )
    return replace(build(history, ITEMS), user_attributes=given)


@pytest.fixture(scope="module")
def groups(planted) -> Groups:
    return fit_groups(planted, planted.user_attributes, 2)


def every(tasks: int) -> Candidates:
    start = np.arange(tasks + 1) * ITEMS
    return Candidates(start, np.tile(np.arange(ITEMS, dtype=np.int32), tasks), np.zeros(tasks * ITEMS, np.uint8))


def test_a_taste_is_found_and_noise_is_pulled_to_nothing(groups):
    noise, taste = groups.lift[:4], groups.lift[4:]  # columns ascend by name
    assert (taste[0, :10] > 0.3).all() and (taste[0, 10:] < -0.5).all()
    assert (taste[1, 10:] > 0.3).all() and (taste[1, :10] < -0.5).all()
    assert np.abs(noise).max() < 0.15


def test_a_group_of_few_users_is_pulled_to_what_everybody_takes():
    """Two groups of the same taste for item 0: the ratio of the one with five users is the nearer to 1."""
    rng = np.random.default_rng(1)
    history = [[[0] if user < 45 else [int(item)] for item in rng.permutation(8)[:3]] for user in range(400)]
    given = attributes(kind=["few"] * 5 + ["many"] * 40 + [f"rest{user % 5}" for user in range(355)])
    lift = fit_groups(build(history, 8), given, 3).lift
    assert 0 < lift[0, 0] < lift[1, 0]


def test_features_add_up_what_is_known_and_read_no_support(planted, groups):
    tasks = first_baskets(planted, np.arange(6), 0, 2)
    found = every(len(tasks))
    table = groups.features(tasks, found).reshape(len(tasks), ITEMS, len(FEATURES))
    group = planted.user_attributes.groups()
    for t in range(len(tasks)):
        assert np.allclose(table[t, :, 2], groups.lift[group[t]].sum(0), atol=1e-6)
        assert np.allclose(table[t, :, 3], groups.first_lift[group[t]].sum(0), atol=1e-6)
        assert np.array_equal(table[t, :, 0], groups.popularity) and np.array_equal(table[t, :, 1], groups.first)
    alone = without_history(planted, planted.user_attributes.take(np.arange(6)))
    assert np.array_equal(groups.features(alone, found), groups.features(tasks, found))
    hidden = replace(tasks, user_attributes=tasks.user_attributes.hide(np.ones((len(tasks), 2), bool)))
    assert not groups.features(hidden, found)[:, 2:].any()
    one = groups.features(tasks.take(np.array([3])), every(1))
    assert np.array_equal(one, groups.features(tasks, found)[3 * ITEMS : 4 * ITEMS])


def test_first_baskets_are_counted_apart():
    """Everybody takes item 0 first and the others later."""
    history = [[[0], [1], [2], [3]]] * 20
    groups = fit_groups(build(history, 4), attributes(kind=["a", "b"] * 10), 1)
    assert np.ptp(groups.popularity) < 1e-5 and groups.first.argmax() == 0
    assert groups.first[0] > groups.first[1] + 0.2


def test_each_group_brings_its_own_items(planted, groups):
    task, item = groups.candidates(planted.user_attributes.take(np.array([0, 1, -1])), 7)
    assert set(task.tolist()) == {0, 1} and len(item) == 2 * 2 * 7 and groups.popular.shape == (6, min(POPULAR, ITEMS))
    taste = groups.popular[4:, :8]
    assert (taste[0] < 10).all() and (taste[1] >= 10).all()


def test_the_blend_reads_the_log_ratio_of_the_users_groups(planted, groups):
    counts = fit_statistics(planted, np.arange(USERS), 2, read_texts(planted), np.random.default_rng(0))
    np.testing.assert_array_equal(counts.groups.lift, groups.lift)
    tasks = first_baskets(planted, np.arange(6), 1, 2)
    found = every(len(tasks))
    column = features_for_blend(tasks, found, counts)[:, FOR_BLEND.index("by_group")].reshape(len(tasks), ITEMS)
    np.testing.assert_allclose(column, groups.lift[planted.user_attributes.groups()[:6]].sum(1), atol=1e-6)
    assert not features_for_blend(replace(tasks, user_attributes=None), found, counts).any()


def test_who_has_no_events_is_offered_what_their_groups_take(planted):
    """Beside what is popular; nothing that is not allowed."""
    counts = fit_statistics(planted, np.arange(USERS), 2, read_texts(planted), np.random.default_rng(0))
    retrieval = Retrieval(build_index(np.eye(ITEMS, 3, dtype=np.float32)), counts, Sources(text_k=0, popular_k=2))
    asked = planted.user_attributes.take(np.array([0, 1, -1]))
    tasks, popular = without_history(planted, asked), set(retrieval.popular[:2].tolist())
    allowed = np.arange(ITEMS) != counts.groups.popular[4, 0]
    for may in (None, allowed):
        found = retrieve_by_attributes(retrieval, tasks, np.zeros((3, 2), np.float32), may)
        for task in range(3):
            mine = [counts.groups.popular[group, :2] for group in asked.groups()[task] if group >= 0]
            wanted = set(np.concatenate([np.zeros(0, int), *mine]).tolist())
            wanted = (wanted | popular) if may is None else {item for item in wanted if may[item]}
            assert wanted <= set(found.of(task).tolist())
            assert len(found.of(task)) == len(wanted) if may is None else allowed[found.of(task)].all()
        assert set(found.of(0).tolist()) != set(found.of(1).tolist())
