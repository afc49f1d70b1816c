"""Monitor a stream of windows: a betting test on p-values with a bounded rate of false alarms.

While nothing changes, p-values of a stream are independent and uniform, and no bet on small ones gains on average. A bet is
f(p) = a p^(a - 1) with 0 < a < 1, whose mean is one. The Shiryaev-Roberts sum of gains of all bets begun so far, R = (1 + R)
f(p), then grows by one a window on average while nothing changes, so an alarm at R >= c comes after at least c windows on
average: at most 1 / c of the windows raise a false one. The mean of such sums over several `a` has the same property.

Vovk, "Testing randomness online" (2021); Shin, Ramdas and Rinaldo, "E-detectors" (2022).
"""

from __future__ import annotations

import numpy as np

BETS = (0.1, 0.2, 0.35, 0.5, 0.7, 0.9)  # from bold to timid: what a sudden and what a slight change ask for
LIMIT = 200.0  # windows between false alarms, at least and on average: five in a thousand


def evidence(p: np.ndarray, bets: tuple[float, ...] = BETS, limit: float = np.inf) -> np.ndarray:
    """float64 (W,): the sum after each window of a stream, p float (W,) in (0, 1]; it begins anew after reaching `limit`."""
    exponent = np.array(bets)
    gains = exponent * np.asarray(p, np.float64)[:, None] ** (exponent - 1)
    held, result = np.zeros(len(bets)), np.empty(len(gains))
    for place, gain in enumerate(gains):
        held = (1 + held) * gain
        result[place] = held.mean()
        if result[place] >= limit:
            held = np.zeros(len(bets))
    return result


def alarms(p: np.ndarray, limit: float = LIMIT) -> np.ndarray:
    """int64: windows at which an alarm is raised; the watch begins anew after each."""
    if limit < 1:
        raise ValueError(f"limit is a number of windows, at least 1, got {limit}")
    return np.flatnonzero(evidence(p, limit=limit) >= limit)
