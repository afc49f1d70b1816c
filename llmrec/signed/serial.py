"""Serial correlation: labels that a user gave one after the other have errors in common, and the last of them tell of the next.

    error_t = s_t + e_t,    s_t = correlation * s_(t-1) + an innovation,    e_t ~ N(0, noise_t),    s_t ~ N(0, variance)

A regression with autoregressive errors of order one (Harvey, 1990, "Forecasting, structural time series models and the Kalman
filter", chapter 2). t counts a user's labels in the order of time. The inverse covariance of s is tridiagonal, so everything
here costs O(S).

Axis convention: `S` labels of a user, `m` right-hand sides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solveh_banded


@dataclass(frozen=True)
class Serial:
    """variance: of what neighbouring labels have in common; 0 for none. correlation: of it from one label to the next, in
    [0, 1)."""

    variance: float = 0.0
    correlation: float = 0.0


def solve(serial: Serial, noise: np.ndarray, right: np.ndarray) -> np.ndarray:
    """float64 (S, m): the inverse covariance of S errors times `right` (S, m). noise: (S,), variances of e."""
    n, r = len(noise), serial.correlation
    weighed = right / noise[:, None]
    if not serial.variance:
        return weighed
    if n == 1:
        return right / (noise[:, None] + serial.variance)
    inner = np.full(n, 1 + r * r)
    inner[[0, -1]] = 1.0
    scale = 1 / (serial.variance * (1 - r * r))
    banded = np.vstack([np.full(n, -r * scale), inner * scale + 1 / noise])  # upper form: the first of the first row is unread
    return weighed - solveh_banded(banded, weighed, check_finite=False) / noise[:, None]


def with_next(serial: Serial, n: int) -> np.ndarray:
    """float64 (n,): covariance of the errors of n labels with s of the label after them."""
    return serial.variance * serial.correlation ** np.arange(n, 0, -1)


def covariance(serial: Serial, n: int) -> np.ndarray:
    """float64 (n, n): of s at n labels in their order."""
    place = np.arange(n)
    return serial.variance * serial.correlation ** np.abs(place[:, None] - place)
