"""Serial correlation: what labels that a user gave one after the other have in common.

    error_t = s_m(t) + e_t,    e_t ~ N(0, noise_t),    s_m ~ N(0, variance)
    corr(s_(m-1), s_m) = correlation * 2^(-gap_m / half_life)

m counts the moments at which a user gave labels: labels of one moment share s. From one moment to the next s is autoregressive
of order one, and the longer the gap, the less of it is left. The inverse covariance of s is tridiagonal, so `solve` costs O(S)
for S labels (the state space view of such models: Harvey, 1990, "Forecasting, structural time series models and the Kalman
filter").

Axis convention: `S` labels of a user, `M` moments, `m` right-hand sides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solveh_banded

from llmrec.data.numbers import check_number

DAY = 86_400.0  # seconds


@dataclass(frozen=True)
class Serial:
    """variance: of s; 0 for no serial correlation. correlation: of s between two moments with no time between them, in [0, 1).
    half_life: seconds in which it falls to a half. Raises DataError for numbers out of range."""

    variance: float = 0.0
    correlation: float = 0.0
    half_life: float = DAY

    def __post_init__(self) -> None:
        check_number("Serial.variance", self.variance, 0)
        check_number("Serial.correlation", self.correlation, 0, 1)
        check_number("Serial.half_life", self.half_life, 0, above=True)


@dataclass(frozen=True, eq=False)
class Moments:
    """place: int64 (S,), ascending, the moment of each label. step: float64 (M,), correlation of s between each moment and the
    next; the last one is between the last label and the moment that is foretold."""

    place: np.ndarray
    step: np.ndarray


def moments(serial: Serial, time: np.ndarray | None, n: int, now: float | None = None) -> Moments:
    """Those of n labels at `time` (n,), seconds, ascending; None where times are not known: then labels have nothing in common.

    now: when the next label is foretold for, None for the time of the last one. At the time of the last one all of s is left.
    """
    if time is None:
        return Moments(np.arange(n), np.zeros(n))
    first = np.diff(time, prepend=-np.inf) > 0
    when = time[first]
    gap = np.maximum(np.diff(when, append=when[-1:] if now is None else now), 0)
    step = serial.correlation * 2.0 ** (-gap / serial.half_life)
    if gap[-1] == 0:
        step[-1] = 1.0
    return Moments(np.cumsum(first) - 1, step)


def solve(serial: Serial, at: Moments, noise: np.ndarray, right: np.ndarray) -> np.ndarray:
    """float64 (S, m): the inverse covariance of S errors times `right` (S, m). noise: (S,), variances of e."""
    weighed = right / noise[:, None]
    if not serial.variance:
        return weighed
    start = np.flatnonzero(np.diff(at.place, prepend=-1))
    precision, sums = np.add.reduceat(1 / noise, start), np.add.reduceat(weighed, start)
    if len(start) == 1:
        shared = sums / (1 / serial.variance + precision[:, None])
    else:
        before = np.append(0.0, at.step[:-1])  # correlation with the moment before
        left = 1 / (1 - before**2)
        inner = left + np.append(left[1:] - 1, 0.0)
        banded = np.vstack([-before * left, inner]) / serial.variance  # upper form: the first of the first row is not read
        banded[1] += precision
        shared = solveh_banded(banded, sums)
    return weighed - shared[at.place] / noise[:, None]


def with_next(serial: Serial, at: Moments) -> np.ndarray:
    """float64 (S,): covariance of the errors of S labels with s at the moment that is foretold."""
    return serial.variance * np.cumprod(at.step[::-1])[::-1][at.place]


def covariance(serial: Serial, at: Moments) -> np.ndarray:
    """float64 (S, S): of s at S labels; dense, for short runs."""
    whole = np.eye(len(at.step))
    for place in range(1, len(at.step)):
        whole[place, :place] = whole[:place, place] = at.step[place - 1] * whole[place - 1, :place]
    return serial.variance * whole[np.ix_(at.place, at.place)]
