"""The default beside the best control of each benchmark: the table and the figure of the README, out of the reports."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from llmrec.metrics.report import Result, read_rows

RECIPE = "llmrec"  # in reports of 2026-11-22: what a recipe for each benchmark fitted, on a path that is gone since
DEFAULT = "Recommender, default"  # what `Recommender().fit` reaches
BENCHMARKS = {  # report -> what its rows are about, and in what `known` counts
    "beauty": ("Amazon Beauty", ""),
    "clothing": ("Amazon Clothing", ""),
    "health": ("Amazon Health", ""),
    "ml1m-cold": ("MovieLens-1M", "films"),
    "journey-cold": ("Complete Journey", "trips"),
}


@dataclass(frozen=True)
class Line:
    """One setting: ours, the best control, and the paired difference with its 95% interval."""

    what: str
    setting: str
    ours: float
    control: str
    best: float
    gap: Result

    @property
    def verdict(self) -> str:
        low, high = self.gap.low or 0.0, self.gap.high or 0.0
        return "ahead" if low > 0 else "behind" if high < 0 else "level"


def lines(results: Path) -> list[Line]:
    """All settings of the benchmarks, in the order of their reports. results: folder of the reports of the default."""
    return [line for name, (what, unit) in BENCHMARKS.items() for line in _of(results / f"{name}.json", what, unit)]


def _of(report: Path, what: str, unit: str) -> list[Line]:
    metric = json.loads(report.read_text(encoding="utf-8"))["primary"]["metric"]
    rows, found = [row for row in read_rows(report) if row.metric == metric], []
    for setting in dict.fromkeys(row.setting for row in rows):
        here = [row for row in rows if row.setting == setting]
        means = {row.method: row for row in here if not row.versus}
        controls = [row for row in means.values() if row.role == "control"]
        best = max(controls, key=lambda row: row.value)
        gap = next(row for row in here if row.method == DEFAULT and row.versus == best.method)
        found.append(Line(what, _words(setting, unit), means[DEFAULT].value, best.method, best.value, gap))
    return found


def _words(setting: str, unit: str) -> str:
    """known=1,new -> 1 trip, new items"""
    known, _, which = setting.partition(",")
    if not known.startswith("known="):
        return ""
    count = known.removeprefix("known=")
    return f"{count} {unit.removesuffix('s') if count == '1' else unit}{', new items' * (which == 'new')}"


def table(results: Path) -> str:
    """Markdown, a row a setting."""
    head = ["| data | known | llmrec | best control | difference [95% interval] | |", "|---|---|---|---|---|---|"]
    body, before = [], ""
    for line in lines(results):
        gap = f"{line.gap.value:+.4f} [{line.gap.low:+.4f}, {line.gap.high:+.4f}]"
        what = line.what if line.what != before else ""  # said once
        body.append(f"| {what} | {line.setting} | {line.ours:.4f} | {line.control} {line.best:.4f} | {gap} | {line.verdict} |")
        before = line.what
    return "\n".join([*head, *body])


def draw(results: Path, path: Path) -> None:
    """The figure: by how much ours is ahead of the best control, in percent of the control."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    found = lines(results)[::-1]
    colours = {"ahead": "#0b6e4f", "level": "#8a8f98", "behind": "#b3261e"}
    figure = Figure(figsize=(8.6, 0.9 + 0.3 * len(found)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for place, line in enumerate(found):
        value, low, high = (100 * (number or 0.0) / line.best for number in (line.gap.value, line.gap.low, line.gap.high))
        colour = colours[line.verdict]
        axes.errorbar([value], [place], xerr=[[value - low], [high - value]], marker="o", markersize=5, color=colour)
        axes.text(high + 0.8, place, f"{value:+.0f}% against {line.control}", va="center", fontsize=8, color=colour)
    axes.axvline(0, color="0.3", linewidth=0.8)
    axes.set_yticks(range(len(found)), [": ".join(filter(None, (line.what, line.setting))) for line in found])
    axes.set_xlim(left=-14, right=70)
    axes.set_xlabel("NDCG@10, percent above the best tuned control; 95% interval, paired over users", fontsize=9)
    count = {verdict: sum(line.verdict == verdict for line in found) for verdict in colours}
    said = ", ".join(f"{verdict} in {number}" for verdict, number in count.items())
    axes.set_title(f"llmrec against the best tuned control: {said}", fontsize=11, loc="left")
    axes.tick_params(labelsize=8)
    axes.grid(axis="x", color="0.92")
    axes.spines[["top", "right", "left"]].set_visible(False)
    figure.savefig(path, dpi=110, metadata={"Software": None})
