"""Surprise is the divergence of a window's counts from a scene's shares."""

from __future__ import annotations

import numpy as np

from llmrec.drift.surprise import SMOOTH, divergence, scene_shares


def test_shares_are_smoothed_counts():
    found = scene_shares(np.array([[0, 0, 1], [2, 2, 2]]), np.array([0, 1]), 2, 3)
    assert np.allclose(found[0], (np.array([2, 1, 0]) + SMOOTH) / (3 + 3 * SMOOTH))
    assert np.allclose(found.sum(1), 1)


def test_divergence_is_zero_for_the_scenes_own_shares_and_else_what_the_formula_says():
    items = np.array([[0, 0, 1, 2]])
    found = divergence(items, np.array([[0.5, 0.25, 0.25], [0.2, 0.2, 0.6]]))
    own = np.array([0.5, 0.25, 0.25])
    assert np.allclose(found, [[0, (own * np.log(own / [0.2, 0.2, 0.6])).sum()]])


def test_items_that_a_scene_never_sold_surprise_it_most():
    shares = scene_shares(np.array([[0, 0, 1, 1]] * 9), np.zeros(9, int), 1, 4)
    usual, rare, never = divergence(np.array([[0, 1, 0, 1], [0, 0, 0, 0], [2, 3, 2, 3]]), shares)[:, 0]
    assert usual < rare < never
