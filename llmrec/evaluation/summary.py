"""Rows of a comparison as people read them: a table, a sentence and the curves of a figure.

Settings are named `known=K,all` where all items are ranked, and `known=K,new` where only those are that the known baskets do
not hold. `which` below is "all" or "new".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llmrec.evaluation.plot import Curve
from llmrec.evaluation.verdict import beside, by_setting, gain, standing
from llmrec.metrics.bootstrap import Interval
from llmrec.metrics.report import Result
from llmrec.screen import PLAIN, Column, Screen, text_table

OURS, ZERO = "llmrec", "zero_steps"
METRIC = "ndcg@10"
ITEMS = {"all": "All items", "new": "Items new to the user"}  # `which`, in words
LABELS = {ZERO: "llmrec, zero steps", "most_frequent": "most frequent", "item_knn": "item kNN", "ease": "EASE"}


def table_text(rows: Sequence[Result], unit: str, which: str = "all", screen: Screen = PLAIN) -> str:
    """NDCG@10 as text: methods down, our own first and the others by their mean; what is known across. Beside each method its
    mark and the interval of its difference from ours.

    unit: what a basket is called, such as "trip".
    """
    means, gaps = means_by_setting(rows, which), gaps_by_setting(rows, which)
    body = []
    for method in ordered(means):
        cells = [label(method)]
        for setting, part in means.items():
            gap = gaps.get(setting, {}).get(method)
            cells.append(f"{part[method].value:.3f}" + ("" if gap is None else " " + beside(gap, "\n")))
        body.append(cells)
    return text_table([Column(""), *(Column(_after(setting, unit)) for setting in means)], body, screen)


def sentence(rows: Sequence[Result], unit: str, which: str = "all") -> str:
    """Who is ahead, level or behind, by the numbers."""
    found = {
        str(known(setting)): {label(name): gap for name, gap in part.items() if name != ZERO}
        for setting, part in gaps_by_setting(rows, which).items()
    }
    return " ".join(
        f"After {settings} {unit}{'s' * (settings != '1')} llmrec is {words}." for settings, words in by_setting(found)
    )


def losses(rows: Sequence[Result], unit: str, which: str = "all") -> list[str]:
    """A sentence for every control that is clearly better than ours in some setting, by how much and where."""
    found, means = [], means_by_setting(rows, which)
    for setting, part in gaps_by_setting(rows, which).items():
        for method, gap in part.items():
            if method != ZERO and standing(gap) == "behind":
                ours, other = (means[setting][name].value for name in (OURS, method))
                more = Interval(-gap.value, -gap.high, -gap.low, gap.n)
                found.append(
                    f"{_after(setting, unit).capitalize()} {label(method)} is clearly better than llmrec: {other:.3f} against "
                    f"{ours:.3f}, difference {gain(more)}."
                )
    return found


def curves(rows: Sequence[Result], which: str = "all") -> tuple[Curve, ...]:
    """NDCG@10 of every method by what is known, without that of zero steps."""
    found: dict[str, dict[int, Interval]] = {}
    for setting, part in means_by_setting(rows, which).items():
        for method, interval in part.items():
            found.setdefault(method, {})[known(setting)] = interval
    roles = {row.method: row.role for row in rows}
    return tuple(
        Curve(label(name), roles[name], tuple(one), tuple(one.values())) for name, one in found.items() if name != ZERO
    )


def gaps_by_setting(rows: Sequence[Result], which: str = "all") -> dict[str, dict[str, Interval]]:
    """Setting -> method -> ours less it."""
    found: dict[str, dict[str, Interval]] = {}
    for row in rows:
        if row.versus and row.metric == METRIC and row.setting.endswith(f",{which}"):
            found.setdefault(row.setting, {})[row.versus] = interval_of(row)
    return found


def means_by_setting(rows: Sequence[Result], which: str = "all") -> dict[str, dict[str, Interval]]:
    """Setting -> method -> its mean."""
    found: dict[str, dict[str, Interval]] = {}
    for row in rows:
        if not row.versus and row.metric == METRIC and row.setting.endswith(f",{which}"):
            found.setdefault(row.setting, {})[row.method] = interval_of(row)
    return found


def ordered(means: Mapping[str, Mapping[str, Interval]]) -> list[str]:
    """Methods by their mean over settings, our own first."""

    def place(name: str) -> tuple[int, float]:
        values = [part[name].value for part in means.values() if name in part]
        return (OURS, ZERO).index(name) if name in (OURS, ZERO) else 2, -sum(values) / len(values)

    return sorted(dict.fromkeys(method for part in means.values() for method in part), key=place)


def interval_of(row: Result) -> Interval:
    """A row's number with its interval, of no width where it has none."""
    low, high = (row.value if end is None else end for end in (row.low, row.high))
    return Interval(row.value, low, high, row.n)


def known(setting: str) -> int:
    """How many baskets are known in a setting."""
    return int(setting.split(",")[0].removeprefix("known="))


def label(method: str) -> str:
    """A method as people call it."""
    return LABELS.get(method, method)


def baskets(number: int) -> str:
    """What follows "the next": "basket", or "3 baskets"."""
    return "basket" if number == 1 else f"{number:,} baskets"


def _after(setting: str, unit: str) -> str:
    count = known(setting)
    return f"after {count} {unit}{'s' * (count != 1)}"
