"""Other ways to the weights of a user: one Newton step on ordered labels, and gradient steps at a learned rate.

The weights are one row for each user, so a low-rank update of them is the row itself: gradient steps on it are those of LoRA.
A label of ordered levels is level c where a normal variable falls between two cut points (McKelvey and Zavoina, 1975).
The Newton step starts at the prior mean. Serial correlation is left out: errors of labels are independent.

Axis convention: `S` labels of a support, `C` cut points between C + 1 levels, `D` weights of a user.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import ndtr

from llmrec.signed.beliefs import (
    Beliefs,
    Described,
    Weights,
    described,
    inputs,
    posterior,
    predict,
    prior_weights,
    standardised,
)
from studies.ratings.melu import Episode

RATES = np.exp(np.arange(-6.0, 0.1, 0.5))
STEPS = (1, 3, 5)
TINY = 1e-9
Adapt = Callable[[Described, np.ndarray], Weights]


@dataclass(frozen=True, eq=False)
class Levels:
    """value: (C + 1,), the labels there are, ascending. cut: (C,), ascending, standardised."""

    value: np.ndarray
    cut: np.ndarray

    def ends(self, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper cut point of labels (S,)."""
        cut, place = np.concatenate([[-np.inf], self.cut, [np.inf]]), np.searchsorted(self.value, value)
        return cut[place], cut[place + 1]


def answers(beliefs: Beliefs, adapt: Mapping[int, Adapt]) -> Callable[[Sequence[Episode]], list[np.ndarray]]:
    """Probabilities of a like by weights adapted to each support, by the number of its labels; 0 labels leave the prior."""

    def answer(asked: Sequence[Episode]) -> list[np.ndarray]:
        found = []
        for one in asked:
            known = described(beliefs, one.item)
            weights = adapt[len(one.item)](known, one.value) if len(one.item) else prior_weights(beliefs)
            found.append(predict(beliefs, weights, described(beliefs, one.asked)).probability)
        return found

    return answer


def newton(beliefs: Beliefs, levels: Levels) -> Adapt:
    """One Newton step on the likelihood of ordered levels, and the covariance of Laplace's approximation there."""

    def adapt(items: Described, value: np.ndarray) -> Weights:
        x, start = items.features, inputs(beliefs, items) @ beliefs.prior
        spread, middle = np.sqrt(_noise(beliefs, items)), items.mean + x @ start
        low, high = ((cut - middle) / spread for cut in levels.ends(value))
        likely = np.maximum(ndtr(high) - ndtr(low), TINY)
        slope = (_density(low) - _density(high)) / likely / spread
        bend = slope**2 + (_times(high) - _times(low)) / likely / spread**2
        whole = np.eye(x.shape[1]) + x.T @ (bend[:, None] * x)
        return _weights(beliefs, start + np.linalg.solve(whole, x.T @ slope), np.linalg.inv(whole))

    return adapt


def descent(beliefs: Beliefs, rate: float, steps: int) -> Adapt:
    """Gradient steps on the same loss that the closed form minimises; with the closed form's covariance."""

    def adapt(items: Described, value: np.ndarray) -> Weights:
        x, start, noise = items.features, inputs(beliefs, items) @ beliefs.prior, _noise(beliefs, items)
        rest, at = _standard(beliefs, value) - items.mean, start
        for _ in range(steps):
            at = at + rate * (x.T @ ((rest - x @ at) / noise) - (at - start))
        return _weights(beliefs, at, posterior(beliefs, items, value).covariance[:-1, :-1])

    return adapt


def learned_rate(beliefs: Beliefs, learned_from: Sequence[Episode], steps: int) -> float:
    """The rate at which so many steps foretell the queries best, by squared error over the predictive variance."""

    def loss(rate: float) -> float:
        adapt, total = descent(beliefs, rate, steps), 0.0
        with np.errstate(over="ignore", invalid="ignore"):
            for one in learned_from:
                weights = adapt(described(beliefs, one.item), one.value)
                middle, variance = standardised(beliefs, weights, described(beliefs, one.asked))
                total += float(((_standard(beliefs, one.answer) - middle) ** 2 / variance).sum())
        return total if np.isfinite(total) else np.inf

    return float(min(RATES, key=loss))


def learned_levels(beliefs: Beliefs, learned_from: Sequence[Episode]) -> Levels:
    """The cut points that make the queries most likely under the closed form, for labels of two levels and more."""
    known = [(described(beliefs, one.item), one.value, described(beliefs, one.asked)) for one in learned_from]
    parts = [standardised(beliefs, posterior(beliefs, items, value), asked) for items, value, asked in known]
    middle, variance = (np.concatenate(part) for part in zip(*parts, strict=True))
    answer, deviation = np.concatenate([one.answer for one in learned_from]), np.sqrt(variance)
    value = np.unique(np.concatenate([answer, *(value for _, value, _ in known)]))
    start = _standard(beliefs, (value[1:] + value[:-1]) / 2)

    def cuts(found: np.ndarray) -> np.ndarray:
        return np.cumsum(np.append(found[0], np.exp(found[1:])))

    def loss(found: np.ndarray) -> float:
        low, high = ((cut - middle) / deviation for cut in Levels(value, cuts(found)).ends(answer))
        return float(-np.log(np.maximum(ndtr(high) - ndtr(low), TINY)).mean())

    first = np.append(start[0], np.log(np.diff(start)))
    return Levels(value, cuts(minimize(loss, first, method="Nelder-Mead", options={"maxiter": 2000}).x))


def _standard(beliefs: Beliefs, value: np.ndarray) -> np.ndarray:
    return (np.asarray(value, np.float64) - beliefs.centre) / beliefs.spread


def _noise(beliefs: Beliefs, items: Described) -> np.ndarray:
    return beliefs.noise + beliefs.serial.variance + items.variance


def _weights(beliefs: Beliefs, mean: np.ndarray, covariance: np.ndarray) -> Weights:
    whole = np.zeros((len(mean) + 1, len(mean) + 1))
    whole[:-1, :-1], whole[-1, -1] = covariance, beliefs.serial.variance
    return Weights(np.append(mean, 0.0), whole)


def _density(x: np.ndarray) -> np.ndarray:
    return np.exp(-x * x / 2) / np.sqrt(2 * np.pi)


def _times(x: np.ndarray) -> np.ndarray:
    """x times its density, 0 at both infinities."""
    return np.where(np.isfinite(x), x, 0.0) * _density(x)
