"""Write the demonstration's tables into the README, out of its report: no figure there is typed by hand.

llmrec demo && cp runs/demo/report.json training/results/demo.json && python training/readme_table.py
"""

from __future__ import annotations

import json
from pathlib import Path

from llmrec.demo.run import tables
from llmrec.evaluation.rows import read_rows

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- demo:begin -->", "<!-- demo:end -->"


def block(report: Path) -> str:
    """The README's lines for a report."""
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


def main() -> None:
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    head, rest = text.split(BEGIN)
    _, tail = rest.split(END)
    written = f"{head}{BEGIN}\n{block(ROOT / 'training' / 'results' / 'demo.json')}\n{END}{tail}"
    readme.write_text(written, encoding="utf-8")
    print(f"{readme.name}: the demo's tables are those of training/results/demo.json")


if __name__ == "__main__":
    main()
