"""Gaussian pieces of the ratings study: how good films are, and prior variances learned by marginal likelihood.

The model is a Bayesian hierarchical regression (Rasmussen and Williams, 2006, chapters 2 and 5): a film's effect has a prior
over the films' descriptions, and so has each user's taste; weights of kernels are the variances of these priors.

Axis convention: `N` films, `B` users of a batch, `n` ratings of the longest of them, `K` kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import solve_triangular

from studies.ratings.films import Kernel, combined
from studies.ratings.melu import Ratings

CONSTANT, OWN, COVARIANCE, BIAS, NOISE = "constant", "own", "covariance", "bias", "noise"
OFFSET, SLOPE = "offset", "slope"
_LOGS = (-12.0, 3.0)  # a line search tries steps that would overflow
_LEAST_NOISE = 0.05  # of a rating that is a whole number: 1/12 is rounding alone
_USERS, _FILMS = 5.0, 3.0  # ratings' worth of shrinkage of users' offsets and films' effects


@dataclass(frozen=True)
class Effects:
    """What films' own ratings say. level: the mean. mean: (N,), mean above level and raters' offsets, not shrunk. count: (N,).
    noise: variance of a rating about it."""

    level: float
    mean: np.ndarray
    count: np.ndarray
    noise: float

    @property
    def rated(self) -> np.ndarray:
        """Films with a rating, int64."""
        return np.flatnonzero(self.count > 0)

    @property
    def shrunk(self) -> np.ndarray:
        """float64 (N,): effects pulled to zero where ratings are few."""
        return self.mean * self.count / (self.count + _FILMS)


def film_effects(ratings: Ratings, n_films: int, rounds: int = 8) -> Effects:
    """Offsets of users and effects of films, each the shrunk mean of what the other leaves, in turn."""
    users, user = np.unique(ratings.user, return_inverse=True)
    level = float(ratings.value.mean())
    above, by_user = ratings.value - level, np.bincount(user)
    count = np.bincount(ratings.item, minlength=n_films)
    offset, effect = np.zeros(len(users)), np.zeros(n_films)
    for _ in range(rounds):
        effect = np.bincount(ratings.item, above - offset[user], minlength=n_films) / (count + _FILMS)
        offset = np.bincount(user, above - effect[ratings.item]) / (by_user + _USERS)
    mean = np.bincount(ratings.item, above - offset[user], minlength=n_films) / np.maximum(count, 1)
    noise = float(((above - offset[user] - effect[ratings.item]) ** 2).mean())
    return Effects(level, mean, count, noise)


def learn_film_prior(
    kernels: Sequence[Kernel], effects: Effects, rng: np.random.Generator, most: int = 1000, steps: int = 20
) -> dict[str, float]:
    """Name of kernel -> weight, with `constant` and `own` (what no kernel explains), that make the films' effects most likely.

    Learned from `most` of the films with 5 or more ratings (of all where those are few): the cost grows with its cube.
    """
    able = np.flatnonzero(effects.count >= 5)
    able = rng.permutation(able if len(able) >= 2 else effects.rated)[:most]
    stack = torch.stack([torch.from_numpy(kernel(able, able)) for kernel in kernels])
    target = torch.from_numpy(effects.mean[able])
    noise = torch.from_numpy(effects.noise / effects.count[able])

    def loss(logs: torch.Tensor) -> torch.Tensor:
        weights = logs.clamp(*_LOGS).exp()
        cov = torch.einsum("k,kij->ij", weights[:-2], stack) + weights[-2] + torch.diag(noise + weights[-1])
        lower = torch.linalg.cholesky(cov)
        solved = torch.cholesky_solve(target[:, None], lower)[:, 0]
        return 0.5 * (target @ solved) + lower.diagonal().log().sum()

    start = torch.full((len(kernels) + 2,), -4.0, dtype=torch.float64)
    start[-1] = -3.0
    found = _minimise(loss, start, steps).clamp(*_LOGS).exp().tolist()
    return dict(zip([kernel.name for kernel in kernels] + [CONSTANT, OWN], found, strict=True))


def film_prior(kernels: Sequence[Kernel], weights: Mapping[str, float]) -> np.ndarray:
    """float64 (N, N): prior covariance of the films' effects, without what is each film's own."""
    everything = np.arange(len(kernels[0].features))
    return combined(kernels, weights, everything, everything) + weights[CONSTANT]


def film_posterior(
    prior: np.ndarray, own: float, effects: Effects, known: np.ndarray, wanted: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean (W,) and covariance (W, W) of the effects of films `wanted`, from the ratings of films `known`; the covariance holds
    on its diagonal what is each film's own. prior: see `film_prior`."""
    between = prior[np.ix_(known, wanted)]
    lower = np.linalg.cholesky(prior[np.ix_(known, known)] + np.diag(effects.noise / effects.count[known] + own))
    half = solve_triangular(lower, between, lower=True)
    mean = half.T @ solve_triangular(lower, effects.mean[known], lower=True)
    return mean, prior[np.ix_(wanted, wanted)] + own * np.eye(len(wanted)) - half.T @ half


def learn_user_prior(
    supports: Sequence[Ratings],
    level: float,
    effect: np.ndarray,
    covariance: Callable[[np.ndarray], np.ndarray],
    kernels: Sequence[Kernel],
    steps: int = 20,
) -> dict[str, float]:
    """What makes the ratings of these users most likely: name of kernel -> variance of the users' tastes; `covariance`, the
    scale of what is unsure of films; `bias`, the variance of users' offsets; `noise`; and `offset` and `slope`, for what is
    expected of a film is level + offset + slope * effect (foretold effects come out too large for films unlike those they
    were learned from).

    effect: (N,), of films above the level. covariance: films -> covariance of their effects.
    """
    n = max(len(one) for one in supports)
    stack = np.zeros((len(kernels) + 1, len(supports), n, n))
    above, there, foretold = (np.zeros((len(supports), n)) for _ in range(3))
    for row, one in enumerate(supports):
        size = len(one)
        above[row, :size], there[row, :size], foretold[row, :size] = one.value - level, 1, effect[one.item]
        stack[0, row, :size, :size] = covariance(one.item)
        for place, kernel in enumerate(kernels):
            stack[place + 1, row, :size, :size] = kernel(one.item, one.item)
    parts, target, mask, effects = (torch.from_numpy(values) for values in (stack, above, there, foretold))
    pairs = mask[:, :, None] * mask[:, None]

    def loss(found: torch.Tensor) -> torch.Tensor:
        weights = found[:-2].clamp(*_LOGS).exp()
        diagonal = torch.diag_embed((weights[-1] + _LEAST_NOISE) * mask + (1 - mask))  # padding is a 1 that says nothing
        cov = torch.einsum("k,kbij->bij", weights[:-2], parts) + weights[-2] * pairs + diagonal
        lower = torch.linalg.cholesky(cov)
        left = (target - found[-2] * mask - found[-1] * effects)[:, :, None]
        fit = (left * torch.cholesky_solve(left, lower)).sum()
        return 0.5 * fit + torch.diagonal(lower, dim1=1, dim2=2).log().sum()

    start = torch.full((len(kernels) + 5,), -4.0, dtype=torch.float64)
    start[0], start[-4], start[-3], start[-2], start[-1] = 0.0, -2.0, -0.5, 0.0, 1.0
    found = _minimise(loss, start, steps)
    values = [*found[:-2].clamp(*_LOGS).exp().tolist(), *found[-2:].tolist()]
    values[-3] += _LEAST_NOISE
    return dict(zip([COVARIANCE, *(kernel.name for kernel in kernels), BIAS, NOISE, OFFSET, SLOPE], values, strict=True))


def _minimise(loss: Callable[[torch.Tensor], torch.Tensor], start: torch.Tensor, steps: int) -> torch.Tensor:
    found = start.clone().requires_grad_()
    optimiser = torch.optim.LBFGS([found], max_iter=steps, line_search_fn="strong_wolfe", tolerance_change=1e-4)

    def closure() -> float:
        optimiser.zero_grad()
        value = loss(found)
        value.backward()
        return float(value.detach())

    optimiser.step(closure)
    return found.detach()
