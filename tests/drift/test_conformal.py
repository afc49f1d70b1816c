"""p-values keep their promise, exactly."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from llmrec.drift.conformal import p_values, scene_p_values, stream_p_values
from llmrec.errors import DataError


def test_over_all_orders_a_p_value_is_at_most_a_as_often_as_it_says():
    """Exchangeability by counting: each of six scores is the new one in turn, in every order."""
    for scores in ([3.0, 1.0, 4.0, 1.5, 9.0, 2.6], [1.0, 1.0, 2.0, 2.0, 2.0, 3.0]):
        found = [float(p_values(np.array(order[1:]), np.array(order[0]))) for order in itertools.permutations(scores)]
        for size in range(1, 7):
            level = Fraction(size, 6)
            share = Fraction(sum(p <= float(level) + 1e-12 for p in found), len(found))
            assert share <= level
            assert len(set(scores)) < 6 or share == level  # without ties nothing is given away


def test_a_p_value_counts_those_at_least_as_strange():
    held = np.array([1.0, 2.0, 2.0, 5.0])
    assert np.allclose(p_values(held, np.array([0, 2, 3, 9])), [1, 4 / 5, 2 / 5, 1 / 5])
    assert p_values(np.zeros(0), np.array([1.0, 99.0])).tolist() == [1, 1]
    with pytest.raises(DataError, match="got NaN"):
        p_values(held, np.array([np.nan]))


def test_each_scene_has_calibration_of_its_own():
    held = [np.array([1.0, 2.0, 3.0]), np.array([10.0])]
    found = scene_p_values(held, np.array([[2.5, 2.5], [9.0, 11.0]]))
    assert np.allclose(found, [[2 / 4, 1], [1 / 4, 1 / 2]])


def test_a_stream_without_change_gives_independent_uniform_numbers():
    rng = np.random.default_rng(0)
    found = np.stack([stream_p_values(rng.normal(size=9), rng.normal(size=6).round(1), rng) for _ in range(4000)])
    for place in range(6):
        assert stats.kstest(found[:, place], "uniform").pvalue > 1e-3
    correlation = np.corrcoef(found.T) - np.eye(6)
    assert np.abs(correlation).max() < 4 / np.sqrt(4000)


def test_a_stream_looks_at_calibration_and_the_past_alone():
    held, scores = np.arange(10.0), np.array([3.5, 20.0, 1.0, 30.0])
    whole = stream_p_values(held, scores, np.random.default_rng(1))
    part = stream_p_values(held, scores[:2], np.random.default_rng(1))
    assert np.array_equal(whole[:2], part)
    assert 0 < whole[1] <= 1 / 12 and 0 < whole[3] <= 1 / 14
    assert 10 / 13 < whole[2] <= 12 / 13  # of the twelve before, ten are higher and one is its equal
