"""The demonstration's picture: every method with its interval. The gate to matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from llmrec.errors import MissingExtraError
from llmrec.evaluation.rows import Row

COLOURS = {"ours": "#0b6e4f", "control": "#8a8f98", "reference": "#b08900"}


def plot(rows: Sequence[Row], path: Path, metric: str = "ndcg@10") -> None:
    """One panel a setting: a bar a method, best on top, with its bootstrap interval. Raises MissingExtraError."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("the plot needs matplotlib: pip install 'llmrec[demo]'") from error
    means = [row for row in rows if row.metric == metric and not row.versus]
    panels = list(dict.fromkeys((row.benchmark, row.setting) for row in means))
    across = min(4, len(panels))
    down = -(-len(panels) // across)
    figure = Figure(figsize=(4.2 * across, 0.6 + 3.4 * down), layout="constrained")
    FigureCanvasAgg(figure)
    for place, key in enumerate(panels, 1):
        part = sorted((row for row in means if (row.benchmark, row.setting) == key), key=lambda row: row.value)
        axes = figure.add_subplot(down, across, place)
        spread = [[row.value - (row.low or row.value) for row in part], [(row.high or row.value) - row.value for row in part]]
        axes.barh(
            [row.method for row in part], [row.value for row in part], xerr=spread, color=[COLOURS[row.role] for row in part]
        )
        axes.set_title(f"{key[0]}  {key[1]}  (n={part[0].n})", fontsize=9)
        axes.set_xlabel(metric, fontsize=8)
        axes.tick_params(labelsize=8)
    figure.savefig(path, dpi=120)
