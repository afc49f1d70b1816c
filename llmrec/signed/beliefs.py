"""What is believed of a user's taste before any label, and after some: Bayesian linear regression in closed form.

    label(u, i) = mean_i + <features_i, w_u> + s + e,    w_u ~ N(prior' z_u, I),    e ~ N(0, noise + variance_i)

features_i are the factors of an item, and a 1 for the user's offset, in units in which the prior's covariance is the identity.
z_u is a 1 and the shrunk mean of the marks of the items that the user labelled: which items somebody has rated at all says
something of the taste (Salakhutdinov, Mnih and Hinton, 2007; Koren's SVD++, 2008). Without a label it is what all users share.
s is what a label has in common with those just before it (`llmrec.signed.serial`), such as the mood of a day.
The posterior is generalised least squares with a ridge towards the prior mean: no steps, no step size (Bishop, 2006, section
3.3). s adds the same to all items of a user: it moves the level, hardly the order.

Axis convention: `N` items that were fitted, `D` weights of a user, `Z` numbers that the prior mean depends on, `S` labels of a
user, `Q` items asked about. Labels here are standardised: less `centre`, by `spread`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from llmrec.signed.labels import Range, Scale
from llmrec.signed.serial import Serial, moments, solve, with_next


@dataclass(frozen=True, eq=False)
class Beliefs:
    """All that was learned from training users.

    mean: (N,), label of an item that is expected of any user. features: (N, D). variance: (N,), how unsure both are together.
    marks: (N, Z - 1). prior: (Z, D). shrink: labels' worth of pull of the mean of marks to zero. noise: variance of e.
    centre, spread: of labels. threshold, slope, base, trust: a like has the probability
    (1 - trust) * base + trust * Phi(slope * (m - threshold) / sd), where m and sd are those of the label and base is the share
    of likes; see `llmrec.signed.chances`. seen: which labels there were. text: (1 + d, 1 + D), mean and features of an item
    from a 1 and its description; text_variance: the variance then. scale: how events are read. users, labels: how many were
    learned from. serial: what labels of a user have in common that follow each other. until: time of the newest label that was
    learned from, seconds.
    """

    mean: np.ndarray
    features: np.ndarray
    variance: np.ndarray
    marks: np.ndarray
    prior: np.ndarray
    text: np.ndarray
    text_variance: float
    shrink: float
    noise: float
    centre: float
    spread: float
    threshold: float
    slope: float
    scale: Scale
    users: int
    labels: int
    serial: Serial = field(default_factory=Serial)
    until: float = 0.0
    base: float = 0.5
    trust: float = 1.0
    seen: Range = field(default_factory=Range)


@dataclass(frozen=True, eq=False)
class Described:
    """Some items as they enter: mean (n,), features (n, D), variance (n,), marks (n, Z - 1); float64."""

    mean: np.ndarray
    features: np.ndarray
    variance: np.ndarray
    marks: np.ndarray


@dataclass(frozen=True, eq=False)
class Weights:
    """What is believed of one user's weights and, as the last number, of s at a label to come: mean (D + 1,), covariance
    (D + 1, D + 1)."""

    mean: np.ndarray
    covariance: np.ndarray


@dataclass(frozen=True, eq=False)
class Prediction:
    """Of Q items, float64 (Q,) each: mean and standard deviation of a label, that of a single one with its noise, and the
    probability that it is a like. seen: the labels that there may be."""

    mean: np.ndarray
    deviation: np.ndarray
    probability: np.ndarray
    seen: Range = field(default_factory=Range)

    @property
    def expected(self) -> np.ndarray:
        """The mean, or the nearest label where no label is so low or so high."""
        return self.seen.clip(self.mean)

    def interval(self, level: float) -> tuple[np.ndarray, np.ndarray]:
        """Ends of the central interval that holds a label with probability `level`, none of them outside of `seen`. Where
        there are two labels alone, they are quantiles of the label, or the expected label where that lies beyond."""
        if self.seen.two:
            low, high = (np.where(self.probability > share, self.seen.most, self.seen.least) for share in _tails(level))
            return np.minimum(low, self.expected), np.maximum(high, self.expected)
        reach = ndtri((1 + level) / 2) * self.deviation
        return self.seen.clip(self.mean - reach), self.seen.clip(self.mean + reach)


def _tails(level: float) -> tuple[float, float]:
    """Probabilities of the upper of two labels, above which it is the lower and the upper end of the central interval."""
    return (1 + level) / 2, (1 - level) / 2


def described(beliefs: Beliefs, items: np.ndarray, later: np.ndarray | None = None) -> Described:
    """Items by their indices, int64 (n,). later: (M - N, d), descriptions of the items of a catalogue that has grown to M;
    those from N on are told by them."""
    n = len(beliefs.mean)
    known = np.minimum(items, n - 1)
    mean, features, variance, marks = (
        part[known].astype(np.float64) for part in (beliefs.mean, beliefs.features, beliefs.variance, beliefs.marks)
    )
    if later is not None and (new := items >= n).any():
        told = foretold(beliefs.text, later[items[new] - n])
        mean[new], features[new] = told[:, 0], told[:, 1:]
        variance[new], marks[new] = beliefs.text_variance, 0
    return Described(mean, features, variance, marks)


def foretold(weights: np.ndarray, text: np.ndarray) -> np.ndarray:
    """float64 (n, 1 + D): mean and features from descriptions (n, d): text vectors, and attributes beside them."""
    return weights[0] + np.asarray(text, np.float64) @ weights[1:]


def inputs(beliefs: Beliefs, items: Described) -> np.ndarray:
    """float64 (Z,): what the prior mean of a user who labelled these items depends on."""
    return np.append(1.0, items.marks.sum(0) / (len(items.mean) + beliefs.shrink))


def prior_weights(beliefs: Beliefs) -> Weights:
    """What is believed of a user without labels."""
    z = np.zeros(len(beliefs.prior))
    z[0] = 1.0
    variance = np.append(np.ones(beliefs.prior.shape[1]), beliefs.serial.variance)
    return Weights(np.append(z @ beliefs.prior, 0.0), np.diag(variance))


def posterior(
    beliefs: Beliefs, items: Described, value: np.ndarray, time: np.ndarray | None = None, now: float | None = None
) -> Weights:
    """Weights of a user after labels `value` (S,) of items; the prior's where S = 0. A label outside of `Beliefs.seen` counts
    as the nearest that is in it.

    time: (S,), seconds, ascending; None where it is not known. now: what time it is; None for that of the newest label that was
    learned from. It is never before the last of these labels.
    """
    if not len(value):
        return prior_weights(beliefs)
    at = moments(beliefs.serial, time, len(value), beliefs.until if now is None else now)
    x, near = items.features, with_next(beliefs.serial, at)
    start = inputs(beliefs, items) @ beliefs.prior
    rest = (beliefs.seen.clip(np.asarray(value, np.float64)) - beliefs.centre) / beliefs.spread - items.mean - x @ start
    solved = solve(beliefs.serial, at, beliefs.noise + items.variance, np.column_stack([rest, near, x]))
    covariance = np.linalg.inv(np.eye(x.shape[1]) + x.T @ solved[:, 2:])
    moved, reach = covariance @ (x.T @ solved[:, 0]), covariance @ (x.T @ solved[:, 1])
    ahead = solved[:, 1] @ (rest - x @ moved)
    variance = beliefs.serial.variance - near @ solved[:, 1] + solved[:, 1] @ x @ reach
    return Weights(
        np.append(start + moved, ahead), np.block([[covariance, -reach[:, None]], [-reach[None], np.array([[variance]])]])
    )


def predict(beliefs: Beliefs, weights: Weights, items: Described) -> Prediction:
    """What a user with these weights is expected to say of items. Where there are two labels alone, the expected label and its
    deviation are those that the probability of a like gives."""
    middle, variance = standardised(beliefs, weights, items)
    deviation, seen = np.sqrt(variance), beliefs.seen
    likely = ndtr(beliefs.slope * (middle - beliefs.threshold) / deviation)
    likely = (1 - beliefs.trust) * beliefs.base + beliefs.trust * likely
    if seen.two:
        width = seen.most - seen.least
        return Prediction(seen.least + width * likely, width * np.sqrt(likely * (1 - likely)), likely, seen)
    return Prediction(beliefs.centre + beliefs.spread * middle, beliefs.spread * deviation, likely, seen)


def standardised(beliefs: Beliefs, weights: Weights, items: Described) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance (Q,) of a label, standardised."""
    x = np.column_stack([items.features, np.ones(len(items.features))])  # the 1 meets s
    return items.mean + x @ weights.mean, ((x @ weights.covariance) * x).sum(1) + items.variance + beliefs.noise


ARRAYS = ("mean", "features", "variance", "marks", "prior", "text")
NESTED = ("scale", "serial", "seen")


def to_parts(beliefs: Beliefs) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays, and everything else as JSON has it."""
    rest = {one.name: getattr(beliefs, one.name) for one in fields(Beliefs) if one.name not in (*ARRAYS, *NESTED)}
    nested = {name: asdict(getattr(beliefs, name)) for name in NESTED}
    return {name: np.asarray(getattr(beliefs, name)) for name in ARRAYS}, {**rest, **nested}


def from_parts(arrays: dict[str, np.ndarray], rest: dict[str, Any]) -> Beliefs:
    """What `to_parts` gave."""
    told: dict[str, Any] = {**arrays, **rest}
    scale: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in rest["scale"].items()}
    # recommenders saved before these were there have none
    serial, seen = Serial(**rest.get("serial", {})), Range(**rest.get("seen", {}))
    return Beliefs(**{**told, "scale": Scale(**scale), "serial": serial, "seen": seen})
