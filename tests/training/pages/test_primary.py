"""The block of a benchmark: its sentence gives the difference of our method to the best control, and hit@1 has a table."""

from __future__ import annotations

from pathlib import Path

from llmrec.metrics.report import Result, write_report
from tables import _primary, benchmark


def test_the_difference_is_that_of_our_method():
    def row(method: str, role: str, value: float, versus: str = "") -> Result:
        return Result("shop", method, role, "test", "ndcg@10", value, value - 0.1, value + 0.1, versus, 50, 0, None)

    rows = [row("ours", "ours", 0.3), row("EASE", "control", 0.4), row("EASE, later", "control", 0.35)]
    gaps = [row("EASE, later", "control", -0.05, "EASE"), row("ours", "ours", -0.1, "EASE")]
    extra = {"primary": {"setting": "test", "metric": "ndcg@10"}}
    said = _primary(rows + gaps, extra, 1, "ours")
    assert "ours 0.3000 against 0.4000 of the best control, EASE: -0.1000 [-0.2000, +0.0000]" in said
    assert _primary(rows + gaps[:1], extra, 1, "ours").endswith("test.")  # there is no such difference


def test_hit_at_one_has_a_table_of_its_own_and_changes_nothing_else(tmp_path: Path):
    def row(metric: str, value: float) -> Result:
        return Result("shop", "EASE", "control", "test", metric, value, value - 0.1, value + 0.1, "", 50, 0, None)

    extra = {"benchmark": "shop", "ours": "ours", "primary": {"setting": "test", "metric": "ndcg@10"}, "aims": [], "seeds": [0]}
    write_report(tmp_path / "without.json", [row("ndcg@10", 0.4)], extra)
    write_report(tmp_path / "with.json", [row("ndcg@10", 0.4), row("hit@1", 0.2)], extra)
    without, both = benchmark(tmp_path / "without.json"), benchmark(tmp_path / "with.json")
    assert both.startswith(without + "\n\n**shop**, hit@1:\n") and "hit@1" not in without and "0.2000" in both
