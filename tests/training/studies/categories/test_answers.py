"""Arms of the study of a language model in the answers of a new category."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec.meta.gate import Bin, Gate
from llmrec.scenes.ranker_steps import WAYS, RankerSteps
from studies.categories import answers


@pytest.fixture
def steps():
    refused, chosen = Bin(16, 0, 2, 0.1, -0.1, 0.3, 90), Bin(64, 1, 1, 0.3, 0.1, 0.5, 90)
    return RankerSteps(Gate(WAYS, (refused, chosen)), 4.0, 7)


def test_steps_are_measured_by_the_best_way_also_where_the_gate_refuses_it(steps):
    assert [answers.best_way(steps, count) for count in (16, 63, 64, 300)] == [WAYS[2], WAYS[2], WAYS[1], WAYS[1]]
    assert steps.way(16) == WAYS[0] and steps.way(64) == WAYS[1]
    assert RankerSteps.from_dict(steps.to_dict()) == steps


def test_steps_are_held_against_the_same_adapter_without_any():
    rng = np.random.default_rng(0)
    found = {f"{arm}, {count}": rng.random(40) for count in (0, 16) for arm in (answers.ALONE, answers.ADAPTER)}
    found |= {f"{arm}, 16": rng.random(40) for arm in (answers.STEPS, answers.OTHER)}
    told = {(row.method, row.versus): row for row in answers.rows(found, 0)}
    wanted = {
        (f"{one}, 16", f"{versus}, 16")
        for one, versus in (
            (answers.ADAPTER, answers.ALONE),
            (answers.STEPS, answers.ADAPTER),
            (answers.STEPS, answers.ALONE),
            (answers.OTHER, answers.ADAPTER),
        )
    }
    assert {pair for pair in told if pair[1] and pair[0].endswith("16")} == wanted
    for one, versus in wanted:
        gain = (found[one] - found[versus]).mean()
        assert told[one, versus].value == pytest.approx(gain) and told[one, versus].setting == "16 customers"
