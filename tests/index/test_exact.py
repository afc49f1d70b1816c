"""Laws of the exact products; small integers again, so that every sum is exact."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec.index.exact import QUERIES, ROWS, best_of, multiply, scan, score


@pytest.mark.parametrize("some", [False, True])
@pytest.mark.parametrize(("n", "m", "width"), [(ROWS + 700, QUERIES + 40, 20), (ROWS + 3, 3, 50), (40, 5, 40), (1, 1, 1)])
def test_a_product_in_blocks_finds_the_best(n, m, width, some):
    rng = np.random.default_rng(n)
    vectors, queries = (rng.integers(-9, 10, (count, 3)).astype(np.float32) for count in (n, m))
    rows = np.arange(n) if not some else np.sort(rng.permutation(n)[: max(width, n // 2)])
    vectors[rows[[-1, min(len(rows), ROWS) - 1, ROWS % len(rows)]]] *= 20  # the best are where blocks meet
    scores, found = multiply(vectors, rows if some else None, queries, width)
    every = queries @ vectors[rows].T
    np.testing.assert_array_equal(scores, -np.sort(-every, axis=1)[:, :width])
    assert np.isin(found, rows).all() and all(len(set(row)) == width for row in found)
    np.testing.assert_array_equal(np.einsum("md,mwd->mw", queries, vectors[found]), scores)


def test_a_score_is_the_same_to_the_last_bit_whatever_stands_beside_it():
    rng = np.random.default_rng(1)
    vectors, queries = rng.normal(size=(500, 77)).astype(np.float32), rng.normal(size=(300, 77)).astype(np.float32)
    rows = rng.integers(0, 500, (300, 90))
    whole = score(vectors, queries, rows)
    np.testing.assert_allclose(whole, np.einsum("md,mwd->mw", queries.astype(float), vectors[rows]), atol=1e-4)
    np.testing.assert_array_equal(score(vectors, queries[7:9], rows[7:9, 3:4]), whole[7:9, 3:4])
    for at in (0, 250):
        best, found = scan(vectors, queries[at], np.unique(rows[at]), 40)
        expected = best_of(whole[[at]], rows[[at]] * 1, 90)
        assert (
            dict(zip(found.tolist(), best.tolist(), strict=True)).items()
            <= dict(zip(expected[1][0].tolist(), expected[0][0].tolist(), strict=True)).items()
        )


def test_the_best_are_in_order_and_padded():
    scores, rows = np.array([[1, 3, 3, 9, 3]], np.float32), np.array([[4, 8, 2, -1, 5]])
    best, found = best_of(scores, rows, 6)
    assert found.tolist() == [[2, 5, 8, 4, -1, -1]] and best.tolist() == [[3, 3, 3, 1, -np.inf, -np.inf]]
    best, found = scan(np.array([[1], [2], [2]], np.float32), np.ones(1, np.float32), np.array([0, 1, 2]), 2)
    assert found.tolist() == [1, 2] and best.tolist() == [2, 2]
    assert scan(np.ones((3, 1), np.float32), np.ones(1, np.float32), np.zeros(0, np.int64), 2)[1].tolist() == [-1, -1]
