"""Betting: what the sum is, what it promises, and that it notices."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate

from llmrec.drift.stream import BETS, LIMIT, alarms, evidence


@pytest.mark.parametrize("a", BETS)
def test_a_bet_gains_nothing_on_average_while_nothing_changes(a):
    gain, _ = integrate.quad(lambda p: a * p ** (a - 1), 0, 1)
    assert gain == pytest.approx(1, abs=1e-4)
    assert evidence(np.array([0.3]), (a,))[0] == pytest.approx(a * 0.3 ** (a - 1))


def test_the_sum_is_that_of_all_bets_begun_so_far():
    p = np.random.default_rng(0).random(12)
    for end in range(1, 13):
        begun = [np.prod([0.5 * p[i] ** -0.5 for i in range(first, end)]) for first in range(end)]
        assert evidence(p, (0.5,))[end - 1] == pytest.approx(sum(begun))
    assert np.allclose(evidence(p, (0.2, 0.7)), (evidence(p, (0.2,)) + evidence(p, (0.7,))) / 2)


@pytest.mark.parametrize("limit", [20.0, LIMIT])
def test_false_alarms_are_as_rare_as_promised(limit):
    windows = 100_000
    raised = alarms(np.random.default_rng(1).random(windows), limit)
    assert 0 < len(raised) <= windows / limit
    assert (np.diff(np.concatenate([[-1], raised])) > 0).all()


def test_the_watch_begins_anew_after_an_alarm():
    p = np.random.default_rng(2).random(300) ** 2
    raised = alarms(p, 50)
    assert len(raised) > 1
    cut = raised[0] + 1
    assert np.array_equal(raised[1:] - cut, alarms(p[cut:], 50))


def test_a_change_is_noticed_the_sooner_the_greater_it_is():
    rng = np.random.default_rng(3)
    calm = rng.random(50)
    delays = []
    for power in (1.5, 3, 10):
        raised = alarms(np.concatenate([calm, rng.random(500) ** power]))
        delays.append(int(raised[raised >= 50][0]) - 50)
    assert delays[0] > delays[1] >= delays[2] and delays[2] < 5


def test_a_limit_below_one_is_refused():
    with pytest.raises(ValueError, match="at least 1, got 0.5"):
        alarms(np.array([0.5]), 0.5)
