"""Few events, all in the prompt: methods and gates on a world of tastes and on one without."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.protocol import first_known
from llmrec.metrics.report import Result
from studies.adaptation import cold, cores
from studies.adaptation.arms import Effort
from studies.adaptation.report import reached

EFFORT = Effort(size=4, newton=2, rank=2, steps=1, core=60, gradient=0, head=0, lora=2, users=40)


@pytest.mark.parametrize("structure", [True, False], ids=["tastes", "none"])
def test_the_gate_adapts_where_there_are_tastes_and_nowhere_else(world, base_of, structure):
    data = world(structure)
    base = base_of(data)
    practice, moments, chosen, asked = (
        first_known(data, users, 6, 2, 1) for users in np.array_split(np.random.default_rng(0).permutation(240), 4)
    )
    features = cores.of_company(data, np.unique(moments.user), EFFORT.size)
    rng = np.random.default_rng(0)
    team = cold.learn(base, features, [practice], moments, True, EFFORT, rng, 0)
    values, taken = cold.measured(base, team, chosen, asked, True, EFFORT, rng)
    assert set(values) >= {cold.ZERO, cold.CORE, cold.LORA, cold.SWAPPED, cold.GATED}
    np.testing.assert_array_equal(values[cold.GATED], values[taken])
    if structure:
        assert taken != cold.ZERO
        assert values[cold.GATED].mean() > max(values[cold.ZERO].mean(), values[cold.SWAPPED].mean())
    else:
        assert taken == cold.ZERO


def test_every_cell_has_an_aim():
    def row(study: str, setting: str, method: str, value: float) -> Result:
        return Result(study, method, "ours", setting, "ndcg@10", value, None, None, "", 5, 0, None)

    rows = [
        row(study, setting, method, value)
        for study, setting in (("cold, a", "a, 1"), ("cold, b", "b, 1"), ("long", "c"))
        for method, value in ((cold.ZERO, 0.2), (cold.GATED, 0.3 if "a" in setting else 0.1))
    ]
    assert [(one["setting"], one["reached"]) for one in reached(rows, cold.aims(rows))] == [("a, 1", True), ("b, 1", False)]
