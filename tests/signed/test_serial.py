"""Serial correlation by a tridiagonal solve, against the dense covariance."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec.errors import DataError
from llmrec.signed.serial import DAY, Serial, covariance, moments, solve, with_next


def times(n: int) -> np.ndarray:
    """Some at once, some minutes or days later."""
    return np.cumsum(np.random.default_rng(n).choice([0.0, 60.0, DAY, 30 * DAY], n))


def dense(serial: Serial, time: np.ndarray) -> np.ndarray:
    moment = np.unique(time, return_inverse=True)[1]
    between, apart = (np.abs(one[:, None] - one) for one in (moment, time))
    return serial.variance * serial.correlation**between * 2.0 ** (-apart / serial.half_life)


@pytest.mark.parametrize("serial", [Serial(), Serial(0.3, 0.0), Serial(0.3, 0.9), Serial(0.3, 0.9, 60.0)])
@pytest.mark.parametrize("n", [1, 2, 7, 300])
def test_the_solve_is_that_of_the_dense_matrix(serial, n):
    rng, time = np.random.default_rng(n), times(n)
    noise, right, at = rng.uniform(0.2, 1, n), rng.normal(size=(n, 3)), moments(serial, time, n)
    np.testing.assert_allclose(covariance(serial, at), dense(serial, time), atol=1e-15)
    wanted = np.linalg.solve(dense(serial, time) + np.diag(noise), right)
    np.testing.assert_allclose(solve(serial, at, noise, right), wanted, atol=1e-12)


@pytest.mark.parametrize("later", [0.0, 1.0, 3 * DAY])
def test_a_label_to_come_continues_the_run(later):
    serial, time = Serial(0.3, 0.9), times(5)
    whole = dense(serial, np.append(time, time[-1] + later))
    np.testing.assert_allclose(with_next(serial, moments(serial, time, 5, time[-1] + later)), whole[:5, 5])


def test_the_order_of_labels_of_one_moment_does_not_matter():
    serial, time = Serial(0.3, 0.9), np.array([5.0, 5.0, 5.0, 9.0])
    noise, right, at = np.array([0.2, 0.5, 0.9, 0.4]), np.arange(4.0)[:, None], moments(serial, time, 4)
    mixed = [2, 0, 1, 3]
    np.testing.assert_allclose(solve(serial, at, noise, right)[mixed], solve(serial, at, noise[mixed], right[mixed]))
    assert len(set(with_next(serial, at)[:3])) == 1


def test_a_moment_before_the_last_label_is_that_of_the_last_label():
    serial, time = Serial(0.3, 0.9), times(5)
    np.testing.assert_array_equal(moments(serial, time, 5, time[-1] - DAY).step, moments(serial, time, 5).step)


def test_without_times_labels_have_nothing_in_common():
    serial = Serial(0.3, 0.9)
    np.testing.assert_array_equal(covariance(serial, moments(serial, None, 3)), 0.3 * np.eye(3))


@pytest.mark.parametrize("numbers", [(-0.1, 0.5, DAY), (0.1, 1.0, DAY), (0.1, -0.1, DAY), (0.1, 0.5, 0.0), (np.nan, 0.5, DAY)])
def test_numbers_out_of_range_are_said(numbers):
    with pytest.raises(DataError, match=r"Serial\."):
        Serial(*numbers)
