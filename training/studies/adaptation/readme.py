"""The README's lines for the adaptation study, out of its report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from llmrec.metrics.report import Result, read_rows, table
from studies.adaptation.headroom import LEAST, ORACLE, OTHER, OWN
from studies.adaptation.report import METRIC

FEW = 500  # users below which a cell is exploratory
ZERO, GATED, LONGEST = "zero steps", "llmrec, gated", "longest prompt, zero steps"


def readme(report: Path) -> str:
    """Long histories in full for the primary number of known events, the aims elsewhere, few events, and the factors."""
    extra, rows = json.loads(report.read_text(encoding="utf-8")), read_rows(report)
    parts = [_long(rows, extra)]
    if few := [row for row in rows if row.benchmark.startswith("cold")]:
        parts.append(_cold(few, extra))
    if headroom := [row for row in rows if row.benchmark == "headroom"]:
        parts.append(_headroom(headroom))
    if factors := [row for row in rows if row.benchmark == "factors"]:
        parts.append(_factors(factors))
    return "\n\n".join(parts)


def _long(rows: Sequence[Result], extra: dict) -> str:
    setting = extra["primary"]["setting"]
    known = setting.partition(",")[0]
    mine = [row for row in rows if row.benchmark == "long"]
    aims = [aim for aim in extra["aims"] if aim["setting"].startswith("known=") and "prompt" in aim["setting"]]
    head = (
        f"**adaptation**: users with more events than the prompt holds, ml1m-taste, {METRIC}, "
        f"{_seeds(extra['seeds']['long'])}. "
        f"Primary cell, declared before test: {setting}; {_against(mine, setting, ZERO)}; {_against(mine, setting, LONGEST)}. "
        f"Aims reached: {sum(aim['reached'] for aim in aims)} of {len(aims)}{_missed(aims)}.{_clock(extra.get('break_even'))}"
    )
    few = sorted({row.setting for row in mine if row.n < FEW})
    head += f"\nUnder {FEW} users, exploratory: {', '.join(few)}." if few else ""
    shown = [row for row in mine if row.setting.startswith(f"{known},")]
    return f"{head}\n\n{table(shown, 'long', METRIC)}"


def _cold(rows: Sequence[Result], extra: dict) -> str:
    lines = [
        "| few events, all in the prompt | zero steps | llmrec, gated | difference | the gate took | users |",
        "|" + "---|" * 6,
    ]
    for setting in dict.fromkeys(row.setting for row in rows):
        here = {row.method: row for row in rows if row.setting == setting and not row.versus}
        gap = next((r for r in rows if (r.setting, r.method, r.versus) == (setting, GATED, ZERO)), None)
        if ZERO not in here or gap is None:
            continue
        study = here[ZERO].benchmark
        took = "; ".join(extra["gates"].get(f"{study}, {setting}", []))
        ends = f"{gap.value:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]"
        users = f"{gap.n:,}{', exploratory' * (gap.n < FEW)}"
        lines.append(f"| {setting} | {here[ZERO].value:.4f} | {here[GATED].value:.4f} | {ends} | {took} | {users} |")
    return "\n".join(lines)


def _headroom(rows: Sequence[Result]) -> str:
    ways = ZERO, OWN, OTHER, ORACLE
    lines = [
        f"| headroom, validation users, one seed | {' | '.join(ways)} | oracle, times | users |",
        "|" + "---|" * (len(ways) + 3),
    ]
    for regime in dict.fromkeys(row.setting for row in rows):
        here = {row.method: row for row in rows if row.setting == regime}
        told = " | ".join(f"{here[way].value:.4f}" for way in ways)
        times = here[ORACLE].value / here[ZERO].value
        lines.append(f"| {regime} | {told} | {times:.2f}{', dropped' * (times < LEAST)} | {here[ZERO].n:,} |")
    return "\n".join(lines)


def _factors(rows: Sequence[Result]) -> str:
    lines = [f"| factor, primary cell, {rows[0].n:,} validation users, one seed | {METRIC} |", "|---|---|"]
    for factor in dict.fromkeys(row.setting for row in rows):
        values = "; ".join(f"{row.method} {row.value:.4f}" for row in rows if row.setting == factor and not row.versus)
        lines.append(f"| {factor} | {values} |")
    return "\n".join(lines)


def _against(rows: Sequence[Result], setting: str, other: str) -> str:
    means = {row.method: row.value for row in rows if row.setting == setting and not row.versus}
    gap = next(row for row in rows if (row.setting, row.method, row.versus) == (setting, GATED, other))
    return (
        f"{GATED} {means[GATED]:.4f} against {means[other]:.4f} of {other}: {gap.value:+.4f} [{gap.low:+.4f}, "
        f"{gap.high:+.4f}], n = {gap.n:,}"
    )


def _missed(aims: Sequence[dict]) -> str:
    found = [f"{aim['setting']} against {aim['versus']} {aim['ratio']:.2f}" for aim in aims if not aim["reached"]]
    return "; missed: " + ", ".join(found) if found else ""


def _clock(clock: dict | None) -> str:
    if not clock:
        return ""
    after = "never" if clock["requests"] is None else f"after {clock['requests']:.0f} requests"
    return (
        f" A request takes {clock['prompt']:.1f} ms with the short prompt and its core, {clock['longest']:.1f} ms with the "
        f"longest prompt; adapting takes {clock['adapting']:.1f} ms once, and has paid for itself {after}."
    )


def _seeds(of: Mapping[str, Sequence[int]]) -> str:
    """How many seeds the gated method has, and which methods have fewer."""
    most = len(of[GATED])
    fewer = sorted(name for name, seeds in of.items() if len(seeds) < most)
    return f"{most} seed{'s' * (most != 1)}" + (f" (fewer for: {'; '.join(fewer)})" if fewer else "")
