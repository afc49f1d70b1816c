"""An index with moved items answers as one that was built with them where they are now."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec.index.faiss_index import IndexSettings, build, search
from llmrec.index.overlaid import Overlaid, overlaid

N, WIDTH = 200, 8


@pytest.fixture(scope="module")
def vectors():
    return np.random.default_rng(0).normal(size=(N, WIDTH)).astype(np.float32)


@pytest.mark.parametrize("settings", [IndexSettings(), IndexSettings(exact_below=1, lists=4, probes=4)], ids=["exact", "lists"])
@pytest.mark.parametrize("k", [1, 10, N])
def test_it_answers_as_one_that_is_built_anew(vectors, settings, k):
    rng, items = np.random.default_rng(1), np.array([3, 50, 51, 199])
    moved, queries = vectors.copy(), rng.normal(size=(9, WIDTH)).astype(np.float32)
    moved[items] = 2 * queries[:4] / np.linalg.norm(queries[:4], axis=1, keepdims=True)  # near the top for some
    moved[51] = moved[50]  # equal scores: the lower item first
    found, anew = overlaid(build(vectors, settings=settings), moved[items], items), build(moved, settings=settings)
    excluded = [np.array([50, 7])] * 9
    for allowed in (None, rng.random(N) < 0.7, np.isin(np.arange(N), [3, 4])):
        for one, other in zip(
            found.search(queries, k, allowed, excluded), search(anew, queries, k, allowed, excluded), strict=True
        ):
            np.testing.assert_allclose(one, other, rtol=1e-5)
    some = np.array([199, 0, 50, 50])
    np.testing.assert_array_equal(found.vectors(some), moved[some])
    assert len(found) == N


def test_without_moved_items_it_is_the_index_itself(vectors):
    base = build(vectors)
    found = overlaid(base, vectors[:0], np.zeros(0, np.int64))
    assert found.moved is None and isinstance(found, Overlaid)
    np.testing.assert_array_equal(found.vectors(np.arange(5)), vectors[:5])
    for one, other in zip(found.search(vectors[:3], 4), search(base, vectors[:3], 4), strict=True):
        np.testing.assert_array_equal(one, other)
