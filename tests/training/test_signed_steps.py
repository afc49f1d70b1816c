"""Steps towards the weights of a user: where they end, against the closed form and against finite differences."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr

from llmrec.signed.beliefs import Beliefs, Described, described, inputs, posterior
from llmrec.signed.labels import Labels, Scale
from llmrec.signed.learning import learn
from studies.ratings.melu import Episode
from studies.signed import steps


@pytest.fixture(scope="module")
def beliefs() -> Beliefs:
    rng = np.random.default_rng(0)
    user, item = np.repeat(np.arange(60), 40), np.concatenate([rng.permutation(80)[:40] for _ in range(60)])
    value = np.where(item % 2 == user % 2, 5.0, 2.0) - (rng.random(len(user)) < 0.3)
    return learn(Labels(user, item, value), Scale((), (), True, 4.0, 4.7, 1.7), np.zeros((80, 1)))


@pytest.fixture
def known(beliefs) -> tuple[Described, np.ndarray]:
    item = np.arange(3, 15)
    return described(beliefs, item), np.where(item % 2, 5.0, 2.0)


def test_gradient_steps_come_nearer_to_the_closed_form_and_end_there(beliefs, known):
    whole = posterior(beliefs, *known)
    rate = np.linalg.eigvalsh(whole.covariance[:-1, :-1])[0]  # one over the largest bend of the loss
    far = [np.linalg.norm(steps.descent(beliefs, rate, n)(*known).mean - whole.mean) for n in (0, 1, 5, 5000)]
    assert far[0] > far[1] > far[2] > far[3] and far[3] < 1e-9
    np.testing.assert_allclose(steps.descent(beliefs, rate, 1)(*known).covariance, whole.covariance, atol=1e-12)


def test_a_newton_step_on_narrow_levels_is_the_closed_form(beliefs, known):
    items, value = known
    level = np.arange(0, 7, 1e-3)
    cut = ((level[1:] + level[:-1]) / 2 - beliefs.centre) / beliefs.spread
    found, whole = steps.newton(beliefs, steps.Levels(level, cut))(items, value), posterior(beliefs, items, value)
    np.testing.assert_allclose(found.mean, whole.mean, atol=1e-5)
    np.testing.assert_allclose(found.covariance, whole.covariance, atol=1e-5)


def test_a_newton_step_on_likes_has_the_slope_and_the_bend_of_their_likelihood(beliefs, known):
    items, value = known
    cut, liked = 0.3, value >= 4
    start = inputs(beliefs, items) @ beliefs.prior
    spread = np.sqrt(beliefs.noise + beliefs.serial.variance + items.variance)

    def loss(weights: np.ndarray) -> float:
        margin = (items.mean + items.features @ weights - cut) / spread
        return float(((weights - start) ** 2).sum() / 2 - np.log(ndtr(np.where(liked, margin, -margin))).sum())

    size, axes = 1e-4, np.eye(len(start))
    slope = np.array([(loss(start + size * a) - loss(start - size * a)) / (2 * size) for a in axes])
    bend = np.array([[_second(loss, start, size * a, size * b) / size**2 for b in axes] for a in axes])
    found = steps.newton(beliefs, steps.Levels(np.array([2.0, 5.0]), np.array([cut])))(items, value)
    np.testing.assert_allclose(found.mean[:-1], start - np.linalg.solve(bend, slope), atol=1e-4)
    np.testing.assert_allclose(found.covariance[:-1, :-1], np.linalg.inv(bend), atol=1e-4)


def test_cut_points_and_rates_are_those_that_foretell_queries_best(beliefs):
    rng = np.random.default_rng(1)
    item = np.stack([rng.permutation(80)[:30] for _ in range(30)])
    value = np.where(item % 2 == np.arange(30)[:, None] % 2, 5.0, 2.0)
    asked = [Episode(0, i[:10], v[:10], i[10:], v[10:]) for i, v in zip(item, value, strict=True)]
    levels = steps.learned_levels(beliefs, asked)
    assert levels.value.tolist() == [2.0, 5.0] and len(levels.cut) == 1
    rate = steps.learned_rate(beliefs, asked, 3)
    assert rate in steps.RATES and rate > steps.RATES[0]  # too small a rate leaves the user where all users are


def _second(loss, at: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """A central second difference along a and b."""
    return (loss(at + a + b) - loss(at + a - b) - loss(at - a + b) + loss(at - a - b)) / 4
