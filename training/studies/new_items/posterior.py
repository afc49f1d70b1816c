"""The vector and the bias of a cold item after its first purchases, in closed form under a learned Gaussian prior.

An item that training never met is scored by its text alone. Let h be the vector of a user before a purchase. Its purchases are
a Poisson process over the events that other users made meanwhile, each with the chance that the softmax gives the item:

    score(h)    = temperature * <h, v + delta> + bias + beta        v: what the text says
    buyers      h_1, ..., h_k, each before the purchase
    background  users h_b with the log of the sum over the catalogue of exp(score), which stand for E events

    log posterior = sum_j score(h_j) - E mean_b exp(score(h_b) - log_partition_b) - |z|^2 / 2
    delta = axes z_1..r,    beta = spread z_r+1,    z ~ N(0, 1)

The covariance of delta is that of the learned parts of trained items' vectors in its first directions (empirical Bayes), times
one scale. The posterior is concave and its mode is found by Newton's method. Of the buyers it needs their number and the sum of
their vectors alone, so that a purchase more costs no more however many there were. Related: Gelman et al., Bayesian Data
Analysis, chapter 4 (normal approximation at the mode).

Axis convention: `d` width of a user vector, `r` axes, `B` background users.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

STEPS = 20  # of Newton's method, at most; three to six are taken
HALVINGS = 12  # of a step that goes too far
ENOUGH = 1e-6  # what a step still gains in log posterior
LARGEST_LOG = 30.0


@dataclass(frozen=True, eq=False)
class ItemPrior:
    """What all new items share.

    axes: float64 (d, r), delta is `axes @ z`. spread: of the bias, beforehand.
    users: float64 (B, d), background users' vectors. log_partition: float64 (B,), of their softmax over the catalogue.
    """

    axes: np.ndarray
    spread: float
    users: np.ndarray
    log_partition: np.ndarray

    def scaled(self, scale: float) -> ItemPrior:
        """The same with deltas so many times as long."""
        return ItemPrior(self.axes * scale, self.spread, self.users, self.log_partition)


def learned_axes(deltas: np.ndarray, r: int) -> np.ndarray:
    """float64 (d, r): root of the second moment of `deltas`, (n, d), in its `r` first directions, the widest first."""
    moment = deltas.astype(np.float64).T @ deltas.astype(np.float64) / max(len(deltas), 1)
    size, direction = np.linalg.eigh(moment)  # ascending
    return direction[:, ::-1][:, :r] * np.sqrt(np.maximum(size[::-1][:r], 0.0))


def posterior_mode(
    prior: ItemPrior, total: np.ndarray, count: float, events: float, vector: np.ndarray, bias: float, temperature: float
) -> tuple[np.ndarray, float]:
    """delta float64 (d,) and beta of one item.

    total: (d,), sum of the vectors of its buyers. count: how many they are, by weight. events: how many events the background
    stands for, those of the buyers among them. vector, bias: of the item by its text. Without buyers both are exactly 0.
    """
    if count <= 0:
        return np.zeros(prior.axes.shape[0]), 0.0
    inputs = np.column_stack([temperature * prior.users @ prior.axes, np.full(len(prior.users), prior.spread)])
    offset = temperature * prior.users @ vector.astype(np.float64) + bias - prior.log_partition
    offset += np.log(max(events, count) / len(prior.users))
    bought = np.append(temperature * total.astype(np.float64) @ prior.axes, prior.spread * count)

    def objective(z: np.ndarray) -> tuple[float, np.ndarray]:
        rate = np.exp(np.minimum(offset + inputs @ z, LARGEST_LOG))
        return float(bought @ z - rate.sum() - z @ z / 2), rate

    z = np.zeros(inputs.shape[1])
    value, rate = objective(z)
    for _ in range(STEPS):
        gradient = bought - rate @ inputs - z
        step = np.linalg.solve((inputs * rate[:, None]).T @ inputs + np.eye(len(z)), gradient)
        for _ in range(HALVINGS):
            higher, there = objective(z + step)
            if higher >= value:
                break
            step = step / 2
        else:
            break
        z, rate, gain, value = z + step, there, higher - value, higher
        if gain < ENOUGH:
            break
    return prior.axes @ z[:-1], float(prior.spread * z[-1])
