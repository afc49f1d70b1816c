"""The worked example: matrix factorisation whose user side is learned to be learned from few ratings.

    rating_ui = mean + bias_i + bias_u + <p_u, q_i>

Items' q_i and bias_i are shared; p_u and bias_u start at a meta-learned initialisation and take k gradient steps on the user's
few ratings. It is MAML (arXiv 1703.03400) with the user's row as the head (ANIL, arXiv 1909.09157), on the factorisation of
Koren, Bell and Volinsky (IEEE Computer 42(8), 2009): the smallest recommender in which all of meta-learning can be seen.

    init = fit_factors(user, item, rating, n_items, FactorSettings(), np.random.default_rng(0))
    newcomer = adapt_user(init, np.array([12, 40, 7]), np.array([5.0, 1.0, 4.0]))
    predict(newcomer, np.arange(n_items))

Axis convention: `U` users, `N` items, `D` numbers of a factor, `S` ratings of a user (padded).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from llmrec.adapters.values import Shared
from llmrec.errors import DataError
from llmrec.meta.algorithms import anil
from llmrec.meta.inner import Initialisation, adapt
from llmrec.meta.outer import Episode, OuterSettings, meta_train


@dataclass(frozen=True)
class Factors(Shared):
    """The user side of U users and the item side of all.

    p: (U, D). user_bias: (U, 1). q: (1, N, D). item_bias: (1, N). mean: of all ratings; not learned.
    """

    own: ClassVar[int] = 2

    p: Tensor
    user_bias: Tensor
    q: Tensor
    item_bias: Tensor
    mean: float

    def __len__(self) -> int:
        return len(self.p)

    def leaves(self) -> list[Tensor]:
        return [self.p, self.user_bias, self.q, self.item_bias]

    def with_leaves(self, leaves: list[Tensor]) -> Factors:
        p, user_bias, q, item_bias = leaves
        return Factors(p, user_bias, q, item_bias, self.mean)


@dataclass(frozen=True)
class FactorSettings:
    """How factors are learned.

    size: numbers of a factor, D. steps, rate: of the inner loop. users: of an episode. most: ratings of a support, at most; how
    many is drawn anew for each user of each episode, from 1 on. prior: ratings at the mean that an item's bias starts with.
    outer: of the outer loop; `first_order` is its switch, `rate_of_rates` 0 leaves the inner rates as they are.
    """

    size: int = 8
    steps: int = 5
    rate: float = 0.2
    users: int = 64
    most: int = 10
    prior: float = 5.0
    outer: OuterSettings = field(default_factory=lambda: OuterSettings(episodes=500, rate=1e-2, first_order=False))


@dataclass(frozen=True)
class Ratings:
    """Ratings of U users, padded. item: int64 (U, S). rating: float32 (U, S). filled: bool (U, S)."""

    item: Tensor
    rating: Tensor
    filled: Tensor


def fit_factors(
    user: np.ndarray,
    item: np.ndarray,
    rating: np.ndarray,
    n_items: int,
    settings: FactorSettings,
    rng: np.random.Generator,
    watch: Callable[[int, list[float]], None] | None = None,
) -> Initialisation[Factors]:
    """The initialisation learned from E ratings: the shared item side, and where a user starts.

    user, item: int (E,), 0, 1, ...; rating: (E,). watch: as of `meta_train`; the loss is the mean squared error.
    Raises DataError for triples that do not fit together and where no user has two ratings.
    """
    user, item, rating = _checked(user, item, rating, n_items)
    count = np.bincount(user)
    able = np.flatnonzero(count >= 2)
    if not len(able):
        raise DataError("user: no user has two ratings, one to adapt to and one to be asked for; give longer histories")
    mean = float(rating.mean())
    total = np.bincount(item, rating - mean, n_items)
    bias = total / (np.bincount(item, minlength=n_items) + settings.prior)
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    p, q = (
        torch.randn(1, *shape, generator=generator) * settings.size**-0.5
        for shape in ((settings.size,), (n_items, settings.size))
    )
    start = Factors(p, torch.zeros(1, 1), q, torch.from_numpy(bias).float()[None], mean)
    order = np.argsort(user, kind="stable")
    begin = np.concatenate([[0], np.cumsum(count)])

    def episodes() -> Iterator[Episode[Factors]]:
        while True:
            chosen = rng.choice(able, min(settings.users, len(able)), replace=False)
            rows = [rng.permutation(order[begin[u] : begin[u + 1]]) for u in chosen]
            cut = [int(rng.integers(1, min(settings.most, len(r) - 1) + 1)) for r in rows]
            support, query = ([r[:c] for r, c in zip(rows, cut, strict=True)], [r[c:] for r, c in zip(rows, cut, strict=True)])
            yield episode(_pad(support, item, rating), _pad(query, item, rating))

    init, _ = anil(start, settings.steps, settings.rate, (True, True, False, False), clip=10.0)
    return meta_train(init, episodes(), settings.outer, watch)


def episode(support: Ratings, query: Ratings) -> Episode[Factors]:
    """Squared errors of U users on both sides."""
    return Episode(len(support.item), lambda theta: (squared_error(theta, support), squared_error(theta, query)))


def squared_error(factors: Factors, ratings: Ratings) -> Tensor:
    """Mean (U,) of each user's squared errors; 0 for a user without ratings."""
    error = (scores(factors, ratings.item) - ratings.rating).square() * ratings.filled
    return error.sum(1) / ratings.filled.sum(1).clamp(min=1)


def scores(factors: Factors, item: Tensor) -> Tensor:
    """Ratings (U, S) expected of items int64 (U, S)."""
    taste = torch.einsum("ud,usd->us", factors.p, factors.q[0][item])
    return factors.mean + factors.item_bias[0][item] + factors.user_bias + taste


def adapt_user(init: Initialisation[Factors], item: np.ndarray, rating: np.ndarray, steps: int | None = None) -> Factors:
    """One user (U = 1) after `steps` gradient steps (None: as learned) on ratings (S,) of items int (S,); S may be 0.

    Raises DataError for ratings that do not fit.
    """
    return adapt_users(init, [item], [rating], steps)


def adapt_users(
    init: Initialisation[Factors], item: list[np.ndarray], rating: list[np.ndarray], steps: int | None = None
) -> Factors:
    """U users at once, each with items and ratings of its own; a user without any stays at the initialisation."""
    size = np.array([len(part) for part in item])
    user = np.repeat(np.arange(len(item)), size)
    if [len(part) for part in rating] != size.tolist():
        raise DataError("rating: expected one rating for each item of each user; give arrays of the same lengths")
    _, flat, value = _checked(user, np.concatenate(item), np.concatenate(rating), init.adapter.q.shape[1])
    ends = np.cumsum(size)
    known = _pad([np.arange(end - n, end) for end, n in zip(ends, size, strict=True)], flat, value)
    return adapt(init, lambda theta: squared_error(theta, known), len(item), steps)


def predict(factors: Factors, item: np.ndarray) -> np.ndarray:
    """Ratings float32 (U, Q) expected of items int (Q,), for each of U users."""
    with torch.no_grad():
        return scores(factors, torch.from_numpy(np.asarray(item, np.int64)).expand(len(factors), -1)).numpy()


def _pad(rows: list[np.ndarray], item: np.ndarray, rating: np.ndarray) -> Ratings:
    size = np.array([len(r) for r in rows])
    filled = np.arange(max(int(size.max(initial=0)), 1))[None] < size[:, None]
    row = np.zeros(filled.shape, np.int64)
    row[filled] = np.concatenate(rows)
    if not len(item):
        return Ratings(torch.from_numpy(row), torch.zeros(row.shape), torch.from_numpy(filled))
    known = np.where(filled, rating[row], np.float32(0))
    return Ratings(torch.from_numpy(np.where(filled, item[row], 0)), torch.from_numpy(known), torch.from_numpy(filled))


def _checked(user: np.ndarray, item: np.ndarray, rating: np.ndarray, n_items: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    user, item, rating = np.asarray(user, np.int64), np.asarray(item, np.int64), np.asarray(rating, np.float32)
    if not user.shape == item.shape == rating.shape == (len(user),):
        raise DataError(f"user, item, rating: expected one row a rating, got {user.shape}, {item.shape} and {rating.shape}")
    for name, values, limit in (("user", user, None), ("item", item, n_items)):
        if len(values) and (values.min() < 0 or (limit is not None and values.max() >= limit)):
            wanted = "0 or more" if limit is None else f"0 to {limit - 1}"
            raise DataError(f"{name}: expected indices of {wanted}, got {values.min()} to {values.max()}; number them from 0")
    if not np.isfinite(rating).all():
        raise DataError("rating: expected finite numbers, got NaN or infinity; leave those rows out")
    return user, item, rating
