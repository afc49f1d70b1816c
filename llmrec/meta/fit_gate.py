"""Fit the gate: choose, for each support size, the adaptation that helps significantly on validation users.

1. Gains over zero steps, paired user by user, are averaged in each bin of support sizes.
2. Neighbouring bins share information: gains are modelled as a random walk along the bins, whose variance is
   estimated from the differences of neighbours beyond their noise (empirical Bayes: bins that are alike pool, others do not).
3. A choice may be taken in a bin if its own paired mean there is above zero and its smoothed gain exceeds what noise makes of
   the best of all choices in all bins: the largest of all t statistics under random signs of the users (Westfall and Young,
   1993; Romano and Wolf, 2005), so that trying many choices does not produce a false gain. Otherwise it is zero steps.
4. Of those that may be taken the best is, subject to this: among bins that step, a larger support has no weaker choice.

Axis convention: `T` users, `C` choices, `B` bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from llmrec.errors import DataError
from llmrec.meta.gate import Bin, Choice, Gate, checked

_BORROWED = 10.0  # users' worth of the variance over all bins that each bin's own variance is mixed with


def fit_gate(
    choices: Sequence[Choice],
    sizes: np.ndarray,
    worth: np.ndarray,
    edges: Sequence[int],
    rng: np.random.Generator,
    level: float = 0.05,
    least: int = 20,
    monotone: bool = True,
    draws: int = 2000,
) -> Gate:
    """The gate for users like these.

    choices: C, the first of zero steps, the others in order of strength. sizes: int (T,), events of each support.
    worth: (T, C), value of each choice for each user on later events, higher is better (a negative loss); users with NaN
        are left out.
    edges: ascending, the smallest support of each bin; smaller ones take zero steps.
    level: probability of taking any step if none helps. least: users below which a bin is not measured.
    Raises DataError where shapes or edges do not fit.
    """
    worth = _checked(choices, sizes, worth, edges)
    place = np.searchsorted(edges, sizes, side="right") - 1
    used = (place >= 0) & ~np.isnan(worth).any(1)
    place, gain = place[used], (worth[:, 1:] - worth[:, :1])[used]
    count = np.bincount(place, minlength=len(edges))
    mean, error = _means(gain, place, count)
    smoothers, spread = zip(*(smoother(mean[:, c], error[:, c]) for c in range(gain.shape[1])), strict=True)
    smooth = np.stack([s @ mean[:, c] for c, s in enumerate(smoothers)], 1)
    width = np.stack(spread, 1)
    measured = count >= least
    bound = _critical(gain, place, count, np.stack(smoothers), width, measured, level, draws, rng) * width
    allowed = measured[:, None] & (mean > 0) & (smooth - bound > 0)
    found = best_path(np.where(allowed, smooth, -np.inf), count) if monotone else _best_each(allowed, smooth)
    bins = []
    for b, edge in enumerate(edges):
        about = found[b] or 1 + int(np.argmax(smooth[b]))
        g, w = float(smooth[b, about - 1]), float(bound[b, about - 1])
        bins.append(Bin(int(edge), int(found[b]), int(about), g, g - w, g + w, int(count[b])))
    return checked(Gate(tuple(choices), tuple(bins)))


def smoother(mean: np.ndarray, error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Smoothing of bins' means (B,) with standard errors (B,), if the true values are a random walk along the bins.

    Returns the matrix (B, B) that smooths the means, and the remaining standard deviation (B,). A bin with an infinite error
    adds no information. The walk's variance per bin is estimated by moments from the bins with finite errors.
    """
    here = np.flatnonzero(np.isfinite(error))
    square = error[here] ** 2
    beyond = np.diff(mean[here]) ** 2 - square[1:] - square[:-1]
    walk = max(beyond.sum() / max(np.diff(here).sum(), 1), 1e-3 * np.median(square))
    weight = np.zeros(len(mean))
    weight[here] = 1 / square
    chain = np.zeros((len(mean), len(mean)))
    for b in range(len(mean) - 1):
        chain[b : b + 2, b : b + 2] += np.array([[1, -1], [-1, 1]]) / walk
    inverse = np.linalg.inv(np.diag(weight) + chain)
    return inverse * weight, np.sqrt(np.diag(inverse))


def best_path(value: np.ndarray, count: np.ndarray) -> list[int]:
    """Choices (B,) with the largest sum of count * value (B, C - 1), where those above 0 never fall along the bins.

    Choice c has value[:, c - 1], -inf where it may not be taken; choice 0 has 0 and may be taken anywhere.
    """
    paths: dict[int, tuple[float, list[int]]] = {0: (0.0, [])}  # strongest choice so far -> the best sum, and its path
    for row, users in zip(value, count, strict=True):
        grown: dict[int, tuple[float, list[int]]] = {}
        for strongest, (total, path) in paths.items():
            steps = [0, *(c for c in range(max(strongest, 1), len(row) + 1) if np.isfinite(row[c - 1]))]
            for c in steps:
                new = (total + (users * row[c - 1] if c else 0.0), [*path, c])
                key = max(strongest, c)
                if key not in grown or new[0] > grown[key][0]:
                    grown[key] = new
        paths = grown
    return max(paths.values(), key=lambda found: found[0])[1]


def _means(gain: np.ndarray, place: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard error (B, C - 1) of gains (T, C - 1) in each bin; 0 and infinity in a bin without users.

    A bin's variance is mixed with that of all bins, for that of a few users may come out as nothing.
    """
    mean = np.zeros((len(count), gain.shape[1]))
    np.add.at(mean, place, gain)
    mean /= np.maximum(count, 1)[:, None]
    square = np.zeros_like(mean)
    np.add.at(square, place, (gain - mean[place]) ** 2)
    over_all = square.sum(0) / max(len(gain) - (count > 0).sum(), 1)
    mixed = (square + _BORROWED * over_all) / np.maximum(count - 1 + _BORROWED, 1)[:, None]
    floor = np.finfo(np.float64).tiny ** 0.5 + 1e-12 * np.abs(mean).max() ** 2
    with np.errstate(divide="ignore"):
        return mean, np.sqrt((mixed + floor) / count[:, None])


def _critical(
    gain: np.ndarray,
    place: np.ndarray,
    count: np.ndarray,
    smoothers: np.ndarray,
    width: np.ndarray,
    measured: np.ndarray,
    level: float,
    draws: int,
    rng: np.random.Generator,
) -> float:
    """What the largest of all smoothed gains over their widths exceeds with probability `level` when no choice helps.

    The users' centred gains get random signs, one a user, so that what choices have in common they keep in common.
    """
    if not measured.any():
        return 0.0
    means = np.zeros((draws, *width.shape))
    for b in np.flatnonzero(count > 1):
        own = gain[place == b]
        signs = rng.integers(0, 2, (draws, len(own)), dtype=np.int8).astype(np.float64) * 2 - 1
        means[:, b] = signs @ (own - own.mean(0)) / (len(own) * (len(own) - 1)) ** 0.5
    smooth = np.einsum("cbk,nkc->nbc", smoothers, means) / width
    return max(float(np.quantile(smooth[:, measured].max((1, 2)), 1 - level)), 0.0)


def _best_each(allowed: np.ndarray, smooth: np.ndarray) -> list[int]:
    value = np.where(allowed, smooth, -np.inf)
    return [1 + int(np.argmax(row)) if np.isfinite(row).any() else 0 for row in value]


def _checked(choices: Sequence[Choice], sizes: np.ndarray, worth: np.ndarray, edges: Sequence[int]) -> np.ndarray:
    worth = np.asarray(worth, np.float64)
    if len(choices) < 2 or choices[0].steps != 0:
        raise DataError("choices: expected zero steps first and at least one other; put Choice() first")
    if worth.shape != (len(sizes), len(choices)) or np.isinf(worth).any():
        raise DataError(
            f"worth: expected finite numbers (or NaN), {len(sizes)} users by {len(choices)} choices, got {worth.shape}; "
            "give a row for each of `sizes` and a column for each of `choices`"
        )
    if not len(edges) or any(one >= other for one, other in pairwise(edges)):
        raise DataError(
            f"edges: expected one ascending number or more, got {list(edges)}; give the smallest support of each bin"
        )
    if not ((np.asarray(sizes) >= edges[0]) & ~np.isnan(worth).any(1)).any():
        raise DataError(
            f"sizes: no user has a support of {edges[0]} events or more and a worth for each choice; lower edges[0]"
        )
    return worth
