"""A mixture is of answers: of one scene it is that scene, of two it is the mean of their probabilities."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec.errors import DataError
from llmrec.scenes.opening import adapt, zero_shot
from llmrec.scenes.shelf import part_of
from llmrec.scenes.worlds import last_steps
from studies.scenes.mixture import Mixture, by_likeness


def chance(scores):
    found = np.exp(scores.astype(np.float64) - scores.max(1, keepdims=True))
    return found / found.sum(1, keepdims=True)


def test_probabilities_are_mixed(known, shop):
    world = shop(7, True)
    among = np.arange(world.dataset.n_items) < 40
    scene = zero_shot(known, part_of(world.shelf, among))
    adapted = adapt(scene, world.dataset, np.arange(64), 2)
    tasks = last_steps(world.dataset, np.arange(64, 100), among)
    one, other = chance(scene.scores(tasks)), chance(adapted.scores(tasks))
    np.testing.assert_allclose(np.exp(Mixture((scene,), np.ones(1)).scores(tasks)), one, atol=1e-6)
    mixed = np.exp(Mixture((scene, adapted), np.array([0.25, 0.75])).scores(tasks))
    np.testing.assert_allclose(mixed, 0.25 * one + 0.75 * other, atol=1e-6)
    assert (mixed[:, ~among] == 0).all()


def test_weights_go_from_even_to_the_nearest_alone():
    known = np.array([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]]) + 9  # what all have in common says nothing
    centre = np.array([9.9, 9.1, 9.0])
    np.testing.assert_allclose(by_likeness(centre, known, 0.0), 1 / 3)
    soft = by_likeness(centre, known, 4.0)
    assert soft[0] > soft[1] > soft[2] > 0 and soft.sum() == pytest.approx(1)
    assert by_likeness(centre, known, np.inf).tolist() == [1, 0, 0]
    with pytest.raises(DataError, match="at least one scene"):
        by_likeness(centre, known[:0], 1.0)
