"""The figure of the ablation study: one panel a setting, every method in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llmrec.errors import MissingExtraError
from llmrec.evaluation.verdict import MARKS, standing
from llmrec.metrics.bootstrap import Interval
from llmrec.metrics.report import Result

COLOURS = {"ours": "#0b6e4f", "control": "#8a8f98", "reference": "#b08900"}
LABELS = {"most_frequent": "most frequent", "item_knn": "item kNN", "ease": "EASE", "zero_steps": "llmrec, zero steps"}


def plot(rows: Sequence[Result], path: Path, title: str, metric: str = "ndcg@10") -> None:
    """One panel a setting: a dot a method with its bootstrap interval; order and scale are the same in every panel.

    Raises MissingExtraError.

    rows: the differences of the first method of ours from the others among them; beside each other method stands how much it is
    ahead (▲), behind (▼) or neither (=), paired over users.
    """
    means = [row for row in rows if row.metric == metric and not row.versus]
    gaps = {(row.setting, row.versus): row for row in rows if row.metric == metric and row.versus}
    panels = list(dict.fromkeys((row.benchmark, row.setting) for row in means))
    methods = _ordered(means)
    figure, panel = _figure(len(panels), across=3, height=0.9 + 0.27 * len(methods))
    top = max(row.high or row.value for row in means)
    for axes, key in zip(panel, panels, strict=True):
        part = {row.method: row for row in means if (row.benchmark, row.setting) == key}
        for place, method in enumerate(methods):
            if (row := part.get(method)) is None:
                continue
            spread = [[row.value - (row.low or row.value)], [(row.high or row.value) - row.value]]
            axes.errorbar([row.value], [place], xerr=spread, marker="o", markersize=5, color=COLOURS[row.role])
            if gap := gaps.get((key[1], method)):
                axes.text(1.02, place, _verdict(gap), transform=axes.get_yaxis_transform(), va="center", fontsize=7)
        axes.set_yticks(range(len(methods)), [LABELS.get(method, method) for method in methods])
        axes.set_xlim(0, 1.05 * top)
        axes.set_ylim(-0.6, len(methods) - 0.4)
        axes.set_title(f"{_setting(key[1])} (n = {next(iter(part.values())).n:,})", fontsize=9)
        _quiet(axes)
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    name = metric.replace("ndcg", "NDCG")
    note = f"{name} with 95% bootstrap intervals; on the right the difference from ours, paired over users. Green: ours."
    figure.supxlabel(note, fontsize=8, x=0.01, ha="left")
    figure.savefig(path, dpi=120)


def _ordered(means: Sequence[Result]) -> list[str]:
    """Methods from the bottom up: controls, then ours, each by their mean over all settings."""
    value: dict[str, list[float]] = {}
    for row in means:
        value.setdefault(row.method, []).append(row.value)
    ours = {row.method for row in means if row.role == "ours"}
    return sorted(value, key=lambda method: (method in ours, sum(value[method]) / len(value[method])))


def _verdict(gap: Result) -> str:
    """`gap` is ours less the method's: the method's difference from ours in words."""
    value = f"{0 - gap.value:+.3f}"
    if gap.low is None or gap.high is None:
        return value
    return f"{value} {MARKS[standing(Interval(gap.value, gap.low, gap.high, gap.n))]}"


def _setting(setting: str) -> str:
    """known=1,new -> 1 basket known, new items only"""
    known, _, which = setting.partition(",")
    count = known.removeprefix("known=")
    if not known.startswith("known=") or which not in ("all", "new"):
        return setting
    return f"{count} basket{'s' * (count != '1')} known, {'all items' if which == 'all' else 'new items only'}"


def _quiet(axes: Any) -> None:
    axes.tick_params(labelsize=8)
    axes.grid(axis="x", color="0.9")
    axes.spines[["top", "right", "left"]].set_visible(False)


def _figure(panels: int, across: int, height: float) -> tuple[Any, list[Any]]:
    """A figure with so many panels of `height` inches, at most `across` side by side."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("the plot needs matplotlib: pip install 'llmrec[demo]'") from error
    across = min(across, panels)
    down = -(-panels // across)
    figure = Figure(figsize=(4.4 * across + 0.4, 0.8 + height * down), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, [figure.add_subplot(down, across, place) for place in range(1, panels + 1)]
