"""Laws of the Gaussian pieces, against dense formulas and planted variances."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from studies.ratings.films import Kernel
from studies.ratings.gaussian import (
    BIAS,
    CONSTANT,
    COVARIANCE,
    NOISE,
    OFFSET,
    OWN,
    SLOPE,
    Effects,
    film_effects,
    film_posterior,
    film_prior,
    learn_film_prior,
    learn_user_prior,
)
from studies.ratings.melu import Ratings


def test_offsets_and_effects_come_apart():
    """Users who are kind rate the bad films: plain means of films would be the wrong way round."""
    kind, strict = np.repeat([1, 2], 200), np.tile(np.arange(20), 20)
    user = np.concatenate([kind * 1000 + np.tile(np.arange(200), 2)])
    item = np.where(user < 2000, strict, (strict + 10) % 20)
    keep = (user < 2000) == (item < 10)
    both = np.random.default_rng(0).random(400) < 0.3
    user, item = user[keep | both], item[keep | both]
    value = 3 + np.where(user < 2000, 1.0, -1.0) + np.where(item < 10, -0.5, 0.5)
    user = np.where(user < 2000, 1, 2)  # two users with many ratings each: hardly any shrinkage
    found = film_effects(Ratings(user, item, value), 21, rounds=200)
    assert found.mean[:10].mean() < found.mean[10:20].mean()
    assert found.count[20] == 0 and found.shrunk[20] == 0 and 20 not in found.rated
    assert found.level == pytest.approx(value.mean())


def world(seed: int = 0, n: int = 60) -> tuple[list[Kernel], Effects]:
    rng = np.random.default_rng(seed)
    kernels = [Kernel("line", rng.normal(size=(n, 1))), Kernel("near", rng.normal(size=(n, 2)), 1.0)]
    true = 0.6 * kernels[0].features[:, 0] + rng.normal(0, 0.1, n)
    count = rng.integers(5, 60, n)
    return kernels, Effects(3.5, true + rng.normal(0, np.sqrt(0.7 / count)), count, 0.7)


def test_a_foretold_film_is_the_conditional_of_the_joint_gaussian():
    kernels, effects = world(n=12)
    weights = {"line": 0.4, "near": 0.2, CONSTANT: 0.1, OWN: 0.05}
    known, wanted = np.arange(8), np.arange(8, 12)
    mean, cov = film_posterior(film_prior(kernels, weights), weights[OWN], effects, known, wanted)
    joint = 0.4 * kernels[0](np.arange(12), np.arange(12)) + 0.2 * kernels[1](np.arange(12), np.arange(12)) + 0.1
    joint += np.diag(np.r_[0.05 + 0.7 / effects.count[:8], np.full(4, 0.05)])
    precision = np.linalg.inv(joint)  # the conditional read out of the precision, not of Schur's complement
    np.testing.assert_allclose(cov, np.linalg.inv(precision[8:, 8:]), atol=1e-9)
    np.testing.assert_allclose(mean, -cov @ precision[8:, :8] @ effects.mean[:8], atol=1e-9)


def test_the_kernel_that_explains_the_films_gets_the_weight():
    kernels, effects = world(n=150)
    found = learn_film_prior(kernels, effects, np.random.default_rng(0))
    assert found["line"] > 10 * found["near"]
    assert found["line"] > 10 * found[OWN]


def likelihood(found: dict[str, float], supports: list[Ratings], kernel: Kernel, effect: np.ndarray) -> float:
    total = 0.0
    for one in supports:
        cov = found["line"] * kernel(one.item, one.item) + found[BIAS] + found[COVARIANCE] * 0.01 * np.eye(len(one))
        mean = 3.5 + found[OFFSET] + found[SLOPE] * effect[one.item]
        total += multivariate_normal.logpdf(one.value, mean, cov + found[NOISE] * np.eye(len(one)))
    return total


def test_variances_of_users_are_the_most_likely_ones():
    rng = np.random.default_rng(0)
    kernel, effect = Kernel("line", rng.normal(size=(50, 1))), rng.normal(size=50)
    true = {"line": 0.3, BIAS: 0.5, NOISE: 0.4, COVARIANCE: 1.0, OFFSET: 0.2, SLOPE: 0.7}
    supports = []
    for user in range(150):
        item = rng.permutation(50)[: rng.integers(5, 20)]
        cov = 0.3 * kernel(item, item) + 0.5 + 0.41 * np.eye(len(item))
        value = rng.multivariate_normal(3.7 + 0.7 * effect[item], cov)
        supports.append(Ratings(np.full(len(item), user), item, value))
    found = learn_user_prior(supports, 3.5, effect, lambda films: 0.01 * np.eye(len(films)), [kernel], steps=50)
    best = likelihood(found, supports, kernel, effect)
    assert best >= likelihood(true, supports, kernel, effect)
    for name in ("line", BIAS, NOISE):
        for factor in (0.8, 1.25):
            assert best > likelihood(found | {name: factor * found[name]}, supports, kernel, effect)
    for name in (OFFSET, SLOPE):
        for step in (-0.1, 0.1):
            assert best > likelihood(found | {name: found[name] + step}, supports, kernel, effect)
