"""The tables of the demonstration: in every benchmark marks are against the method whose differences are reported there."""

from __future__ import annotations

from llmrec.metrics.report import Result
from pages.demonstration import tables


def rows(benchmark: str, ours: str, other: str, gap: float) -> list[Result]:
    """Two methods, the differences of `ours` within .001."""
    means = [Result(benchmark, name, "ours", "s", "ndcg@10", 0.3, 0.2, 0.4, "", 9, 0, None) for name in (ours, other)]
    return [Result(benchmark, ours, "ours", "s", "ndcg@10", gap, gap - 0.001, gap + 0.001, other, 9, 0, None), *means]


def test_each_benchmark_is_marked_against_its_own_method():
    text = tables([*rows("trips", "llmrec", "EASE", 0.02), *rows("steps", "own events", "zero", -0.02)])
    trips, steps = text.split("\n\nsteps, ")
    assert "level with llmrec, paired" in trips and trips.count("▼") == 2 and trips.endswith("0.3000** [0.2000, 0.4000] ▼ |")
    assert "level with own events, paired" in steps and steps.endswith("0.3000** [0.2000, 0.4000] ▲ |")
