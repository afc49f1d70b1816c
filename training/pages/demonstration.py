"""The tables of the demonstration and of its ablation study, out of their reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from llmrec.metrics.report import Result, table


def tables(rows: Sequence[Result]) -> str:
    """The tables of a report in Markdown: the metric of every benchmark, each method marked against the one whose differences
    from the others are reported there."""
    marked = [_turned(row) if row.versus else row for row in rows]
    parts = []
    for benchmark in dict.fromkeys(row.benchmark for row in rows):
        ours = next(row.method for row in rows if row.benchmark == benchmark and row.versus)
        metrics = {row.metric for row in rows if row.benchmark == benchmark}
        metric = "ndcg@10" if "ndcg@10" in metrics else min(metrics)
        shown = metric.upper()
        parts.append(f"{benchmark}, {shown} [95% interval]; ▲ better, ▼ worse, = level with {ours}, paired over users:")
        parts.append(table(marked, benchmark, metric, versus=ours))
    return "\n\n".join(parts)


def _turned(row: Result) -> Result:
    """The difference `method - versus` as `versus - method`."""
    low, high = (None, None) if row.low is None or row.high is None else (-row.high, -row.low)
    return replace(row, method=row.versus, versus=row.method, value=-row.value, low=low, high=high)
