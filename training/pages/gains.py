"""The figure of the README: gains of adapting over zero steps, by the number of events, out of the reports."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llmrec.metrics.report import Result, read_rows


@dataclass(frozen=True)
class Panel:
    """One kind of adapting, by the names of a report.

    title: of the panel. events: below the axis. report, benchmark, metric: where its rows are. settings: of the rows -> the
    number of events. ours, zero: methods. other: adapted to another's events. control: a simple one that learns of the same
    events, and its name in the figure.
    """

    title: str
    events: str
    report: str
    benchmark: str
    metric: str
    settings: dict[str, str]
    ours: str
    zero: str
    other: str
    control: tuple[str, str]


PANELS = (
    Panel(
        "New user, clicks",
        "films known, the prompt holds 10",
        "adaptation",
        "long",
        "ndcg@10",
        {f"known={size}, prompt=10": f"{size}" for size in (50, 100, 200)},
        *("core, closed form", "zero steps", "core, another's support"),
        ("EASE, all known", "EASE"),
    ),
    Panel(
        "New user, likes and dislikes",
        "films rated",
        "signed",
        "signed",
        "auc",
        {f"shuffled, {size}": f"{size}" for size in (8, 16, 32)},
        *("llmrec", "llmrec, zero steps", "llmrec, swapped support"),
        ("matrix factorisation", "matrix factorisation"),
    ),
    Panel(
        "New item, buyers",
        "earlier buyers, among all items",
        "observed-default-beauty",
        "observed-default-beauty",
        "ndcg@10",
        {f"k = {size}, among all": size for size in ("1", "2-3", "4-6", "7-10")},
        *("llmrec", "llmrec, first buyers unread", "llmrec, another item's buyers"),
        ("blend of text, buyers, popularity, recent sales", "blend of counts and text"),
    ),
    Panel(
        "New department",
        "customers, mean of 5 departments",
        "scenes-categories",
        "scenes, categories",
        "ndcg@10",
        {f"mean of 5, {size} users": f"{size}" for size in (16, 64, 256)},
        *("llmrec, chosen", "zero steps", "llmrec, another's customers"),
        ("zero steps and both, straight", "popularity, co-occurrence"),
    ),
)


def draw(results: Path, path: Path) -> None:
    """Gains over zero steps with 95% intervals, a panel for each kind; in grey the gain of a simple control."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.6, 5.4), layout="constrained")
    FigureCanvasAgg(figure)
    for panel, axes in zip(PANELS, figure.subplots(2, 2).flat, strict=True):
        rows = _rows(results, panel)
        places = range(len(panel.settings))
        gaps = [_gap(rows, panel, setting) for setting in panel.settings]
        values = np.array([gap.value for gap in gaps])
        low, high = (np.array(ends, float) for ends in zip(*((gap.low, gap.high) for gap in gaps), strict=True))
        axes.axhline(0, color="0.3", linewidth=0.8)
        control, name = panel.control
        axes.plot(places, _over(rows, panel, control), "s:", color="#8a8f98", markersize=4, label="control on the same events")
        axes.plot(places, _over(rows, panel, panel.other), "v--", color="#b3261e", markersize=5, label="another's events")
        spread = [values - low, high - values]
        axes.errorbar(places, values, yerr=spread, marker="o", markersize=5, color="#0b6e4f", capsize=2, label="its own events")
        axes.set_xticks(places, panel.settings.values())
        axes.set_xlabel(panel.events, fontsize=8)
        axes.set_title(f"{panel.title}; control: {name}", fontsize=8.5, loc="left")
        axes.set_ylabel(f"{panel.metric.upper()}, less zero steps", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(axis="y", color="0.92")
        axes.spines[["top", "right"]].set_visible(False)
    lines, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(lines[::-1], names[::-1], ncols=3, fontsize=8, frameon=False, loc="outside upper right")
    figure.suptitle("Gains of adapting over zero steps", fontsize=11, x=0.01, ha="left")
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _rows(results: Path, panel: Panel) -> list[Result]:
    return [
        row
        for row in read_rows(results / f"{panel.report}.json")
        if (row.benchmark, row.metric) == (panel.benchmark, panel.metric)
    ]


def _gap(rows: list[Result], panel: Panel, setting: str) -> Result:
    return next(row for row in rows if (row.setting, row.method, row.versus) == (setting, panel.ours, panel.zero))


def _over(rows: list[Result], panel: Panel, method: str) -> list[float]:
    """By how much the mean of a method is above that of zero steps, in each setting."""
    mean = {(row.setting, row.method): row.value for row in rows if not row.versus}
    return [mean[setting, method] - mean[setting, panel.zero] for setting in panel.settings]
