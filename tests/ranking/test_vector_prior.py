"""Where the vector of a cold item is expected: against a world whose prior is known, and against sums over its buyers."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec import build
from llmrec.data.dataset import Dataset
from llmrec.ranking.first_buyers import nobody_yet, with_events
from llmrec.ranking.vector_prior import LEAST_ITEMS, VectorPrior, fit_vector_prior, moved_vectors

SLOPE, WITHIN, BETWEEN, WIDTH = 0.7, 0.5, 0.2, 6
ITEMS, BUYERS = 200, 6


def bought(pairs: list[tuple[str, str]], items: list[str]) -> Dataset:
    """Each user's items at one time after the other."""
    users, names = zip(*pairs, strict=True)
    events = {"user_id": users, "item_id": names, "timestamp": np.arange(len(pairs), dtype=float)}
    return build(events, {"item_id": items, "title": items})[0]


@pytest.fixture(scope="module")
def world():
    """Each buyer of a new item had one old item, whose vector is Gaussian around that of the new one."""
    rng = np.random.default_rng(0)
    centre, text = rng.normal(size=WIDTH), rng.normal(size=(ITEMS, WIDTH))
    true = centre + SLOPE * text + BETWEEN**0.5 * rng.normal(size=(ITEMS, WIDTH))
    size = rng.integers(1, 2 * BUYERS, ITEMS)
    of = np.repeat(np.arange(ITEMS), size)
    old = true[of] + WITHIN**0.5 * rng.normal(size=(len(of), WIDTH))
    pairs = [pair for n, item in enumerate(of.tolist()) for pair in ((f"u{n}", f"old{n}"), (f"u{n}", f"new{item}"))]
    names = [f"old{n}" for n in range(len(of))] + [f"new{item}" for item in range(ITEMS)]
    new = np.arange(len(names)) >= len(of)
    return bought(pairs, names), new, np.concatenate([old * 0, text]), np.concatenate([old, true]), true


def test_the_prior_that_made_a_world_is_found(world):
    dataset, new, text, vectors, true = world
    found = fit_vector_prior(dataset, new, text, vectors, np.ones(len(new)))
    assert found.slope == pytest.approx(SLOPE, abs=0.05)
    assert found.precision == pytest.approx(WITHIN / BETWEEN, rel=0.2)
    np.testing.assert_allclose(found.centre, true.mean(0), atol=0.15)


def test_too_few_new_items_or_items_of_one_buyer_each_say_nothing(world):
    dataset, new, text, vectors, _ = world
    few = new & (np.cumsum(new) < LEAST_ITEMS)
    assert fit_vector_prior(dataset, few, text, vectors, np.ones(len(new))) is None
    once = dataset.take(np.unique(dataset.item[dataset.start[1:] - 1], return_index=True)[1])
    assert fit_vector_prior(once, new, text, vectors, np.ones(len(new))) is None


def test_a_moved_vector_is_the_mean_of_text_and_buyers_each_by_what_it_is_worth():
    rng = np.random.default_rng(1)
    names = [f"i{n}" for n in range(8)]
    pairs = [(f"u{user}", names[item]) for user in range(9) for item in rng.permutation(8)[: rng.integers(1, 5)]]
    data, cold, popularity = bought(pairs, names), np.arange(8) > 5, np.arange(8) + 1.0
    known = with_events(nobody_yet(cold, 0.0), data.take(np.zeros(0, np.int64)), data, data)
    vectors, prior = rng.normal(size=(8, WIDTH)), VectorPrior(rng.normal(size=WIDTH), SLOPE, 2.0)
    items, found = moved_vectors(prior, known, popularity, vectors.astype(np.float32))
    assert items.tolist() == [6, 7] and found.dtype == np.float32
    for item, vector in zip(items.tolist(), found, strict=True):
        buyers = [set(data.item[data.start[u] : data.start[u + 1]].tolist()) for u in range(data.n_users)]
        buyers = [had for had in buyers if item in had]
        rows = [(other, popularity[other] ** -0.5) for had in buyers for other in had if other < 6]
        mean = sum(weight * vectors[other] for other, weight in rows) / sum(weight for _, weight in rows)
        expected = 2.0 * SLOPE * vectors[item] + len(buyers) * (mean - prior.centre)
        np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=1e-5)


def test_without_buyers_nothing_moves():
    prior, cold = VectorPrior(np.zeros(2), 1.0, 1.0), np.array([False, True])
    items, found = moved_vectors(prior, nobody_yet(cold, 0.0), np.ones(2), np.eye(2, dtype=np.float32))
    assert items.size == 0 and found.shape == (0, 2)
