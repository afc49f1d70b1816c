"""The figure of gains is drawn from the reports."""

import json
import re
from pathlib import Path

import pytest

from pages.gains import PANELS, draw

RESULTS = Path(__file__).resolve().parents[3] / "training" / "results"


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.report)
def test_every_gain_of_a_panel_is_that_of_its_report_to_zero_steps_on_the_same_users(panel):
    rows = json.loads((RESULTS / f"{panel.report}.json").read_text())["results"]
    here = [row for row in rows if (row["benchmark"], row["metric"]) == (panel.benchmark, panel.metric)]
    mean = {(row["setting"], row["method"]): row["value"] for row in here if not row["versus"]}
    gap = {row["setting"]: row for row in here if (row["method"], row["versus"]) == (panel.ours, panel.zero)}
    for setting in panel.settings:
        difference = mean[setting, panel.ours] - mean[setting, panel.zero]
        assert gap[setting]["value"] == pytest.approx(difference, abs=1e-9)


def test_the_figure_is_a_picture(tmp_path):
    draw(RESULTS, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("category", ["beauty", "health", "electronic", "clothing"])
def test_the_readme_has_the_gains_of_new_items_of_the_reports(category):
    rows = json.loads((RESULTS / f"observed-default-{category}.json").read_text())["results"]
    here = [row for row in rows if row["setting"] == "any purchase, among all"]
    before = next(row["value"] for row in here if row["method"] == "llmrec, first buyers unread")
    gap = next(row for row in here if (row["method"], row["versus"]) == ("llmrec", "llmrec, first buyers unread"))
    said = f"+{gap['value'] / before:.0%}" if gap["low"] > 0 else "0"
    name = {"electronic": "electronics"}.get(category, category)
    readme = (RESULTS.parents[1] / "README.md").read_text(encoding="utf-8")
    assert re.search(rf"\b{name} {re.escape(said)}[,.]\s", readme)
