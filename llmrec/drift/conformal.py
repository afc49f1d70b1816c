"""Conformal p-values: the share of a scene's own windows that were at least as unusual as this one.

Axis convention: `W` windows, `S` scenes, `M` calibration windows. Scores are high where a window is unlike a scene.

Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World" (2005): when a window comes from where the calibration
windows come from, its p-value is at most `a` with probability at most `a`, whatever the score. Calibration windows must not
have taken part in learning the score, and must be of other users: else "comes from where" is not true.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llmrec.errors import DataError


def p_values(calibration: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """float64, the shape of `scores`: (1 + how many of the calibration scores (M,) are at least as high) / (M + 1).

    Without calibration windows it is 1: nothing can be held against a scene of which nothing is known.
    Raises DataError for scores that are NaN.
    """
    calibration, scores = np.asarray(calibration, np.float64), np.asarray(scores, np.float64)
    if np.isnan(calibration).any() or np.isnan(scores).any():
        raise DataError("scores: expected numbers, got NaN; leave out windows that have no score")
    higher = len(calibration) - np.searchsorted(np.sort(calibration), scores, side="left")
    return (1 + higher) / (len(calibration) + 1)


def scene_p_values(calibration: Sequence[np.ndarray], scores: np.ndarray) -> np.ndarray:
    """float64 (W, S): each window against each scene. calibration: a scene's own windows' scores, (M_s,), S times.

    Their greatest, `.max(1)`, is the p-value of "it is one of the known scenes".
    """
    return np.stack([p_values(held, scores[:, scene]) for scene, held in enumerate(calibration)], axis=1)


def stream_p_values(calibration: np.ndarray, scores: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """float64 (W,): windows one after the other, each against the calibration scores (M,) and all windows before it; equal ones
    are told apart by chance.

    As long as the order of all of them is accidental, these are independent and uniform on (0, 1): what betting against them
    rests on (Vovk, Nouretdinov and Gammerman, "Testing exchangeability on-line", 2003).
    """
    calibration, scores = np.asarray(calibration, np.float64), np.asarray(scores, np.float64)
    seen = np.sort(calibration)
    above, equal = np.empty(len(scores)), np.empty(len(scores))
    for place, score in enumerate(scores):
        first, last = np.searchsorted(seen, score, side="left"), np.searchsorted(seen, score, side="right")
        above[place], equal[place] = len(seen) - last, last - first + 1
        seen = np.insert(seen, last, score)
    size = len(calibration) + 1 + np.arange(len(scores))
    return (above + (1 - rng.random(len(scores))) * equal) / size  # 1 - [0, 1): never zero, which no bet would survive
