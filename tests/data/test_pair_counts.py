"""Counts of pairs that grow: the same as a dictionary, at a cost that does not grow with them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from llmrec.data.pair_counts import PairCounts


def as_dict(counts: PairCounts) -> dict[tuple[int, int], float]:
    row, column, value = counts.entries
    return {(r, c): v for r, c, v in zip(row.tolist(), column.tolist(), value.tolist(), strict=True)}


def test_numbers_add_up_as_in_a_dictionary_and_those_that_come_to_nothing_go():
    rng, found, expected = np.random.default_rng(0), PairCounts(), {}
    for _ in range(60):
        n = int(rng.integers(0, 9))
        row, column, value = rng.integers(0, 7, n), rng.integers(0, 5, n), rng.integers(-2, 3, n)
        found = found.added(row, column, value)
        for r, c, v in zip(row.tolist(), column.tolist(), value.tolist(), strict=True):
            expected[r, c] = expected.get((r, c), 0) + v
    assert as_dict(found) == {pair: value for pair, value in expected.items() if value}
    asked = np.array([3, 0, 3])
    owner, column, value = found.of_rows(asked)
    for place, row in enumerate(asked.tolist()):
        mine = np.bincount(column[owner == place], value[owner == place], 5)
        np.testing.assert_allclose(mine, [expected.get((row, c), 0) for c in range(5)])


def test_a_small_addition_leaves_the_large_layers_as_they_are():
    rng, found = np.random.default_rng(1), PairCounts()
    for _ in range(300):
        found = found.added(rng.integers(0, 10**6, 5), rng.integers(0, 10**6, 5), np.ones(5))
    sizes = [len(key) for key, _ in found.layers]
    assert len(sizes) <= np.log2(sum(sizes)) and all(a >= 2 * b for a, b in pairwise(sizes))
    large = found.added(np.arange(10_000), np.arange(10_000), np.ones(10_000))
    later = large.added(np.array([1]), np.array([2]), np.array([1.0]))
    assert later.layers[0] is large.layers[0]


def test_over_another_catalogue_pairs_keep_their_items():
    found = PairCounts().added(np.array([0, 1, 2]), np.array([1, 2, 0]), np.array([1.0, 2.0, 3.0]))
    assert as_dict(found.over(np.array([5, -1, 0]))) == {(0, 5): 3.0}
