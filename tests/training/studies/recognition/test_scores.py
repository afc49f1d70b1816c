"""Controls are what their names say, by the slow way."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec.data.build import build
from llmrec.drift.surprise import scene_shares
from studies.recognition.scores import CHAINED, cosine, count_loss, energy


def test_energy_distance_by_all_pairs():
    rng = np.random.default_rng(0)
    axes, items = rng.normal(size=(5, 3)), rng.integers(0, 5, (4, 6))
    shares = rng.dirichlet(np.ones(5), 2)

    def apart(left, p, right, q):
        return sum(
            a * b * np.linalg.norm(axes[i] - axes[j])
            for i, a in zip(left, p, strict=True)
            for j, b in zip(right, q, strict=True)
        )

    everything, even = np.arange(5), np.full(6, 1 / 6)
    for row, found in zip(items, energy(items, axes, shares), strict=True):
        for share, one in zip(shares, found, strict=True):
            expected = 2 * apart(row, even, everything, share) - apart(row, even, row, even)
            assert one == pytest.approx(expected - apart(everything, share, everything, share), abs=1e-5)


def test_cosine():
    assert np.allclose(cosine(np.array([[1.0, 0], [0, 2]]), np.array([[3.0, 0]])), [[0], [1]])


def test_loss_of_counts_event_by_event():
    table = {"user_id": [0, 0, 0, 1, 1, 1], "item_id": ["a", "b", "a", "a", "b", "b"], "timestamp": [1, 2, 3, 1, 2, 3]}
    dataset = build(table)[0]
    rows, fit = np.array([[0, 1, 2], [3, 4, 5]]), np.array([True, False])
    shares = scene_shares(dataset.item[rows[:1]], np.array([0]), 1, 2)
    found = count_loss(dataset, rows, np.array([0, 1]), fit, shares)[1, :, 0]
    a, b = shares[0]
    # a user's first event has none before it; after a came b always, after b came a always
    expected = [a, (1 - CHAINED) * b + CHAINED, (1 - CHAINED) * b]
    assert np.allclose(found, -np.log(expected))
