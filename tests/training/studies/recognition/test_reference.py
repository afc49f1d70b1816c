"""Scores against known scenes: Fisher's discriminant where there are others to learn from, Mahalanobis' distance where not."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec.drift.signature import shrunk_covariance
from llmrec.errors import DataError
from studies.recognition.reference import CLIP, RIDGE, deviations, fit_references, together


def draw(rng, mean, count=400, width=6):
    return rng.normal(size=(count, width)) * [3, 3, 1, 1, 1, 1] + mean


def test_distance_is_that_of_the_shrunk_covariance():
    rng = np.random.default_rng(0)
    values = draw(rng, 0)
    found = fit_references(values, np.zeros(len(values), int), 1)
    normal = np.clip((values - values.mean(0)) / values.std(0), -CLIP, CLIP)
    inside = np.linalg.inv(shrunk_covariance(normal) + RIDGE * np.eye(6))
    away = normal - normal.mean(0)
    assert np.allclose(found.distance(values)[:, 0], [np.sqrt(one @ inside @ one) for one in away])
    assert np.array_equal(found.directed(values), found.distance(values))


def test_directed_is_fishers_discriminant_of_each_scene_against_the_others():
    rng = np.random.default_rng(1)
    scene = np.repeat(np.arange(3), 400)
    values = np.concatenate([draw(rng, mean) for mean in (0, [0, 0, 1, 0, 0, 0], [0, 0, 0, 2, 0, 0])])
    found = fit_references(values, scene, 3)
    normal = found.normalised(values)
    means = np.stack([normal[scene == one].mean(0) for one in range(3)])
    within = shrunk_covariance(normal - means[scene]) + RIDGE * np.eye(6)
    for one in range(3):
        gap = means[[other for other in range(3) if other != one]].mean(0) - means[one]
        fisher = np.linalg.solve(within, gap)
        expected = (normal - means[one]) @ fisher / np.sqrt(gap @ fisher)
        assert np.allclose(found.directed(values)[:, one], expected)
        assert found.directed(values)[scene == one, one].mean() == pytest.approx(0, abs=1e-9)


def test_other_scenes_show_the_way_where_distance_sees_nothing():
    """A new scene differs from home as scenes known before did, by much less than shoppers differ among themselves."""
    rng = np.random.default_rng(2)
    step = np.array([0, 0, 0.7, 0, 0, 0])
    values = np.concatenate([draw(rng, 0), draw(rng, step)])
    found = fit_references(values, np.repeat([0, 1], 400), 2)
    home, new = draw(rng, 0, 1000), draw(rng, step, 1000)

    def auroc(score):
        return (score(new)[:, :1] > score(home)[:, 0]).mean()

    assert auroc(found.directed) > auroc(found.distance) + 0.05
    # No direction can be better than the true one, of 0.7 deviations: Phi(0.7 / sqrt 2) = 0.69.
    assert auroc(found.directed) == pytest.approx(0.69, abs=0.04)


def test_between_is_the_distance_in_the_plane_of_the_scenes():
    """Moving a window where known scenes do not differ changes nothing; beyond all scenes is far from each."""
    rng = np.random.default_rng(5)
    means = (0, [0, 0, 3, 0, 0, 0], [0, 0, 0, 3, 0, 0])
    values, scene = np.concatenate([draw(rng, mean) for mean in means]), np.repeat(np.arange(3), 400)
    found = fit_references(values, scene, 3)
    size, turn = np.linalg.eigh(found.precision)
    root = turn * np.sqrt(size) @ turn.T  # another square root than the one taken
    plane = np.linalg.qr(((found.means - found.means[0])[1:] @ root).T)[0]
    expected = np.linalg.norm((found.normalised(values)[:, None] - found.means) @ root @ plane, axis=-1)
    assert np.allclose(found.between(values), expected)
    assert (found.between(values) <= found.distance(values) + 1e-9).all()
    beyond = np.array([[0, 0, -6.0, 0, 0, 0], [0, 0, 0, 0, 0, 0]])
    far, near = found.between(beyond)
    assert far.min() > 3 > near.min()
    assert found.directed(beyond)[0, 0] < 0  # which a direction alone takes for more of the same
    one = fit_references(values, np.zeros(len(values), int), 1)
    assert np.array_equal(one.between(values), one.distance(values))


def test_units_and_outliers_do_not_decide():
    rng = np.random.default_rng(3)
    values, scene = np.concatenate([draw(rng, 0), draw(rng, 1)]), np.repeat([0, 1], 400)
    scaled = values * [1, 10, 100, 1, 0.1, 5] + 7
    assert np.allclose(fit_references(values, scene, 2).directed(values), fit_references(scaled, scene, 2).directed(scaled))
    wild = values[:2].copy()
    wild[0, 2], wild[1, 2] = 1e3, 1e9
    found = fit_references(values, scene, 2)
    wild[1, [0, 1, 3, 4, 5]] = wild[0, [0, 1, 3, 4, 5]]
    assert np.allclose(*found.directed(wild))
    constant = np.column_stack([values, np.ones(len(values))])
    assert np.isfinite(fit_references(constant, scene, 2).directed(constant)).all()


def test_a_scene_without_windows_is_named():
    with pytest.raises(DataError, match="scene 1 has no window"):
        fit_references(np.zeros((4, 2)), np.array([0, 0, 2, 2]), 3)


def test_scores_in_deviations_of_what_was_learned_from():
    rng = np.random.default_rng(4)
    scores, scene, learned = rng.normal(size=(60, 2)) * [3, 0.1] + 5, np.repeat([0, 1], 30), np.arange(60) % 3 > 0
    found = deviations(scores, scene, learned)
    for one in range(2):
        own = found[learned & (scene == one), one]
        assert own.mean() == pytest.approx(0, abs=1e-9) and own.std() == pytest.approx(1)
    assert np.allclose(deviations(7 * scores - 2, scene, learned), found)
    other = np.where(learned[:, None], scores, 99.0)
    assert np.allclose(deviations(other, scene, learned)[learned], found[learned])  # the rest has no part in the scale
    assert np.isfinite(deviations(np.ones((60, 2)), scene, learned)).all()
    assert np.allclose(together(found, found, 0), found) and np.allclose(together(0 * found, found, 2), 2 * found)
