"""A closed-form head: Bayesian linear regression with a learned prior, for many users at once. No steps, no step size.

    w_u ~ N(mean, diag(spread^2)),   y_us = <x_us, w_u> + e,   e ~ N(0, noise^2 / weight_us)

The posterior mean is ridge regression towards the prior mean: Bertinetto et al., Meta-learning with differentiable closed-form
solvers (R2-D2), arXiv 1805.08136, with the learned prior of Harrison et al., ALPaCA, arXiv 1807.08912. All is differentiable,
any number of times, in the prior, the features and the targets: the outer gradient is exact at the cost of one more solve.

Axis convention: `U` users, `S` rows of the support (padded), `Q` rows asked about, `D` features. A row with weight 0 (or False)
is padding and may hold any finite numbers; no row at all gives the prior. Of D x D and S x S the smaller is solved (Woodbury).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from llmrec.adapters.values import Value


@dataclass(frozen=True)
class Prior(Value):
    """What is believed of a user's weights before any row; a `Value`, so that `meta_train` can learn it.

    mean: (1, D), or (U, D) where users differ beforehand. log_spread: (1, D), log of the standard deviation of each weight.
    log_noise: (1, 1), log of the standard deviation of a row's target around its mean.
    """

    mean: Tensor
    log_spread: Tensor
    log_noise: Tensor

    def __len__(self) -> int:
        return len(self.mean)

    def leaves(self) -> list[Tensor]:
        return [self.mean, self.log_spread, self.log_noise]

    def with_leaves(self, leaves: list[Tensor]) -> Prior:
        return Prior(*leaves)


@dataclass(frozen=True)
class Rows:
    """Supports of U users, padded to S rows.

    x: (U, S, D). y: (U, S). weight: (U, S), bool or how many rows a row counts for; 0 where padded.
    """

    x: Tensor
    y: Tensor
    weight: Tensor


def prior(features: int, spread: float = 1.0, noise: float = 1.0) -> Prior:
    """Mean 0 and one spread for all weights, to be learned from."""
    return Prior(torch.zeros(1, features), torch.full((1, features), math.log(spread)), torch.full((1, 1), math.log(noise)))


def posterior_mean(prior: Prior, rows: Rows) -> Tensor:
    """Weights (U, D) of each user given its rows: ridge regression towards the prior mean."""
    x, rest = _scaled(prior, rows)
    noise = (2 * prior.log_noise).exp()[..., None]
    if x.shape[1] < x.shape[2]:
        found = x.mT @ torch.cholesky_solve(rest[..., None], torch.linalg.cholesky(_plus(x @ x.mT, noise)))
    else:
        found = torch.cholesky_solve(x.mT @ rest[..., None], torch.linalg.cholesky(_plus(x.mT @ x, noise)))
    return prior.mean + prior.log_spread.exp() * found[..., 0]


def predict(weights: Tensor, at: Tensor) -> Tensor:
    """What users with weights (U, D) are expected to answer at rows (U, Q, D) or (1, Q, D): (U, Q)."""
    return (at * weights[:, None]).sum(-1)


def variance(prior: Prior, rows: Rows, at: Tensor) -> Tensor:
    """Posterior variance (U, Q) of <x, w_u> at rows (U, Q, D) or (1, Q, D); that of an answer has noise^2 on top."""
    x, _ = _scaled(prior, rows)
    noise = (2 * prior.log_noise).exp()[..., None]
    asked = (at * prior.log_spread.exp()[:, None]).expand(len(x), -1, -1)
    if x.shape[1] < x.shape[2]:
        half = torch.linalg.solve_triangular(torch.linalg.cholesky(_plus(x @ x.mT, noise)), x @ asked.mT, upper=False)
        return asked.square().sum(-1) - half.square().sum(1)
    half = torch.linalg.solve_triangular(torch.linalg.cholesky(_plus(x.mT @ x, noise)), asked.mT, upper=False)
    return noise[..., 0] * half.square().sum(1)


def evidence(prior: Prior, rows: Rows) -> Tensor:
    """Log density (U,) of each user's targets under the prior: what to climb where there is no query to learn a prior from.

    Solves S x S.
    """
    x, rest = _scaled(prior, rows)
    weight = rows.weight.to(rest.dtype)
    counts = weight > 0
    factor = torch.linalg.cholesky(_plus(x @ x.mT, torch.where(counts, (2 * prior.log_noise).exp(), 1.0)[..., None]))
    half = torch.linalg.solve_triangular(factor, rest[..., None], upper=False)[..., 0]
    spread = 2 * factor.diagonal(dim1=1, dim2=2).log().sum(1) - torch.where(counts, weight, 1.0).log().sum(1)
    return -(half.square().sum(1) + spread + counts.sum(1) * math.log(2 * math.pi)) / 2


def leave_one_out(prior: Prior, rows: Rows) -> tuple[Tensor, Tensor]:
    """For each row (U, S) what all the others of its user say of it: the mean and variance of the answer, noise and all.

    Rasmussen, Williams: Gaussian processes for machine learning, section 5.4.2. Padded rows hold 0. Solves S x S, once.
    """
    x, rest = _scaled(prior, rows)
    weight = rows.weight.to(rest.dtype)
    noise = (2 * prior.log_noise).exp()[..., None]
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(_plus(x @ x.mT, noise)))
    own = inverse.diagonal(dim1=1, dim2=2)
    root = torch.where(weight > 0, weight, 1.0).sqrt()
    off = (inverse @ rest[..., None])[..., 0] / own / root
    there = weight > 0
    return torch.where(there, rows.y - off, 0.0), torch.where(there, 1 / (own * root.square()), 0.0)


def _scaled(prior: Prior, rows: Rows) -> tuple[Tensor, Tensor]:
    """Rows (U, S, D) in units of the prior's spread, and what the prior mean leaves unexplained (U, S), both times the root of
    the weight: with them every row has the same noise, and a padded one is nothing."""
    root = rows.weight.to(rows.y.dtype).sqrt()
    x = torch.where(root[..., None] > 0, rows.x, 0.0) * root[..., None]
    rest = torch.where(root > 0, rows.y - predict(prior.mean, rows.x), 0.0) * root
    return x * prior.log_spread.exp()[:, None], rest


def _plus(square: Tensor, diagonal: Tensor) -> Tensor:
    """Matrices (U, K, K) with (1, 1, 1), (U, 1, 1) or (U, K, 1) on top of their diagonals."""
    size = square.shape[-1]
    return square + diagonal * torch.eye(size, dtype=square.dtype, device=square.device)
