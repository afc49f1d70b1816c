"""Factors: the inner loop against numpy, least squares as its limit, and a planted taste that no item mean can know."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from llmrec.errors import DataError
from llmrec.meta.factors import Factors, FactorSettings, adapt_user, adapt_users, fit_factors, predict
from llmrec.meta.inner import Initialisation, initialisation
from llmrec.meta.outer import OuterSettings

N, D = 6, 2


@pytest.fixture
def factors(exact) -> Factors:
    rng = np.random.default_rng(0)
    p, user_bias, q, item_bias = (torch.from_numpy(rng.normal(size=s)) for s in ((1, D), (1, 1), (1, N, D), (1, N)))
    return Factors(p, user_bias, q, item_bias, 3.0)


def begin(factors: Factors, steps: int, rate: float) -> Initialisation[Factors]:
    return initialisation(factors, steps, rate, clip=1e9)


def known() -> tuple[np.ndarray, np.ndarray]:
    return np.array([4, 0, 3, 5, 1]), np.array([5.0, 1.0, 4.0, 2.0, 3.0])


def test_steps_by_hand(factors):
    item, rating = known()
    p, bias = factors.p[0].numpy().copy(), float(factors.user_bias)
    q, fixed = factors.q[0].numpy()[item], 3.0 + factors.item_bias[0].numpy()[item]
    for steps in range(4):
        found = adapt_user(begin(factors, 3, 0.1), item, rating, steps)
        np.testing.assert_allclose(found.p[0], p, rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(float(found.user_bias), bias, rtol=1e-6)
        expected = 3.0 + factors.item_bias[0].numpy() + bias + factors.q[0].numpy() @ p
        np.testing.assert_allclose(predict(found, np.arange(N))[0], expected, rtol=1e-6)
        error = fixed + bias + q @ p - rating
        p, bias = p - 0.1 * 2 * (error @ q) / 5, bias - 0.1 * 2 * error.mean()


def test_one_step_is_least_squares_where_it_can_be(factors):
    """Four items that stand at right angles, and a rate of one half: the mean error's slope points straight at the answer. The
    user's three numbers are found from any start, and with them the ratings of items never rated."""
    q = factors.q.clone()
    q[0, :4] = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    side = np.column_stack([q[0].numpy(), np.ones(N)])
    truth = np.array([0.7, -1.2, 0.4])
    rating = 3.0 + factors.item_bias[0].numpy() + side @ truth
    init = begin(replace(factors, q=q), 1, 0.5)
    np.testing.assert_allclose(np.linalg.lstsq(side[:4], (rating - 3.0 - factors.item_bias[0].numpy())[:4])[0], truth)
    found = adapt_user(init, np.arange(4), rating[:4])
    np.testing.assert_allclose([*found.p[0], *found.user_bias[0]], truth, rtol=1e-5)
    np.testing.assert_allclose(predict(found, np.arange(N))[0], rating, rtol=1e-5)


def test_zero_steps_and_no_ratings_are_the_initialisation(factors):
    item, rating = known()
    init = begin(factors, 3, 0.1)
    for found in (adapt_user(init, item, rating, 0), adapt_user(init, item[:0], rating[:0])):
        assert all(torch.equal(x, y) for x, y in zip(found.leaves(), factors.leaves(), strict=True))


def test_users_together_are_users_alone_and_the_item_side_stays(factors):
    item, rating = known()
    init, sizes = begin(factors, 3, 0.1), (5, 0, 2)
    together = adapt_users(init, [item[:n] for n in sizes], [rating[:n] for n in sizes])
    for user, n in enumerate(sizes):
        alone = adapt_user(init, item[:n], rating[:n])
        np.testing.assert_allclose(together.p[user], alone.p[0], rtol=1e-6)
        np.testing.assert_allclose(predict(together, np.arange(N))[user], predict(alone, np.arange(N))[0], rtol=1e-6)
    assert torch.equal(together.q, factors.q) and torch.equal(together.item_bias, factors.item_bias)


def tastes(rng: np.random.Generator, users: int, known: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """rating = 3 + taste_u * side_i, taste and side both 1 or -1 in even shares: each item's mean is 3, its error exactly 1."""
    taste, side = np.tile([1, -1], users // 2), np.tile([1, -1], 10)
    item = np.concatenate([rng.permutation(20)[:known] for _ in range(users)])
    user = np.repeat(np.arange(users), known)
    return user, item, 3.0 + taste[user] * side[item]


@pytest.mark.parametrize("first_order", [True, False])
def test_a_planted_taste_flips_the_ranking_after_one_rating(exact, first_order):
    """Nothing of the item means tells users apart. What was learned from other users puts, after one single rating of any
    item, every item on its right side, for either taste; the item mean's error is 1 for each rating, zero steps' no less."""
    rng = np.random.default_rng(0)
    settings = FactorSettings(size=2, steps=3, most=3, users=32)
    settings = replace(settings, outer=replace(settings.outer, episodes=100, rate=0.05, first_order=first_order))
    seen: list[list[float]] = []
    init = fit_factors(*tastes(rng, 60, 10), 20, settings, rng, lambda i, losses: seen.append(losses))
    side = np.tile([1, -1], 10)
    for taste in (1, -1):
        newcomers = adapt_users(init, list(np.arange(20)[:, None]), list(3.0 + taste * side[:, None]))
        found = predict(newcomers, np.arange(20)) - 3.0
        assert (np.sign(found) == taste * side).all()
        assert (((found - taste * side) ** 2).mean(1) < 1.0).all()
    still = predict(init.adapter, np.arange(20))[0] - 3.0
    assert np.mean([np.mean((still - taste * side) ** 2) for taste in (1, -1)]) >= 1.0
    assert len(seen) == 100 and {len(losses) for losses in seen} == {4}


def test_same_generator_same_factors(exact):
    settings = replace(FactorSettings(), outer=OuterSettings(episodes=3))
    made = [fit_factors(*tastes(np.random.default_rng(0), 8, 4), 20, settings, np.random.default_rng(s)) for s in (1, 1, 2)]
    one, same, other = (init.adapter.leaves() for init in made)
    assert all(torch.equal(x, y) for x, y in zip(one, same, strict=True))
    assert not any(torch.equal(x, y) for x, y in zip(one[:1] + one[2:3], other[:1] + other[2:3], strict=True))


@pytest.mark.parametrize(
    ("user", "item", "rating", "words"),
    [
        ([0, 0], [1], [1.0, 2.0], "user, item, rating: expected one row"),
        ([0, 0], [1, 9], [1.0, 2.0], "item: expected indices of 0 to 5, got 1 to 9"),
        ([-1, 0], [1, 2], [1.0, 2.0], "user: expected indices of 0 or more"),
        ([0, 0], [1, 2], [1.0, np.nan], "rating: expected finite numbers"),
        ([0, 1], [1, 2], [1.0, 2.0], "no user has two ratings"),
        ([], [], [], "no user has two ratings"),
    ],
)
def test_ratings_that_do_not_fit(user, item, rating, words):
    with pytest.raises(DataError, match=words):
        fit_factors(np.array(user), np.array(item), np.array(rating), N, FactorSettings(), np.random.default_rng(0))


def test_a_newcomers_ratings_that_do_not_fit(factors):
    for item, rating, words in (
        ([1], [1.0, 2.0], "rating: expected one"),
        ([6], [1.0], "item: expected"),
        ([0], [np.inf], "finite"),
    ):
        with pytest.raises(DataError, match=words):
            adapt_user(begin(factors, 1, 0.1), np.array(item), np.array(rating))
