"""Serial correlation by a tridiagonal solve, against the dense covariance."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec.signed.serial import Serial, covariance, solve, with_next


@pytest.mark.parametrize("serial", [Serial(), Serial(0.3, 0.0), Serial(0.3, 0.9)])
@pytest.mark.parametrize("n", [1, 2, 7, 300])
def test_the_solve_is_that_of_the_dense_matrix(serial, n):
    rng = np.random.default_rng(n)
    noise, right = rng.uniform(0.2, 1, n), rng.normal(size=(n, 3))
    dense = covariance(serial, n) + np.diag(noise)
    np.testing.assert_allclose(solve(serial, noise, right), np.linalg.solve(dense, right), atol=1e-12)


def test_the_next_label_continues_the_run():
    serial = Serial(0.3, 0.9)
    np.testing.assert_allclose(with_next(serial, 5), covariance(serial, 6)[:5, 5])
