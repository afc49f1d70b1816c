"""Laws of the matrix factorisation on planted ratings."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec.signed.factors import factorise
from llmrec.signed.labels import Labels


def planted(seed: int = 0, noise: float = 0.1) -> tuple[Labels, np.ndarray, np.ndarray, np.ndarray]:
    """60 users, 40 items, a third of the ratings; offsets, effects and one direction of taste."""
    rng = np.random.default_rng(seed)
    offset, effect = rng.normal(0, 0.5, 60), rng.normal(0, 0.7, 40)
    taste, factor = rng.normal(0, 1, 60), rng.normal(0, 0.8, 40)
    whole = 3 + offset[:, None] + effect + np.outer(taste, factor) + rng.normal(0, noise, (60, 40))
    user, item = np.nonzero(rng.random((60, 40)) < 0.4)
    return Labels(user + 100, item, whole[user, item]), whole, effect, factor


def test_a_planted_taste_is_found():
    ratings, _, effect, factor = planted()
    found = factorise(ratings, 40, k=1, rounds=40)
    direction = found.factors[:, 0]
    assert abs(np.corrcoef(direction, factor)[0, 1]) > 0.97
    assert np.corrcoef(found.effect, effect)[0, 1] > 0.9
    assert found.noise < factorise(ratings, 40, k=0).noise / 4


def test_names_of_users_and_the_order_of_rows_have_no_say():
    ratings = planted()[0]
    order = np.random.default_rng(1).permutation(len(ratings))
    other = Labels(ratings.user[order] * 7, ratings.item[order], ratings.value[order])
    first, second = factorise(ratings, 40, k=2, rounds=5), factorise(other, 40, k=2, rounds=5)
    np.testing.assert_allclose(first.factors, second.factors, atol=1e-8)
    np.testing.assert_allclose(first.effect, second.effect, atol=1e-8)


def test_a_item_without_ratings_is_at_zero_and_as_unsure_as_the_prior():
    ratings = planted()[0]
    found = factorise(ratings, 43, k=2)
    assert not found.factors[40:].any() and not found.effect[40:].any()
    assert (found.effect_variance[:40] < found.effect_variance[40]).all()


def test_without_factors_it_is_the_mixed_model_of_offsets_and_effects():
    """An independent reference: the posterior mean of one big Gaussian with the variances that were found."""
    ratings = planted()[0]
    found = factorise(ratings, 40, k=0, rounds=300)
    design = np.zeros((len(ratings), 100))
    design[np.arange(len(ratings)), ratings.user - 100] = 1
    design[np.arange(len(ratings)), 60 + ratings.item] = 1
    ridge = np.r_[np.full(60, 1 / found.offset), np.full(40, 1 / found.prior[0])]
    mean = np.linalg.solve(
        design.T @ design / found.noise + np.diag(ridge), design.T @ (ratings.value - found.level) / found.noise
    )
    np.testing.assert_allclose(found.effect, mean[60:], atol=2e-3)


def test_tastes_keep_the_identity_as_their_covariance():
    """The scale is in the items: twice the ratings' spread is twice the factors, at the same tastes."""
    ratings = planted()[0]
    wide = Labels(ratings.user, ratings.item, 2 * ratings.value)
    once, twice = (factorise(one, 40, k=1, rounds=60).factors for one in (ratings, wide))
    assert np.linalg.norm(twice) / np.linalg.norm(once) == pytest.approx(2, rel=0.05)
