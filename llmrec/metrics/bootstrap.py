"""Bootstrap intervals of means over users and, where there are several, over seeds.

Axis convention: `S` seeds, `T` users. The percentile interval of resampled means: every draw takes `T` users and `S` seeds
with replacement, so that the interval covers the uncertainty over users and over runs. A few seeds
understate the spread between runs by about (S - 1) / S; only more seeds help.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from llmrec.errors import DataError

_CELLS = 1 << 22  # cells of the weight matrix held at once


@dataclass(frozen=True)
class Interval:
    """A mean, the ends of its interval, and the number of users behind it."""

    value: float
    low: float
    high: float
    n: int

    def excludes_zero(self) -> bool:
        """True where the whole interval lies on one side of zero."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Resampled:
    """A mean and its value in each bootstrap draw; results of one `resampled` call share the users of every draw.

    value: the mean. draws: float64 (D,). n: users behind it.
    """

    value: float
    draws: np.ndarray
    n: int

    def interval(self, level: float = 0.95) -> Interval:
        """The percentile interval. Raises DataError for a level outside (0, 1)."""
        if not 0 < level < 1:
            raise DataError(f"level: expected 0 < level < 1, got {level}")
        low, high = np.quantile(self.draws, [(1 - level) / 2, (1 + level) / 2])
        return Interval(self.value, float(low), float(high), self.n)

    def minus(self, other: Resampled) -> Resampled:
        """The paired difference; both must come from one `resampled` call."""
        return Resampled(self.value - other.value, self.draws - other.draws, self.n)


def bootstrap_mean(values: np.ndarray, rng: np.random.Generator, draws: int = 2000, level: float = 0.95) -> Interval:
    """Interval of the mean of `values`: float (T,), or (S, T) with the same users in every seed's row.

    Users with a NaN (in any seed) are left out. One user gives an interval of zero width, which is
    meaningless. Raises DataError for other shapes, for infinite values and when no user is left.
    """
    return resampled({"values": values}, rng, draws)["values"].interval(level)


def paired_bootstrap(
    a: np.ndarray, b: np.ndarray, rng: np.random.Generator, draws: int = 2000, level: float = 0.95
) -> Interval:
    """Interval of the mean of `a - b`, user by user and seed by seed; above zero where `a` is higher.

    a, b: float (T,) or (S, T). One row against `S` rows is a method without a seed: it is compared with each of them.
    Users with NaN in either are left out. Raises DataError as `bootstrap_mean`, and where users or seeds differ.
    """
    a, b = _seeds_by_users(a, "a"), _seeds_by_users(b, "b")
    if a.shape[1] != b.shape[1] or (len(a) != len(b) and 1 not in (len(a), len(b))):
        raise DataError(f"paired: a {a.shape} and b {b.shape} must hold the same users, and as many seeds or one row")
    return bootstrap_mean(a - b, rng, draws, level)


def resampled(methods: Mapping[str, np.ndarray], rng: np.random.Generator, draws: int = 2000) -> dict[str, Resampled]:
    """Means of several methods under the same resampling of users, so that any two of them can be subtracted.

    methods: name -> float (T,) or (S, T), the same users in all; the number of seeds may differ. Every draw takes the users
        together and the seeds of each method separately, because seeds of different methods are unrelated.
    Users with NaN in any of them are left out. With one seed each, a difference is that of `paired`. Raises DataError as
    `bootstrap_mean`, and where users differ.
    """
    tables = {name: _seeds_by_users(values, name) for name, values in methods.items()}
    if draws < 1:
        raise DataError(f"draws: expected at least 1, got {draws}")
    if len({values.shape[1] for values in tables.values()}) != 1:
        shapes = ", ".join(f"{name} {values.shape[1]}" for name, values in tables.items())
        raise DataError(f"resampled: expected one or more methods with the same users, got {shapes or 'none'}")
    stacked = np.concatenate(list(tables.values()))
    stacked = stacked[:, ~np.isnan(stacked).any(axis=0)]
    users = stacked.shape[1]
    if users == 0 or any(len(values) == 0 for values in tables.values()):
        raise DataError("no user has a value: every one is NaN or the array is empty, so there is no mean to report")
    ends = np.cumsum([len(values) for values in tables.values()])
    parts = {name: slice(end - len(values), end) for (name, values), end in zip(tables.items(), ends.tolist(), strict=True)}
    means = {name: np.empty(draws) for name in tables}
    block = max(1, _CELLS // users)
    for first in range(0, draws, block):
        count = min(block, draws - first)
        by_seed = _times_drawn(rng, count, users) @ stacked.T / users  # (count, seeds of all)
        for name, part in parts.items():
            seeds = part.stop - part.start
            chosen = _times_drawn(rng, count, seeds) if seeds > 1 else np.ones((count, 1))
            means[name][first : first + count] = (by_seed[:, part] * chosen).sum(axis=1) / seeds
    return {name: Resampled(float(stacked[part].mean()), means[name], users) for name, part in parts.items()}


def _times_drawn(rng: np.random.Generator, draws: int, size: int) -> np.ndarray:
    """float64 (draws, size): how often each of `size` things comes in `size` draws with replacement (a multinomial, by
    counting indices: three times as fast as `rng.multinomial`)."""
    index = rng.integers(0, size, (draws, size)) + np.arange(draws)[:, None] * size
    return np.bincount(index.ravel(), minlength=draws * size).reshape(draws, size).astype(np.float64)


def _seeds_by_users(values: np.ndarray, name: str) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if values.ndim not in (1, 2):
        raise DataError(f"{name}: expected shape (users,) or (seeds, users), got {values.shape}")
    if np.isinf(values).any():
        raise DataError(f"{name}: holds infinite values; a mean over users needs finite ones (NaN leaves a user out)")
    return np.atleast_2d(values)
