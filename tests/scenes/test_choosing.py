"""Where there is nothing to learn no adapter is deployed; where one does harm it is rolled back."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec.scenes.choosing import both_together, choose, held_gains, surprise
from llmrec.scenes.opening import adapt, zero_shot
from llmrec.scenes.worlds import last_steps, right

pytestmark = pytest.mark.slow  # scenes are learned

SUPPORT, ASKED = np.arange(64), np.arange(64, 260)


@pytest.mark.slow
def test_where_there_are_no_habits_next_to_nothing_is_lost(aimless, known, shop):
    """A tenth of what is gained where there are some: noise may be deployed, harm may not."""

    def gained(learned, habits, seed):
        world = shop(seed, habits)
        scene, tasks = zero_shot(learned, world.shelf), last_steps(world.dataset, ASKED, world.shelf.among)
        target = right(tasks, world.shelf.among, np.random.default_rng(0))
        deployed = choose(scene, world.dataset, SUPPORT, np.random.default_rng(seed)).scene
        return (surprise(scene, tasks, target) - surprise(deployed, tasks, target)).mean()

    there = np.mean([gained(known, True, seed) for seed in (11, 12, 13)])
    assert there > 0.1
    assert min(gained(aimless, False, seed) for seed in (11, 12, 13)) > -0.1 * there


def test_a_world_with_habits_is_adapted(known, shop):
    world = shop(11, True)
    chosen = choose(zero_shot(known, world.shelf), world.dataset, SUPPORT, np.random.default_rng(0))
    assert chosen.scene.design == int(chosen.expected.argmax())
    assert chosen.expected.max() > 0 and chosen.scene.few.users == 64


def test_own_events_overrule_what_known_scenes_promise(known, shop):
    world = shop(11, False)  # known scenes have habits, this one has none
    chosen = choose(zero_shot(known, world.shelf), world.dataset, np.arange(200), np.random.default_rng(0))
    assert chosen.known.max() > 0 > chosen.held.max()
    assert chosen.scene.name == "zero steps"


def test_what_is_expected_is_the_posterior_unless_the_two_contradict_each_other():
    one = np.ones(3)
    mean, unsure = both_together(known=1 * one, spread=one, held=np.array([2.0, 0.0, -9.0]), error=np.array([1.0, 1e-3, 1.0]))
    np.testing.assert_allclose(mean, [1.5, 0.0, -9.0], atol=1e-5)
    np.testing.assert_allclose(unsure, [0.5**0.5, 1e-3, 1.0], atol=1e-6)


def test_one_user_cannot_be_held_back_from_oneself(known, shop):
    world = shop(11, True)
    scene = zero_shot(known, world.shelf)
    assert held_gains(scene, world.dataset, np.array([3]), np.random.default_rng(0), False, 4).shape == (0, len(known.gain[0]))
    chosen = choose(scene, world.dataset, np.array([3]), np.random.default_rng(0))
    assert chosen.scene.name == "zero steps" and np.isnan(chosen.held).all()


@pytest.mark.parametrize("again", [False, True])
def test_surprise_is_the_softmax_over_what_may_come(known, shop, again):
    world = shop(11, True)
    scene = adapt(zero_shot(known, world.shelf), world.dataset, SUPPORT, 2)
    tasks = last_steps(world.dataset, ASKED[:9], world.shelf.among)
    target = right(tasks, world.shelf.among, np.random.default_rng(0))
    found, scores = surprise(scene, tasks, target, again), scene.scores(tasks).astype(np.float64)
    for task in range(len(tasks)):
        may = np.ones(scores.shape[1], bool)
        may[world.dataset.item[tasks.support(task)]] = again
        expected = np.log(np.exp(scores[task][may]).sum()) - scores[task, target[task]]
        assert found[task] == pytest.approx(expected, abs=1e-6)
