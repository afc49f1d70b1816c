"""Laws of the bootstrap: signs, pairing, analytic widths, coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from llmrec.errors import DataError
from llmrec.metrics import bootstrap as intervals
from llmrec.metrics.bootstrap import Interval, bootstrap_mean, paired_bootstrap, resampled


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_a_user_who_is_nan_in_one_seed_has_no_part_in_any():
    values = rng(1).normal(size=(3, 30))
    values[1, 4] = np.nan
    assert bootstrap_mean(values, rng()) == bootstrap_mean(np.delete(values, 4, axis=1), rng())


def test_swapping_the_two_flips_the_sign():
    a, b = rng(1).normal(size=(2, 3, 50))
    forth, back = paired_bootstrap(a, b, rng()), paired_bootstrap(b, a, rng())
    np.testing.assert_allclose([forth.value, forth.low, forth.high], [-back.value, -back.high, -back.low], rtol=1e-12)


@pytest.mark.parametrize("shape", [(40,), (3, 40)])
def test_a_method_does_not_differ_from_itself(shape):
    a = rng(1).normal(size=shape)
    assert paired_bootstrap(a, a, rng()) == Interval(0.0, 0.0, 0.0, 40)


def test_a_constant_advantage_has_no_width_however_much_users_vary():
    b = rng(1).normal(size=60) * 100
    found = paired_bootstrap(b + 0.5, b, rng())
    np.testing.assert_allclose([found.value, found.low, found.high], 0.5)


def test_the_width_is_the_standard_error_of_the_mean():
    values = rng(1).normal(3, 2, size=400)
    found = bootstrap_mean(values, rng(), draws=20_000)
    assert found.value == pytest.approx(values.mean())
    assert (found.high - found.low) / (2 * stats.norm.ppf(0.975)) == pytest.approx(values.std() / 20, rel=0.03)


def test_where_only_seeds_differ_the_width_is_that_of_the_seeds():
    by_seed = rng(1).normal(size=12)
    values = np.repeat(by_seed[:, None], 30, axis=1)
    found, alone = bootstrap_mean(values, rng(), 20_000), bootstrap_mean(by_seed, rng(2), 20_000)
    assert found.n == 30
    np.testing.assert_allclose([found.low, found.high], [alone.low, alone.high], atol=0.02)


def test_one_seed_is_no_seed():
    values = rng(1).normal(size=50)
    assert bootstrap_mean(values, rng()) == bootstrap_mean(values[None], rng())


def test_seeds_and_users_both_count():
    effect = rng(1)
    values = effect.normal(size=(10, 1)) + effect.normal(size=(1, 100)) * 3
    found = bootstrap_mean(values, rng(), draws=20_000)
    spread = np.sqrt(values.mean(1).std() ** 2 / 10 + values.mean(0).std() ** 2 / 100)
    assert (found.high - found.low) / (2 * stats.norm.ppf(0.975)) == pytest.approx(spread, rel=0.05)


def test_a_method_without_a_seed_is_compared_with_each_seed():
    a, b = rng(1).normal(size=(3, 40)), rng(2).normal(size=40)
    assert paired_bootstrap(a, b, rng()) == paired_bootstrap(a, np.tile(b, (3, 1)), rng())


def test_users_who_are_nan_in_either_have_no_part():
    a, b = rng(1).normal(size=(2, 30))
    a[3], b[7] = np.nan, np.nan
    kept = np.delete(np.arange(30), [3, 7])
    found = paired_bootstrap(a, b, rng())
    assert found == paired_bootstrap(a[kept], b[kept], rng())
    assert found.n == 28


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_it_covers_the_truth_as_often_as_it_says(level):
    source, worlds, users = rng(5), 400, 200
    hits = 0
    for _ in range(worlds):
        found = bootstrap_mean(source.exponential(1.0, size=users), source, draws=400, level=level)
        hits += found.low <= 1 <= found.high
    low, high = stats.binom.interval(1 - 1e-4, worlds, level - 0.01)  # percentile intervals are a little short at 200 users
    assert low <= hits <= high


def test_blocks_of_draws_are_one_computation(monkeypatch):
    values = rng(1).normal(size=37)
    whole = bootstrap_mean(values, rng())
    monkeypatch.setattr(intervals, "_CELLS", 37 * 11)
    blocks = bootstrap_mean(values, rng())
    np.testing.assert_allclose([blocks.low, blocks.high], [whole.low, whole.high], rtol=1e-12)


@pytest.mark.parametrize(
    ("low", "high", "expected"), [(0.1, 0.2, True), (-0.2, -0.1, True), (-0.1, 0.1, False), (0.0, 0.1, False)]
)
def test_excluding_zero(low, high, expected):
    assert Interval((low + high) / 2, low, high, 5).excludes_zero() is expected


@pytest.mark.parametrize(
    ("values", "options", "says"),
    [
        (np.zeros((2, 2, 2)), {}, "seeds, users"),
        (np.array([1.0, np.inf]), {}, "infinite"),
        (np.array([np.nan, np.nan]), {}, "no user"),
        (np.array([]), {}, "no user"),
        (np.zeros(3), {"level": 1.0}, "level"),
        (np.zeros(3), {"draws": 0}, "draws"),
    ],
)
def test_what_has_no_mean_is_refused(values, options, says):
    with pytest.raises(DataError, match=says):
        bootstrap_mean(values, rng(), **options)


@pytest.mark.parametrize(("a", "b"), [((3,), (4,)), ((2, 5), (3, 5))])
def test_other_users_or_seeds_are_no_pair(a, b):
    with pytest.raises(DataError, match="same users"):
        paired_bootstrap(np.zeros(a), np.zeros(b), rng())


# ---------------------------------------------------------------------------------------- several methods at once


def test_with_one_seed_each_the_difference_is_the_paired_one():
    a, b = rng(1).normal(size=(2, 60))
    found = resampled({"a": a, "b": b}, rng())
    ours, theirs = found["a"].minus(found["b"]).interval(), paired_bootstrap(a, b, rng())
    np.testing.assert_allclose([ours.value, ours.low, ours.high], [theirs.value, theirs.low, theirs.high], rtol=1e-10)
    assert ours.n == theirs.n


def test_a_constant_advantage_has_no_width_beside_other_methods_with_more_seeds():
    b = rng(1).normal(size=60) * 100
    found = resampled({"a": b + 0.5, "other": rng(2).normal(size=(3, 60)), "b": b}, rng())
    gap = found["a"].minus(found["b"]).interval()
    np.testing.assert_allclose([gap.value, gap.low, gap.high], 0.5, rtol=1e-9)


def test_the_mean_alone_does_not_depend_on_its_company():
    a, b = rng(1).normal(size=50), rng(2).normal(size=(3, 50))
    beside, alone = resampled({"a": a, "b": b}, rng())["a"].interval(), bootstrap_mean(a, rng())
    np.testing.assert_allclose([beside.value, beside.low, beside.high], [alone.value, alone.low, alone.high], rtol=1e-10)


def test_seeds_of_two_methods_are_drawn_by_themselves():
    """The spread of a difference of seeds is that of independent ones, although the two arrays go up and down together."""
    effect = rng(1).normal(size=8)
    a = np.repeat(effect[:, None], 40, axis=1)
    found = resampled({"a": a, "b": a}, rng(), draws=20_000)
    assert found["a"].minus(found["b"]).draws.std() == pytest.approx(np.sqrt(2 / 8) * effect.std(), rel=0.03)
    assert paired_bootstrap(a, a, rng()).high == 0


def test_a_user_who_is_nan_in_one_method_has_no_part_in_any():
    a, b = rng(1).normal(size=(2, 30))
    b[4] = np.nan
    found, kept = resampled({"a": a, "b": b}, rng()), np.delete(np.arange(30), 4)
    assert found["a"].interval() == bootstrap_mean(a[kept], rng())
    assert found["a"].n == 29


@pytest.mark.parametrize(
    ("methods", "says"),
    [
        ({}, "same users"),
        ({"a": np.zeros(3), "b": np.zeros(4)}, "a 3, b 4"),
        ({"a": np.array([np.nan, 1.0]), "b": np.array([1.0, np.nan])}, "no user"),
    ],
)
def test_methods_that_share_no_users_are_refused(methods, says):
    with pytest.raises(DataError, match=says):
        resampled(methods, rng())
