"""Serial correlation: labels that a user gave one after the other have errors in common, and the last of them tell of the next.

    error_t = s_t + e_t,    e_t ~ N(0, noise_t),    s_t ~ N(0, variance)
    corr(s_(t-1), s_t) = correlation * 2^(-gap_t / half_life)

A regression with autoregressive errors of order one (Harvey, 1990, "Forecasting, structural time series models and the Kalman
filter", chapter 2), which are the less alike, the more time lies between two labels. t counts a user's labels in the order of
time. The inverse covariance of s is tridiagonal, so everything here costs O(S).

Axis convention: `S` labels of a user, `m` right-hand sides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solveh_banded

DAY = 86_400.0  # seconds


@dataclass(frozen=True)
class Serial:
    """variance: of what neighbouring labels have in common; 0 for none. correlation: of it from one label to the next at the
    same time, in [0, 1). half_life: seconds in which the correlation falls to a half."""

    variance: float = 0.0
    correlation: float = 0.0
    half_life: float = DAY


def steps(serial: Serial, time: np.ndarray | None, n: int, now: float | None = None) -> np.ndarray:
    """float64 (n,): correlation of s at each of n labels with the next one, at last with a label at `now`.

    time: (n,), seconds, ascending; None where the order of labels is not known: then all are 0. now: None for the time of the
    last label.
    """
    if time is None:
        return np.zeros(n)
    gap = np.maximum(np.diff(time, append=time[-1:] if now is None else now), 0)
    return serial.correlation * 2.0 ** (-gap / serial.half_life)


def solve(serial: Serial, step: np.ndarray, noise: np.ndarray, right: np.ndarray) -> np.ndarray:
    """float64 (S, m): the inverse covariance of S errors times `right` (S, m). step: (S,), of `steps`, whose last is not read.
    noise: (S,), variances of e."""
    n = len(noise)
    weighed = right / noise[:, None]
    if not serial.variance:
        return weighed
    if n == 1:
        return right / (noise[:, None] + serial.variance)
    before = np.append(0.0, step[:-1])  # correlation with the label before
    left = 1 / (1 - before**2)
    inner = left + np.append(left[1:] - 1, 0.0)
    banded = np.vstack([-before * left, inner]) / serial.variance  # upper form: the first of the first row is not read
    banded[1] += 1 / noise
    return weighed - solveh_banded(banded, weighed, check_finite=False) / noise[:, None]


def with_next(serial: Serial, step: np.ndarray) -> np.ndarray:
    """float64 (S,): covariance of the errors of S labels with s of the label after them."""
    return serial.variance * np.cumprod(step[::-1])[::-1]


def covariance(serial: Serial, step: np.ndarray) -> np.ndarray:
    """float64 (S, S): of s at S labels in their order."""
    whole = np.eye(len(step))
    for place in range(1, len(step)):
        whole[place, :place] = whole[:place, place] = step[place - 1] * whole[place - 1, :place]
    return serial.variance * whole
