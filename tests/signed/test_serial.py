"""Serial correlation by a tridiagonal solve, against the dense covariance."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec.signed.serial import DAY, Serial, covariance, solve, steps, with_next


def times(n: int) -> np.ndarray:
    """Some at once, some days later."""
    return np.cumsum(np.random.default_rng(n).choice([0.0, 60.0, DAY, 30 * DAY], n))


def dense(serial: Serial, time: np.ndarray) -> np.ndarray:
    place = np.arange(len(time))
    apart = np.abs(time[:, None] - time)
    return serial.variance * serial.correlation ** np.abs(place[:, None] - place) * 2.0 ** (-apart / serial.half_life)


@pytest.mark.parametrize("serial", [Serial(), Serial(0.3, 0.0), Serial(0.3, 0.9)])
@pytest.mark.parametrize("n", [1, 2, 7, 300])
def test_the_solve_is_that_of_the_dense_matrix(serial, n):
    rng, time = np.random.default_rng(n), times(n)
    noise, right, step = rng.uniform(0.2, 1, n), rng.normal(size=(n, 3)), steps(serial, time, n)
    np.testing.assert_allclose(covariance(serial, step), dense(serial, time), atol=1e-15)
    np.testing.assert_allclose(
        solve(serial, step, noise, right), np.linalg.solve(dense(serial, time) + np.diag(noise), right), atol=1e-12
    )


@pytest.mark.parametrize("later", [0.0, 3 * DAY])
def test_a_label_to_come_continues_the_run(later):
    serial, time = Serial(0.3, 0.9), times(5)
    whole = dense(serial, np.append(time, time[-1] + later))
    np.testing.assert_allclose(with_next(serial, steps(serial, time, 5, time[-1] + later)), whole[:5, 5])


def test_a_moment_before_the_last_label_is_that_of_the_last_label():
    serial, time = Serial(0.3, 0.9), times(5)
    np.testing.assert_array_equal(steps(serial, time, 5, time[-1] - DAY), steps(serial, time, 5))


def test_without_times_labels_have_nothing_in_common():
    np.testing.assert_array_equal(steps(Serial(0.3, 0.9), None, 3), np.zeros(3))
