"""Steps go down the loss of a scene's own events, from where they begin and no further than they may."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec.scenes.learned import Design
from llmrec.scenes.learning import MixSettings, fit_mix, worth
from llmrec.scenes.mix import Mix
from llmrec.scenes.readings import COLUMNS
from llmrec.scenes.stepping import RATE, stepped
from llmrec.scenes.worlds import Episode

pytestmark = pytest.mark.slow  # scenes are learned

SEEN = Design("two", ("bought", "mean"))


def made(seed: int, column: str, tasks: int = 600) -> Episode:
    """Six candidates; the chance of one goes with what `column` says of it."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(tasks, 6, len(COLUMNS))).astype(np.float32)
    first = (1.5 * inputs[:, :, COLUMNS.index(column)] + rng.gumbel(size=(tasks, 6))).argmax(1)
    rows = np.arange(tasks)
    inputs[rows, 0], inputs[rows, first] = inputs[rows, first], inputs[rows, 0]
    return Episode(inputs, np.zeros((tasks, 6), np.float32))


def known() -> Mix:
    return fit_mix([[made(0, "bought")]], SEEN, MixSettings(bends=3, steps=80), 0)


def distance(one: Mix, other: Mix) -> float:
    return float(np.sqrt(sum(((a - b) ** 2).sum() for a, b in zip(one.weights, other.weights, strict=True))))


def test_a_scene_that_is_not_like_the_known_ones_is_found_by_its_own_events():
    mix, other, before = known(), made(1, "mean"), [weight.copy() for weight in known().weights]
    found = stepped(mix, made(2, "mean"), 60, 0.1)
    assert worth(found, [other]).mean() > worth(mix, [other]).mean() + 0.5
    for weight, was in zip(mix.weights, before, strict=True):
        np.testing.assert_array_equal(weight, was)  # the known scenes' mix stays as it is


def test_each_step_goes_down_and_is_no_longer_than_its_rate():
    mix, own = known(), made(2, "mean")
    losses = [-worth(stepped(mix, own, count, 0.02), [own]).mean() for count in range(8)]
    assert (np.diff(losses) < 0).all()
    for count in (1, 5):
        assert 0 < distance(stepped(mix, own, count), mix) <= count * RATE + 1e-5


def test_nothing_to_go_by_is_no_step():
    mix = known()
    empty = Episode(np.zeros((0, 1, len(COLUMNS)), np.float32), np.zeros((0, 1), np.float32))
    assert distance(stepped(mix, empty), mix) == 0 == distance(stepped(mix, made(2, "mean"), 0), mix)
