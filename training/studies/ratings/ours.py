"""Ours on ratings: a learned Gaussian prior of what one user's few numbers are, adapted to a support in closed form.

rating(u, i) = level + effect(i) + offset(u) + taste_u(i) + noise. A film's effect: from its own ratings where it has any, else
from its description, with what remains unsure of it, which is shared by like films. taste_u: a Gaussian over a user's k numbers
(the factors of a matrix factorisation, foretold from the description for a new film) and over kernels of the description. The
variances are learned by marginal likelihood on training users, in two regimes: films that are known, with users that the
factors have not seen; and films that are new, made by leaving out folds of films. A user's support then gives the posterior
of the query, exactly: adapting is one linear solve and needs no step size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve

from llmrec.errors import DataError
from llmrec.signed.factors import Factors, factorise
from studies.ratings.films import Kernel, combined
from studies.ratings.gaussian import (
    BIAS,
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
from studies.ratings.melu import FEWEST, MOST, Episode, Ratings, World, by_user

TASTE = "taste"
K, FOLDS, USERS, LONGEST = 8, 5, 500, 40  # factors; folds of films; users and ratings of each that variances are learned from
HISTORY = 200  # a user's older ratings that are read at most: the solve grows with their cube
_ONLY_FILMS = ("directors", "writers", "actors", "form")  # too sparse for one user: variances under .01 on validation


@dataclass(frozen=True)
class Belief:
    """What is expected of any user's ratings before one of them is seen, in one regime.

    mean: float64 (N,), expected rating. covariance: float32 (N, N), of one user's ratings without their noise. noise: the
    variance of that.
    """

    mean: np.ndarray
    covariance: np.ndarray
    noise: float

    def predict(self, asked: Episode, history: Ratings | None = None) -> np.ndarray:
        """float64 (Q,): posterior mean of the query given the support, and older ratings of the user if given."""
        item, value = asked.item, asked.value
        if history is not None:
            item, value = np.concatenate([history.item, item]), np.concatenate([history.value, value])
        inner = self.covariance[np.ix_(item, item)] + self.noise * np.eye(len(item))
        gain = np.linalg.solve(inner, value - self.mean[item])
        return self.mean[asked.asked] + self.covariance[np.ix_(asked.asked, item)] @ gain


@dataclass(frozen=True)
class Beliefs:
    """One a regime; `new` where the films asked for are new."""

    known: Belief
    new: Belief


def fit(world: World, kernels: Sequence[Kernel], seed: int = 0, kernels_of_users: Sequence[str] | None = None) -> Beliefs:
    """Learn everything from the warm state. kernels: of the films. kernels_of_users: which of them users' tastes run over; None
    for all but the sparse ones, an empty list for the k numbers alone."""
    rng, n_films, warm = np.random.default_rng(seed), world.films.num_rows, world.warm
    effects = film_effects(warm, n_films)
    weights = learn_film_prior(kernels, effects, rng)
    prior, own = film_prior(kernels, weights), weights[OWN]
    names = (
        [kernel.name for kernel in kernels if kernel.name not in _ONLY_FILMS] if kernels_of_users is None else kernels_of_users
    )
    mine = [kernel for kernel in kernels if kernel.name in names]
    whole = factorise(warm, n_films, K, seed=seed)
    rated, unrated = effects.rated, np.flatnonzero(effects.count == 0)
    effect, cov = film_posterior(prior, own, effects, rated, unrated)
    taste = foretold_factors(prior, whole, rated, unrated)
    new = _new(warm, prior, own, effects, whole, mine, rng)
    known = _known(world, mine, rng, seed)
    mean, factors = whole.level + whole.effect, whole.factors.copy()
    mean[unrated], factors[unrated] = effects.level + new[OFFSET] + new[SLOPE] * effect, taste
    films = np.zeros((n_films, n_films), np.float32)
    films[rated, rated] = whole.effect_variance[rated]
    films[np.ix_(unrated, unrated)] = cov
    numbers = (*mine, Kernel(TASTE, factors))
    of_known = mean.copy()
    # Not in `new`: older ratings of known films are of users whom the factors have seen.
    of_known[rated] = whole.level + known[OFFSET] + known[SLOPE] * whole.effect[rated]
    return Beliefs(_belief(of_known, films, numbers, known), _belief(mean, films, numbers, new))


def _belief(mean: np.ndarray, films: np.ndarray, numbers: Sequence[Kernel], weights: dict[str, float]) -> Belief:
    everything = np.arange(len(mean))
    covariance = combined(numbers, weights, everything, everything).astype(np.float32)
    covariance += np.float32(weights[BIAS]) + np.float32(weights[COVARIANCE]) * films
    return Belief(mean, covariance, weights[NOISE])


def foretold_factors(prior: np.ndarray, factors: Factors, known: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """float64 (W, k): factors of films by their descriptions, each a Gaussian process; prior: likeness (N, N)."""
    scale = float(np.diagonal(prior).mean())
    cov, between = prior[np.ix_(known, known)] / scale, prior[np.ix_(wanted, known)] / scale
    found = np.zeros((len(wanted), factors.factors.shape[1]))
    for place in range(found.shape[1]):
        target = factors.factors[known, place]
        size = max(float(target.var()), 1e-6)
        # 0.7: about the part of a factor's variance that descriptions leave unexplained
        noise = factors.factor_variance[known, place] + 0.7 * factors.prior[1 + place]
        found[:, place] = size * between @ solve(size * cov + np.diag(noise), target, assume_a="pos")
    return found


def _new(
    warm: Ratings,
    prior: np.ndarray,
    own: float,
    effects: Effects,
    whole: Factors,
    mine: list[Kernel],
    rng: np.random.Generator,
) -> dict[str, float]:
    """Variances for new films: each fold of films is foretold from the others, and users rate those of one fold."""
    n_films, rated = len(effects.count), effects.rated
    fold = np.full(n_films, -1)
    fold[rated] = rng.integers(0, FOLDS, len(rated))
    effect, factors, covariance = np.zeros(n_films), np.zeros((n_films, K)), np.zeros((n_films, n_films), np.float32)
    supports: list[Ratings] = []
    for one in range(FOLDS):
        inside, outside = np.flatnonzero(fold == one), rated[fold[rated] != one]
        effect[inside], covariance[np.ix_(inside, inside)] = film_posterior(prior, own, effects, outside, inside)
        factors[inside] = foretold_factors(prior, whole, outside, inside)
        supports += _supports(warm.take(fold[warm.item] == one), rng)
    numbers = [*mine, Kernel(TASTE, factors)]
    some = _some(supports, rng)
    return learn_user_prior(some, effects.level, effect, lambda films: covariance[np.ix_(films, films)], numbers)


def _known(world: World, mine: list[Kernel], rng: np.random.Generator, seed: int) -> dict[str, float]:
    """Variances for known films, from one fifth of the users, whom the factors here have not seen."""
    users = np.unique(world.warm.user)
    apart = np.isin(world.warm.user, rng.permutation(users)[: max(1, len(users) // 5)])
    factors = factorise(world.warm.take(~apart), world.films.num_rows, K, seed=seed)
    some = _some(_supports(world.warm.take(apart), rng), rng)
    numbers, variance = [*mine, Kernel(TASTE, factors.factors)], factors.effect_variance
    return learn_user_prior(some, factors.level, factors.effect, lambda films: np.diag(variance[films]), numbers)


def _some(supports: list[Ratings], rng: np.random.Generator) -> list[Ratings]:
    if not supports:
        raise DataError(
            f"warm: nobody with {FEWEST} to {MOST} ratings of a fifth of the films or users to learn from; bring more"
        )
    return [supports[row] for row in rng.permutation(len(supports))[:USERS]]


def _supports(ratings: Ratings, rng: np.random.Generator) -> list[Ratings]:
    """Up to `LONGEST` ratings of each user who has as many as the protocol asks for."""
    users = (one for one in by_user(ratings) if FEWEST <= len(one) <= MOST)
    return [one.take(rng.permutation(len(one))[:LONGEST]) for one in users]


def histories(warm: Ratings, seed: int) -> dict[int, Ratings]:
    """User -> up to `HISTORY` ratings of the warm state, drawn at random."""
    rng = np.random.default_rng(seed)
    return {int(one.user[0]): one.take(rng.permutation(len(one))[:HISTORY]) for one in by_user(warm)}
