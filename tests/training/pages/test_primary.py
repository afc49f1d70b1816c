"""The sentence about a primary cell gives the difference of our method, and of no other, to the best control."""

from __future__ import annotations

from llmrec.metrics.report import Result
from tables import _primary


def test_the_difference_is_that_of_our_method():
    def row(method: str, role: str, value: float, versus: str = "") -> Result:
        return Result("shop", method, role, "test", "ndcg@10", value, value - 0.1, value + 0.1, versus, 50, 0, None)

    rows = [row("ours", "ours", 0.3), row("EASE", "control", 0.4), row("EASE, later", "control", 0.35)]
    gaps = [row("EASE, later", "control", -0.05, "EASE"), row("ours", "ours", -0.1, "EASE")]
    extra = {"primary": {"setting": "test", "metric": "ndcg@10"}}
    said = _primary(rows + gaps, extra, 1, "ours")
    assert "ours 0.3000 against 0.4000 of the best control, EASE: -0.1000 [-0.2000, +0.0000]" in said
    assert _primary(rows + gaps[:1], extra, 1, "ours").endswith("test.")  # there is no such difference
