"""Shares of a score by signal: Shapley values, against all orders of a few signals."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from llmrec.ranking.groups import FEATURES as GROUP_FEATURES
from llmrec.ranking.rankers import EVERY_INPUT
from llmrec.ranking.signals import NAMES, SIGNALS, attribute_signals, shares, signals_of


def test_every_input_of_a_ranker_belongs_to_one_signal():
    names = [name for group in SIGNALS.values() for name in group]
    assert len(names) == len(set(names)) and set(names) == {*EVERY_INPUT, *GROUP_FEATURES}
    assert signals_of(["tfidf", "transformer"]).tolist() == [NAMES.index("text"), NAMES.index("sequence")]
    assert {NAMES[one] for one in attribute_signals()} == {"group", "popular"} and len(attribute_signals()) == 5


@pytest.fixture(scope="module")
def rows():
    """Five rows of six inputs of three signals, and a score in which they interact."""
    rng = np.random.default_rng(0)
    inputs, instead = rng.normal(size=(2, 5, 6)).astype(np.float32)
    weights, hidden = rng.normal(size=6), rng.normal(size=(6, 3))
    return lambda some: some @ weights + np.tanh(some @ hidden).prod(1), inputs, instead, np.array([0, 0, 2, 2, 2, 5])


def test_shares_are_the_mean_over_all_orders_in_which_the_signals_can_come(rows):
    score, inputs, instead, signal = rows
    expected = np.zeros((5, len(NAMES)))
    for order in permutations([0, 2, 5]):
        mixed = instead.copy()
        for one in order:
            before = score(mixed)
            mixed[:, signal == one] = inputs[:, signal == one]
            expected[:, one] += (score(mixed) - before) / 6
    np.testing.assert_allclose(shares(score, inputs, instead, signal), expected, atol=1e-6)


def test_shares_add_up_and_equal_inputs_have_none(rows, monkeypatch):
    score, inputs, instead, signal = rows
    inputs = np.where(signal == 5, instead, inputs)
    found = shares(score, inputs, instead, signal)
    np.testing.assert_allclose(found.sum(1), score(inputs) - score(instead), atol=1e-6)
    assert (found[:, [1, 3, 4, 5, 6, 7]] == 0).all() and (found[:, [0, 2]] != 0).all()
    monkeypatch.setattr("llmrec.ranking.signals.CELLS", 1)  # a row at a time
    np.testing.assert_allclose(shares(score, inputs, instead, signal), found, atol=1e-12)
    assert shares(score, inputs[:0], instead[:0], signal).shape == (0, len(NAMES))
