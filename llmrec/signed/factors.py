"""Matrix factorisation of ratings with uncertainty: a variational Gaussian model, every step in closed form.

rating = level + user's offset + item's effect + taste (k,) . factors (k,) + noise, all of them Gaussian, as in probabilistic
matrix factorisation (Salakhutdinov and Mnih, 2007) with variational Bayes (Lim and Teh, 2007). Taste has the identity as its
covariance: the scale of each factor is in the items.

Axis convention: `U` users, `N` items, `k` factors. An item's state is (effect, 1, factors), a user's
(1, offset, taste): their product is the rating above the level.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from llmrec.signed.labels import Labels

FLOOR = 1e-4  # least variance of a prior: keeps precisions finite where a factor dies out


@dataclass(frozen=True)
class Factors:
    """effect: (N,) with variance (N,). factors: (N, k) with variance (N, k). prior: (1 + k,), variance of effect and factors
    over items. level, noise (variance), offset (variance of the users' offsets). All float64; items without ratings are at
    zero."""

    level: float
    effect: np.ndarray
    effect_variance: np.ndarray
    factors: np.ndarray
    factor_variance: np.ndarray
    prior: np.ndarray
    noise: float
    offset: float


def factorise(ratings: Labels, n_items: int, k: int = 8, rounds: int = 24, seed: int = 0) -> Factors:
    """Fit by `rounds` of coordinate ascent. k = 0 gives effects and offsets alone."""
    users, user = np.unique(ratings.user, return_inverse=True)
    level = float(ratings.value.mean())
    above, d = ratings.value - level, k + 2
    shape = (len(users), n_items)
    seen = sparse.csr_matrix((np.ones(len(above)), (user, ratings.item)), shape)
    target = sparse.csr_matrix((above, (user, ratings.item)), shape)
    seen_t, target_t = seen.T.tocsr(), target.T.tocsr()
    mine = np.r_[0, np.arange(2, d)]  # an item's unknown parts; its second is the 1 that meets the user's offset
    state = np.zeros((n_items, d))
    state[:, 1], state[:, 2:] = 1, np.random.default_rng(seed).normal(0, 0.1, (n_items, k))
    state_cov = np.zeros((n_items, d, d))
    prior, offset, noise = np.r_[0.2, np.full(k, 0.05)], 0.2, 0.75
    rated = np.asarray(seen.sum(0)).ravel() > 0
    for _ in range(rounds):
        moment = _moments(seen, state, state_cov)
        pull = (target @ state)[:, 1:] - moment[:, 0, 1:]
        taste, cov = _posterior(moment[:, 1:, 1:], pull, noise, np.r_[offset, np.ones(k)])
        spread = (taste[:, :, None] * taste[:, None] + cov).mean(0)
        offset = float(spread[0, 0])
        person = np.concatenate([np.ones((len(users), 1)), taste], 1)
        person_cov = np.zeros((len(users), d, d))
        person_cov[:, 1:, 1:] = cov
        moment = _moments(seen_t, person, person_cov)
        pull = (target_t @ person)[:, mine] - moment[:, 1][:, mine]
        state[:, mine], cov = _posterior(moment[:, mine][:, :, mine], pull, noise, prior)
        variance = np.diagonal(cov, axis1=1, axis2=2)
        prior = np.maximum((state[rated][:, mine] ** 2 + variance[rated]).mean(0), FLOOR)
        state_cov[:] = 0
        state_cov[np.ix_(np.arange(n_items), mine, mine)] = cov
        # The tastes' spread moves into the items, so that tastes keep the identity as their covariance.
        turn = np.eye(d)
        turn[2:, 2:] = np.linalg.cholesky(spread[1:, 1:]) if k else turn[2:, 2:]
        state, state_cov = state @ turn, turn.T @ state_cov @ turn
        person[:, 2:] = np.linalg.solve(turn[2:, 2:], person[:, 2:].T).T if k else person[:, 2:]
        prior[1:] *= np.diagonal(turn)[2:] ** 2
        # the residuals' variance and about what the spread of both posteriors adds to it
        noise = max(1.08 * float(((above - (state[ratings.item] * person[user]).sum(1)) ** 2).mean()), FLOOR)
    variance = np.diagonal(state_cov, axis1=1, axis2=2)
    state = np.where(rated[:, None], state, 0)
    return Factors(level, state[:, 0], variance[:, 0], state[:, 2:], variance[:, 2:], prior, noise, offset)


def _moments(seen: sparse.csr_matrix, mean: np.ndarray, cov: np.ndarray) -> np.ndarray:
    """(m, d, d): sums of second moments of n things over the rows of `seen` (m, n); half of each is computed, and mirrored."""
    row, column = np.triu_indices(mean.shape[1])
    half = seen @ (mean[:, row] * mean[:, column] + cov[:, row, column])
    found = np.empty((len(half), mean.shape[1], mean.shape[1]))
    found[:, row, column] = found[:, column, row] = half
    return found


def _posterior(moment: np.ndarray, pull: np.ndarray, noise: float, prior: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, d) and (n, d, d): mean and covariance of Bayesian regressions with prior variances (d,)."""
    cov = np.linalg.inv(moment / noise + np.diag(1 / prior))
    return np.einsum("nij,nj->ni", cov, pull / noise), cov
