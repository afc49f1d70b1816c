"""The picture of the factors: what changes with one factor at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from llmrec.metrics.report import Result

COLOUR = "#0b6e4f"


def plot_factors(rows: Sequence[Result], path: Path, metric: str = "ndcg@10") -> None:
    """One panel a factor, which is a row's setting: a line where all that was tried are numbers, else bars, each with its
    bootstrap interval."""
    means = [row for row in rows if row.metric == metric and not row.versus]
    factors = list(dict.fromkeys(row.setting for row in means))
    down = -(-len(factors) // 4)
    figure = Figure(figsize=(16.8, 0.6 + 3.4 * down), layout="constrained")
    FigureCanvasAgg(figure)
    panel = [figure.add_subplot(down, 4, place) for place in range(1, len(factors) + 1)]
    for axes, factor in zip(panel, factors, strict=True):
        part = [row for row in means if row.setting == factor]
        value = [row.value for row in part]
        spread = [[row.value - (row.low or row.value) for row in part], [(row.high or row.value) - row.value for row in part]]
        if all(row.method.isdigit() for row in part):
            axes.errorbar([int(row.method) for row in part], value, yerr=spread, marker="o", color=COLOUR)
            axes.set_ylabel(metric, fontsize=8)
        else:
            axes.barh([row.method for row in part], value, xerr=spread, color=COLOUR)
            axes.set_xlabel(metric, fontsize=8)
        axes.set_title(f"{factor}  (n={part[0].n})", fontsize=9)
        axes.tick_params(labelsize=8)
    figure.savefig(path, dpi=90)
