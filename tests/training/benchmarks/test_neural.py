"""SASRec as a control: the best of its grid, by validation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import neural
from benchmarks.protocol import Benchmark, Setting, first_known
from llmrec.models.sasrec import SasrecSettings


@pytest.fixture
def benchmark(shop) -> Benchmark:
    """Everybody takes 0, 1, 2, 3, 4 in this order."""
    world = shop([[[0], [1], [2], [3], [4]]] * 20, 6)
    validation, test = (first_known(world, users, 2, 1, 1) for users in (np.arange(12, 16), np.arange(16, 20)))
    return Benchmark("made", world, np.arange(12), (Setting("a", validation, test, "unseen"),), ("a", "ndcg@10"))


def test_the_grid_reads_what_the_benchmark_asks(benchmark, shop):
    assert all(settings.horizon == 1 and settings.windows == "last" for settings in neural.grid(benchmark))
    world = shop([[[0], [1], [2], [3], [4]]] * 20, 6)
    ahead = Setting("a", first_known(world, np.arange(12, 16), 1, 3, 1), benchmark.settings[0].test, "unseen")
    several = neural.grid(replace(benchmark, settings=(ahead,)))
    assert {settings.horizon for settings in several} == {1, 3} and all(s.windows == "first" for s in several)


def test_the_best_by_validation_is_taken_and_learns_the_order(benchmark, monkeypatch):
    untaught = SasrecSettings(width=8, layers=1, heads=1, epochs=1, learning_rate=1e-9, dropout=0.0)
    taught = replace(untaught, epochs=60, learning_rate=1e-2, patience=60)
    monkeypatch.setattr(neural, "grid", lambda benchmark: (untaught, taught))
    method = neural.tuned_sasrec(benchmark, 0, final=True)
    assert method.name == "SASRec" and method.role == "control"
    assert method.by_setting["a"].scores(benchmark.settings[0].test).argmax(1).tolist() == [2] * 4
    assert "(validation 1.0000)" in method.constants["a"]
