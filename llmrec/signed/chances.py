"""How sure a probability of a like may be, learned on users whom the factors have not seen.

    p = (1 - trust) * base + trust * Phi(slope * (m - threshold) / sd)

Threshold and slope are Platt's scaling (1999), on the normal distribution. base is the share of likes among all labels, and
the mixture is a linear pool of two opinions (Stone, 1961): its log likelihood is concave in `trust`, so that the best one is
never behind the base rate on the labels that it is learned on, and the order of items stays. Where times are known, each moment
of a user is foretold from the moments before (Dawid, 1984), as `predict` is asked: labels of one moment, such as returns in one
parcel, foretell each other well and those of the next month not at all.

Axis convention: `L` labels that are foretold.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_ndtr, ndtr

from llmrec.signed.beliefs import Beliefs, described, posterior, standardised
from llmrec.signed.labels import Labels, Range

SLOPES = (0.5, 2.0)  # ends of the slope of probabilities: few labels may be told apart without a fault
TINY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True, eq=False)
class Foretold:
    """Labels and what was known of them before, (L,) each. middle, deviation: of the label, standardised. liked: bool."""

    middle: np.ndarray
    deviation: np.ndarray
    liked: np.ndarray


def range_of(value: np.ndarray) -> Range:
    """The labels that there are."""
    there = np.unique(value)
    return Range(float(there[0]), float(there[-1]), len(there) == 2)


def at_once(beliefs: Beliefs, episodes: Iterable[tuple[Labels, Labels]]) -> Foretold:
    """Queries foretold from their supports; times are not read."""
    return _joined([_foretold(beliefs, support, query) for support, query in episodes])


def ahead(beliefs: Beliefs, runs: Iterable[Labels]) -> Foretold:
    """The labels of each moment of a run, foretold from those of all moments before."""
    parts = []
    for run in runs:
        assert run.time is not None
        starts = np.flatnonzero(np.diff(run.time, prepend=-np.inf) > 0)
        for first, after in zip(starts, np.append(starts[1:], len(run)), strict=True):
            parts.append(_foretold(beliefs, run.take(slice(first)), run.take(slice(first, after)), run.time[first]))
    return _joined(parts)


def calibrated(beliefs: Beliefs, found: Foretold) -> Beliefs:
    """With the threshold and slope that make the likes most likely, the slope within SLOPES."""
    sign = np.where(found.liked, 1.0, -1.0)

    def loss(threshold: float, slope: float) -> float:
        return float(-log_ndtr(sign * slope * (found.middle - threshold) / found.deviation).mean())

    start = float(np.median(found.middle))
    threshold, log_slope = minimize(lambda one: loss(one[0], np.exp(one[1])), [start, 0.0], method="Nelder-Mead").x
    slope = float(np.clip(np.exp(log_slope), *SLOPES))
    if slope in SLOPES:  # the threshold belongs to the slope: one far away would make all labels sure
        threshold = minimize(lambda one: loss(one[0], slope), [start], method="Nelder-Mead").x[0]
    return replace(beliefs, threshold=float(threshold), slope=slope)


def trusted(beliefs: Beliefs, found: Foretold) -> Beliefs:
    """With the trust that makes the likes most likely, or none where the log likelihood gains no more than one for each of
    threshold, slope and trust (Akaike, 1974). To this comes one label more for each side (Laplace's rule of succession): so no
    probability is 0 or 1, and the order of items stays."""
    likely = ndtr(beliefs.slope * (found.middle - beliefs.threshold) / found.deviation)
    told, base = (np.where(found.liked, one, 1 - one) for one in (likely, beliefs.base))

    def loss(trust: float) -> float:
        return float(-np.log((1 - trust) * base + trust * told + TINY).sum())

    inner = float(minimize_scalar(loss, bounds=(0.0, 1.0), method="bounded").x)
    best = min((inner, 1.0), key=loss)
    if loss(0.0) - loss(best) <= 3:
        best = 0.0
    return replace(beliefs, trust=(len(told) * best + 1) / (len(told) + 2))


def _foretold(beliefs: Beliefs, support: Labels, query: Labels, now: float | None = None) -> Foretold:
    """now: when the query is asked; None where times are not read."""
    time = None if now is None else support.time
    weights = posterior(beliefs, described(beliefs, support.item), support.value, time, now)
    middle, variance = standardised(beliefs, weights, described(beliefs, query.item))
    return Foretold(middle, np.sqrt(variance), query.value >= beliefs.scale.liked_from)


def _joined(parts: Sequence[Foretold]) -> Foretold:
    fields = ("middle", "deviation", "liked")
    return Foretold(*(np.concatenate([getattr(part, name) for part in parts]) for name in fields))
