"""Laws of the floors on worlds whose answer is known."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from studies.ratings.films import Kernel
from studies.ratings.floors import film_mean, global_mean, kernel_ridge, matrix_factorisation, user_mean
from studies.ratings.melu import Episode, Ratings, World

ASKED = Episode(999, np.arange(5), np.array([5.0, 3, 5, 3, 4]), np.array([5, 6, 19]), np.zeros(3))


@pytest.fixture(scope="module")
def world() -> World:
    """300 users, films 0 to 17 rated: even ones are better by one; 18 and 19 are new. Level 3.5."""
    rng = np.random.default_rng(0)
    user, item = np.nonzero(rng.random((300, 18)) < 0.6)
    offset = rng.choice([-0.5, 0.5], 300)
    value = 3.5 + np.where(item % 2 == 0, 0.5, -0.5) + offset[user]
    return World(pa.table({"item_id": list(range(20))}), Ratings(user, item, value), {})


def test_means(world):
    np.testing.assert_allclose(global_mean(world)(ASKED), world.warm.value.mean())
    np.testing.assert_allclose(user_mean(world)(ASKED), 4.0)


@pytest.mark.parametrize("method", [film_mean, matrix_factorisation])
def test_films_and_the_users_offset_add_up(world, method):
    """The support lies .3 above these films' own means."""
    found = method(world)(ASKED)
    assert found[1] - found[0] == pytest.approx(1, abs=0.1)  # film 6 is even, 5 is odd
    above = ASKED.value - (3.5 + np.array([0.5, -0.5, 0.5, -0.5, 0.5]))
    assert 3.0 < found[0] < 3.0 + above.mean() + 0.05
    assert found[2] == pytest.approx((found[0] + found[1]) / 2, abs=0.1)  # a film without a rating is at the level


def test_a_new_film_is_foretold_by_kernel_ridge(world):
    parity = np.stack([np.arange(20) % 2 == 0, np.arange(20) % 2 == 1], 1).astype(float)
    predict = kernel_ridge(world, [Kernel("parity", parity)], 1.0, 0.0).predict
    new = Episode(999, ASKED.item, ASKED.value, np.array([18, 19, 6, 5]), np.zeros(4))
    found = predict(new)
    np.testing.assert_allclose(found[:2], found[2:], atol=0.1)
    assert kernel_ridge(world, [Kernel("parity", 3 * parity)], 1.0, 0.0).predict(new) == pytest.approx(found)  # scaled to one


def test_a_users_taste_is_read_off_the_support(world):
    parity = np.stack([np.arange(20) % 2 == 0, np.arange(20) % 2 == 1], 1).astype(float)
    likes_odd = Episode(999, np.arange(8), np.array([1.0, 5] * 4), np.array([8, 9]), np.zeros(2))
    without, with_taste = (kernel_ridge(world, [Kernel("parity", parity)], 1.0, u).predict(likes_odd) for u in (0.0, 1.0))
    assert without[0] > without[1]
    assert with_taste[0] < with_taste[1]
