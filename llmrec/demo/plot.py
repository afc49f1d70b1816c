"""Pictures of rows: every method with its interval, and what changes with one factor. The gate to matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llmrec.errors import MissingExtraError
from llmrec.metrics.report import Row

COLOURS = {"ours": "#0b6e4f", "control": "#8a8f98", "reference": "#b08900"}


def plot(rows: Sequence[Row], path: Path, metric: str = "ndcg@10") -> None:
    """One panel a setting: a bar a method, best on top, with its bootstrap interval. Raises MissingExtraError."""
    means = [row for row in rows if row.metric == metric and not row.versus]
    panels = list(dict.fromkeys((row.benchmark, row.setting) for row in means))
    figure, panel = _figure(len(panels))
    for place, key in enumerate(panels):
        part = sorted((row for row in means if (row.benchmark, row.setting) == key), key=lambda row: row.value)
        axes = panel[place]
        spread = [[row.value - (row.low or row.value) for row in part], [(row.high or row.value) - row.value for row in part]]
        axes.barh(
            [row.method for row in part], [row.value for row in part], xerr=spread, color=[COLOURS[row.role] for row in part]
        )
        axes.set_title(f"{key[0]}  {key[1]}  (n={part[0].n})", fontsize=9)
        axes.set_xlabel(metric, fontsize=8)
        axes.tick_params(labelsize=8)
    figure.savefig(path, dpi=120)


def plot_factors(rows: Sequence[Row], path: Path, metric: str = "ndcg@10") -> None:
    """One panel a factor, which is a row's setting: a line where all that was tried are numbers, else bars, each with its
    bootstrap interval. Raises MissingExtraError."""
    means = [row for row in rows if row.metric == metric and not row.versus]
    factors = list(dict.fromkeys(row.setting for row in means))
    figure, panel = _figure(len(factors))
    for axes, factor in zip(panel, factors, strict=True):
        part = [row for row in means if row.setting == factor]
        value = [row.value for row in part]
        spread = [[row.value - (row.low or row.value) for row in part], [(row.high or row.value) - row.value for row in part]]
        if all(row.method.isdigit() for row in part):
            axes.errorbar([int(row.method) for row in part], value, yerr=spread, marker="o", color=COLOURS["ours"])
            axes.set_ylabel(metric, fontsize=8)
        else:
            axes.barh([row.method for row in part], value, xerr=spread, color=COLOURS["ours"])
            axes.set_xlabel(metric, fontsize=8)
        axes.set_title(f"{factor}  (n={part[0].n})", fontsize=9)
        axes.tick_params(labelsize=8)
    figure.savefig(path, dpi=90)


def _figure(panels: int) -> tuple[Any, list[Any]]:
    """A figure with so many panels, at most four side by side."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("the plot needs matplotlib: pip install 'llmrec[demo]'") from error
    across = min(4, panels)
    down = -(-panels // across)
    figure = Figure(figsize=(4.2 * across, 0.6 + 3.4 * down), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, [figure.add_subplot(down, across, place) for place in range(1, panels + 1)]
