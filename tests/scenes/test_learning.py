"""Mixes learn what there is, and a scene that is left out has had no part in what is tried on it."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec.errors import DataError
from llmrec.scenes.learned import DESIGNS, ZERO, Design
from llmrec.scenes.learning import MixSettings, fit_mix, learn, worth
from llmrec.scenes.mix import slopes
from llmrec.scenes.readings import COLUMNS
from llmrec.scenes.worlds import Episode

pytestmark = pytest.mark.slow  # scenes are learned


def made(seed: int, weight: float, tasks: int = 400) -> Episode:
    """Six candidates; the chance of one goes with `weight` times its `bought`."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(tasks, 6, len(COLUMNS))).astype(np.float32)
    score = weight * inputs[:, :, COLUMNS.index("bought")] + rng.gumbel(size=(tasks, 6))
    first = score.argmax(1)
    rows = np.arange(tasks)
    inputs[rows, 0], inputs[rows, first] = inputs[rows, first], inputs[rows, 0]
    return Episode(inputs, np.zeros((tasks, 6), np.float32))


def test_a_line_finds_the_weight_that_made_the_world():
    mix = fit_mix([[made(0, 1.5, 4000)]], Design("one", ("bought",)), MixSettings(bends=0, steps=300, batch=256, decay=0.0), 0)
    assert mix.line[0] / mix.spread[0] == pytest.approx(1.5, abs=0.15)


def test_slopes_are_those_of_the_loss():
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=shape) for shape in ((2,), (2, 3), (3,), (3,))]
    inputs, offset = rng.normal(size=(5, 6, 2)), rng.normal(size=(5, 6))
    offset[1, 3] = -np.inf

    def loss():
        line, bend, at, out = weights
        score = inputs @ line + np.maximum(inputs @ bend + at, 0) @ out + offset
        return (np.log(np.exp(score).sum(1)) - score[:, 0]).mean()

    for weight, slope in zip(weights, slopes(weights, inputs, offset), strict=True):
        for place in np.ndindex(weight.shape):
            kept = weight[place]
            sides = []
            for step in (1e-6, -1e-6):
                weight[place] = kept + step
                sides.append(loss())
            weight[place] = kept
            assert slope[place] == pytest.approx((sides[0] - sides[1]) / 2e-6, abs=1e-6)


def test_worth_is_the_log_probability_of_the_first():
    mix = fit_mix([[made(0, 1.0)]], Design("one", ("bought", "mean")), MixSettings(bends=3, steps=20), 0)
    other = made(1, 1.0)
    other.offset[:, 2], other.offset[:, 3] = 1.0, -np.inf
    score = mix({name: other.inputs[:, :, COLUMNS.index(name)] for name in mix.names}) + other.offset
    chance = np.exp(score[:, 0]) / np.exp(score).sum(1)
    np.testing.assert_allclose(worth(mix, [other]), np.log(chance), atol=1e-5)


def test_offsets_are_learned_through():
    """A candidate that stands for many is no reason to score it higher."""
    one = made(0, 0.0, 4000)
    one.offset[:, 1:] = np.log(50.0)
    one.inputs[:, 1:, COLUMNS.index("bought")] += 1.0  # what is right 1 time in 251 is lower here
    mix = fit_mix([[one]], Design("one", ("bought",)), MixSettings(bends=0, steps=300, batch=256, decay=0.0), 0)
    assert mix.line[0] < 0


def test_known_scenes_with_habits_promise_gains_and_others_do_not(known, aimless):
    assert [one.name for one in known.designs] == [one.name for one in DESIGNS]
    assert known.gain.shape == known.spread.shape == (2, len(DESIGNS))
    assert known.gain.max() > 3 * known.spread.min() > 0
    assert known.gain[1].max() > known.gain[0].max()  # 64 users say more than 16
    assert aimless.gain.max() < 0.1 * known.gain.max()
    assert known.best(64) == int(known.gain[1].argmax()) and known.best(0) is None
    assert known.later.zero.names == ZERO.columns and known.later.by_size[1][2].names == DESIGNS[2].columns


def test_the_nearest_size_is_nearest_as_a_ratio(known):
    assert [known.size(users) for users in (0, 1, 16, 31, 33, 64, 10_000)] == [0, 0, 0, 0, 1, 1, 1]


def test_one_scene_cannot_be_left_out(shop):
    with pytest.raises(DataError, match="two known scenes or more, got 1"):
        learn([shop(0, True)], np.random.default_rng(0))
