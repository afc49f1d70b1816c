"""Neighbours: a mixture of chances, by hand; no share is the base, and a moment is nearest to itself."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.protocol import first_known
from studies.adaptation import arms
from studies.adaptation.cores import Place
from studies.adaptation.neighbours import SHARPNESS, mixed, moments
from studies.adaptation.regimes import cold_bank


@pytest.fixture
def parts(world, base_of):
    dataset = world(True)
    base = base_of(dataset)
    some, asked = (first_known(dataset, users, 4, 2, 1) for users in (np.arange(60), np.arange(60, 70)))
    return base, some, asked, Place(cold_bank(base, asked, True, 4, np.random.default_rng(0)))


def softmax(values):
    raised = np.exp(values - values.max(-1, keepdims=True))
    return raised / raised.sum(-1, keepdims=True)


def test_no_share_is_the_base(parts):
    base, some, _, place = parts
    wanted = softmax(arms.zero(place).astype(np.float64))
    found = np.exp(mixed(moments(base, some), place, 0.0).astype(np.float64))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-7)


def test_a_mixture_by_hand(parts):
    base, some, asked, place = parts
    store = moments(base, some)
    after = np.zeros((len(some), 24))
    for task in range(len(some)):
        items = np.unique(some.dataset.item[some.query(task)])
        after[task, items] = 1 / len(items)
    vectors = place.bank.query.vector.numpy().astype(np.float64)
    cosine = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)) @ store.index.vectors.T.astype(np.float64)
    wanted = 0.7 * softmax(arms.zero(place).astype(np.float64))
    for task, row in enumerate(cosine):
        near = np.argsort(-row)[:5]
        wanted[task] += 0.3 * softmax(SHARPNESS * row[near]) @ after[near]
        wanted[task, asked.dataset.item[asked.support(task)]] = 0
    np.testing.assert_allclose(np.exp(mixed(store, place, 0.3, nearest=5)), wanted, rtol=1e-4, atol=1e-6)


def test_one_neighbour_of_a_moment_is_itself(parts):
    base, some, _, _ = parts
    place = Place(cold_bank(base, some, False, 4, np.random.default_rng(0)))
    found = np.exp(mixed(moments(base, some), place, 1.0, nearest=1))
    for task in range(len(some)):
        assert set(np.flatnonzero(found[task] > 1e-6)) == set(some.dataset.item[some.query(task)].tolist())
