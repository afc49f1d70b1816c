"""Floors of the ratings study: means, the mean of a film and a user's offset, matrix factorisation, metadata kernel ridge.

Each is a pure function of what is trained on that gives, for one user that is asked, predictions (Q,) of the query. A film
without a rating is at the level, except for the kernel ridge, which foretells it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from llmrec.signed.factors import factorise
from studies.ratings.films import Kernel, combined
from studies.ratings.gaussian import film_effects, film_posterior
from studies.ratings.melu import Episode, World
from studies.ratings.ours import Belief

Predict = Callable[[Episode], np.ndarray]
METADATA = ("genres", "directors", "writers", "actors", "mpaa", "decade")
_SHRINK = 4.0  # ratings' worth of a user's offset; 3 to 5 are alike on validation
_BIAS, _NOISE, _UNEXPLAINED = 0.13, 0.6, 0.11  # variances of offsets, ratings, and films; the fitted models' own


def global_mean(world: World) -> Predict:
    """The mean of all training ratings."""
    level = float(world.warm.value.mean())
    return lambda asked: np.full(len(asked.asked), level)


def user_mean(_: World) -> Predict:
    """The mean of the support."""
    return lambda asked: np.full(len(asked.asked), asked.value.mean())


def film_mean(world: World) -> Predict:
    """Shrunk mean of the film, and the shrunk offset of the user from it over the support."""
    effects = film_effects(world.warm, world.films.num_rows)
    mean = effects.level + effects.shrunk

    def predict(asked: Episode) -> np.ndarray:
        return mean[asked.asked] + (asked.value - mean[asked.item]).sum() / (len(asked.item) + _SHRINK)

    return predict


def matrix_factorisation(world: World, k: int = 8, seed: int = 0) -> Predict:
    """Bayesian matrix factorisation without descriptions: a user's few numbers from the support."""
    found = factorise(world.warm, world.films.num_rows, k, seed=seed)
    covariance = found.factors @ found.factors.T + found.offset + np.diag(found.effect_variance)
    return Belief(found.level + found.effect, covariance, found.noise).predict


def kernel_ridge(world: World, kernels: Sequence[Kernel], film: float, user: float) -> Belief:
    """Kernel ridge on films' means and on what is left of each user, over one kernel: the mean of the given ones, each scaled
    to one on its diagonal.

    film, user: how much of a film's effect and of a user's taste the kernel explains (the inverses of the ridges).
    """
    effects = film_effects(world.warm, world.films.num_rows)
    everything, rated = np.arange(world.films.num_rows), effects.rated
    new = np.flatnonzero(effects.count == 0)
    scale = {kernel.name: 1 / (len(kernels) * _diagonal(kernel, everything)) for kernel in kernels}
    alike = combined(kernels, scale, everything, everything)
    mean = effects.level + effects.shrunk
    if len(new):
        mean[new] = effects.level + film_posterior(film * alike, _UNEXPLAINED, effects, rated, new)[0]
    covariance = user * alike + _BIAS
    return Belief(mean, covariance.astype(np.float32), _NOISE)


def _diagonal(kernel: Kernel, films: np.ndarray) -> float:
    """Mean likeness of a film to itself."""
    return 1.0 if kernel.width is not None else max(float((kernel.features[films] ** 2).sum(1).mean()), 1e-9)
