"""Counting controls and blends: the best of two is taken, weights come from others, and what is hidden stays hidden."""

from __future__ import annotations

import numpy as np

from benchmarks.protocol import first_known
from studies.adaptation.bank import lists
from studies.adaptation.counting import best, counting, masked, ndcg, weighed
from studies.adaptation.regimes import Long, long_bank

TOOK = lists(np.arange(4), np.array([0, 1, 2, 3]), 4)


def test_ndcg_of_one_item_is_its_places_discount():
    scores = np.tile(np.array([4.0, 3.0, 2.0, 1.0]), (4, 1))
    np.testing.assert_allclose(ndcg(scores, TOOK), 1 / np.log2(np.arange(2, 6)))
    np.testing.assert_allclose(ndcg(scores, TOOK, 2), [1, 1 / np.log2(3), 0, 0])


def test_a_blend_takes_what_helps_others_and_leaves_what_does_not():
    noise, right = np.random.default_rng(0).random((4, 4)).astype(np.float32), np.eye(4, dtype=np.float32)
    wrong = -right
    asked = 2 * noise
    found, taken = weighed({"base": (noise, asked), "right": (right, right), "wrong": (wrong, wrong)}, TOOK, (0.0, 5.0))
    assert taken == {"right": 5.0, "wrong": 0.0}
    np.testing.assert_allclose(found, asked + 5 * right, rtol=1e-6)


def test_what_one_part_hides_stays_hidden_at_any_weight():
    plain = np.ones((4, 4), np.float32)
    gone = plain.copy()
    gone[:, 2] = -np.inf
    for weights in ((0.0,), (3.0,)):
        found, _ = weighed({"base": (plain, plain), "gone": (gone, gone)}, TOOK, weights)
        assert np.isneginf(found[:, 2]).all() and np.isfinite(found[:, [0, 1, 3]]).all()


def test_controls_find_planted_tastes_and_rank_nothing_known(world, base_of):
    dataset = world(True)
    base = base_of(dataset)
    parts = []
    for users in (np.arange(120, 180), np.arange(180, 240)):
        tasks = first_known(dataset, users, 8, 2, 1)
        parts.append((tasks, long_bank(base, Long(tasks, 1))))
    made = counting(dataset, np.arange(120))
    for controls in (made.ease, made.knn):
        _, found = best(controls, *parts)
        tasks, _ = parts[1]
        for task in range(len(tasks)):
            known, mine = tasks.dataset.item[tasks.support(task)], np.arange(12) + 12 * (tasks.user[task] % 2)
            assert np.isneginf(found[task, known]).all()
            left = np.setdiff1d(mine, known)
            others = np.setdiff1d(np.arange(24), mine)
            assert found[task, left].min() > found[task, others].max()
    scores = np.zeros((len(parts[1][0]), 24))
    assert np.isneginf(masked(scores, parts[1][1])).sum(1).tolist() == [8] * len(scores) and (scores == 0).all()
