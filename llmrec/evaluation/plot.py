"""Curves of NDCG@10 with intervals, in one panel or several; the only module that imports matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmrec.errors import MissingExtraError
from llmrec.metrics.bootstrap import Interval

OURS = "#0b6e4f"
GREYS = ("#3d4147", "#6f757e", "#9aa0a8", "#bfc4ca")
DASHES = ("-", "--", ":", "-.")
MARKERS = ("s", "^", "D", "v")
WIDE, HIGH = 4.6, 3.7  # inches of a panel


@dataclass(frozen=True)
class Curve:
    """One line of a panel. name: in the legend. role: "ours" or "control". x: where it was measured. y: the means there."""

    name: str
    role: str
    x: tuple[int, ...]
    y: tuple[Interval, ...]


@dataclass(frozen=True)
class Panel:
    """One panel of the figure. title: what is seen. below: the label of the x axis."""

    title: str
    below: str
    curves: tuple[Curve, ...]


def plot(panels: Sequence[Panel], path: Path) -> None:
    """Curves of NDCG@10 with 95% intervals: ours in green, what it is compared with in greys. Raises MissingExtraError."""
    across = 1 if len(panels) == 1 else 2
    figure, places = _figure(len(panels), across)
    for axes, panel in zip(places, panels, strict=True):
        _draw(axes, panel)
    notes = "NDCG@10 (0 to 1, more is better) with 95% intervals over people.", "Green: llmrec. Grey: controls."
    figure.supxlabel((" " if across > 1 else "\n").join(notes), fontsize=8, x=0.01, ha="left")
    figure.savefig(path, dpi=120)


def _draw(axes: Any, panel: Panel) -> None:
    at = sorted({x for curve in panel.curves for x in curve.x})
    grey = green = 0
    for number, curve in enumerate(sorted(panel.curves, key=lambda one: one.role != "ours")):
        shift = 0.04 * (number - (len(panel.curves) - 1) / 2)  # intervals beside each other, not on top of each other
        if curve.role == "ours":
            style: dict[str, Any] = {"color": OURS, "marker": "oP"[green % 2], "linestyle": DASHES[green % 2], "linewidth": 2.2}
            green += 1
        else:
            style = {"color": GREYS[grey % 4], "marker": MARKERS[grey % 4], "linestyle": DASHES[grey % 4], "linewidth": 1.2}
            grey += 1
        _line(axes, curve, [at.index(x) + shift for x in curve.x], style)
    axes.set_xticks(range(len(at)), [str(x) for x in at])
    axes.set_xlim(-0.35, len(at) - 0.65)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + (0.11 * -(-len(panel.curves) // 2) + 0.02) * (high - low))  # room for the legend
    axes.set_xlabel(panel.below, fontsize=8)
    axes.set_title(panel.title, fontsize=9, loc="left")
    axes.tick_params(labelsize=8)
    axes.grid(axis="y", color="0.92")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_ylabel("NDCG@10", fontsize=8)
    axes.legend(fontsize=7, frameon=False, loc="upper left", ncols=2)


def _line(axes: Any, curve: Curve, places: Sequence[float], style: dict[str, Any]) -> None:
    """A curve with its intervals; where nothing but one point is known, the point."""
    mean = [one.value for one in curve.y]
    spread = [[one.value - one.low for one in curve.y], [one.high - one.value for one in curve.y]]
    axes.errorbar(
        places,
        mean,
        yerr=spread,
        label=curve.name,
        markersize=4.5,
        elinewidth=0.9,
        capsize=0,
        zorder=3 - (curve.role != "ours"),
        **style,
    )


def _figure(panels: int, across: int) -> tuple[Any, list[Any]]:
    """A figure with so many panels, `across` side by side."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("the plot needs matplotlib: pip install 'llmrec[demo]'") from error
    down = -(-panels // across)
    figure = Figure(figsize=(WIDE * across, 0.3 + HIGH * down), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, [figure.add_subplot(down, across, place) for place in range(1, panels + 1)]
