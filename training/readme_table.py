"""Write the tables of the demonstration and of the benchmarks into the README, out of their reports; no figure is typed.

llmrec demo && cp runs/demo/report.json training/results/demo.json && python training/readme_table.py
"""

from __future__ import annotations

import json
from pathlib import Path

from llmrec.benchmarks.measure import OURS
from llmrec.demo.run import tables
from llmrec.evaluation.rows import Row, read_rows, table

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "training" / "results"


def demo(report: Path) -> str:
    """The README's lines for the demonstration."""
    extra = json.loads(report.read_text(encoding="utf-8"))
    recall, latency = extra["candidate_recall"], extra["milliseconds_per_adapted_user"]
    lines = [
        f"Seed {extra['seed']}, {extra['seconds'] / 60:.1f} minutes on {extra['threads']} CPU threads. Primary cell, "
        f"{extra['primary']}.",
        "",
        tables(read_rows(report)),
        "",
        f"Candidate recall at one known basket: {recall['all']:.3f}. One user is adapted in {latency['alone']:.1f} ms alone, "
        f"in {latency['batched']:.1f} ms within a batch of 64.",
        "",
        "```",
        extra["story"]["text"],
        "```",
    ]
    return "\n".join(lines)


def benchmark(report: Path) -> str:
    """The README's lines for a benchmark: the table of its primary metric, and its primary cell in words."""
    extra, rows = json.loads(report.read_text(encoding="utf-8")), read_rows(report)
    name, metric = extra["benchmark"], extra["primary"]["metric"]
    seeds = len(extra["seeds"].get(OURS, []))
    missed = [aim for aim in extra["aims"] if aim["reached"] is False]
    lines = [
        f"**{name}**, {metric}, {seeds} seed{'s' * (seeds != 1)}. {_primary(rows, extra)} "
        f"Aims reached: {sum(aim['reached'] is True for aim in extra['aims'])} of {len(extra['aims'])}"
        + ("." if not missed else "; missed: " + ", ".join(_missed(aim) for aim in missed) + "."),
        *(["Under 500 users, exploratory: " + ", ".join(extra["exploratory"]) + "."] if extra["exploratory"] else []),
        "",
        table(rows, name, metric),
    ]
    return "\n".join(lines)


def _primary(rows: list[Row], extra: dict) -> str:
    setting, metric = extra["primary"]["setting"], extra["primary"]["metric"]
    here = [row for row in rows if row.setting == setting and row.metric == metric]
    means = {row.method: row for row in here if not row.versus}
    rival = max((row for row in means.values() if row.role == "control"), key=lambda row: row.value)
    gap = next((row for row in here if row.versus == rival.method), None)
    if gap is None:
        return f"Primary cell, declared before test: {setting}."
    return (
        f"Primary cell, declared before test: {setting}, {OURS} {means[OURS].value:.4f} against {rival.value:.4f} of the best "
        f"control, {rival.method}: {gap.value:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}], n = {gap.n:,}."
    )


def _missed(aim: dict) -> str:
    return f"{aim['setting']} {aim['metric']} {aim['value']:.4f} of {aim['wanted']:.4f}"


def put(text: str, place: str, block: str) -> str:
    """`text` with a block between its marks."""
    begin, end = f"<!-- {place}:begin -->", f"<!-- {place}:end -->"
    head, rest = text.split(begin)
    _, tail = rest.split(end)
    return f"{head}{begin}\n{block}\n{end}{tail}"


def written(text: str) -> str:
    """The README with the tables of all reports in their places."""
    text = put(text, "demo", demo(RESULTS / "demo.json"))
    return put(text, "benchmarks", "\n\n".join(benchmark(path) for path in reports()))


def reports() -> list[Path]:
    """The benchmarks' reports."""
    return sorted(path for path in RESULTS.glob("*.json") if path.stem != "demo")


def main() -> None:
    readme = ROOT / "README.md"
    readme.write_text(written(readme.read_text(encoding="utf-8")), encoding="utf-8")
    print(
        f"{readme.name}: the tables are those of demo.json and {', '.join(path.name for path in reports()) or 'no benchmark'}"
    )


if __name__ == "__main__":
    main()
