"""training/compare_runs.py: two methods on the same tasks, user by user."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.runs import Run, save_run
from llmrec.metrics.bootstrap import paired_bootstrap

MAIN = runpy.run_path(str(Path(__file__).resolve().parents[2] / "training" / "compare_runs.py"))["main"]


def kept(folder: Path, values: np.ndarray, seed: int = 0, key: str = "all 1") -> Path:
    found = {"last": {"ndcg@10": values, "auc": 1 - values}}
    return save_run(folder, Run("made", "Recommender, best", "ours", seed, "test", found, {"last": key}, {"last": 1.0}, {}))


def test_the_difference_is_paired_over_users(tmp_path):
    rng = np.random.default_rng(0)
    first = rng.random(400)
    second = first + 0.02 + 0.01 * rng.standard_normal(400)  # users differ much, the methods little
    places = kept(tmp_path / "old", first), kept(tmp_path / "new", second)
    done = CliRunner().invoke(MAIN, [*map(str, places), "--output", str(tmp_path / "out.json")])
    assert done.exit_code == 0, done.output
    rows = json.loads((tmp_path / "out.json").read_text())
    assert [row["metric"] for row in rows] == ["ndcg@10", "auc"]
    assert rows[0]["difference"] == pytest.approx((second - first).mean()) and rows[0]["n"] == 400
    expected = paired_bootstrap(second, first, np.random.default_rng(1))
    assert (rows[0]["low"], rows[0]["high"]) == pytest.approx((expected.low, expected.high), abs=3e-4)
    assert rows[0]["high"] - rows[0]["low"] < 0.004
    assert "first: Recommender, best on made, test users, seeds 0" in done.output and "n = 400" in done.output


def test_seeds_of_a_method_are_taken_together(tmp_path):
    for seed, gain in ((0, 0.1), (1, 0.3)):
        kept(tmp_path / "old", np.full(50, 0.5), seed)
        kept(tmp_path / "new", np.full(50, 0.5 + gain), seed)
    folders = [str(tmp_path / name / "test" / "recommender-best") for name in ("old", "new")]
    done = CliRunner().invoke(MAIN, [*folders, "--metric", "ndcg@10"])
    assert done.exit_code == 0, done.output
    assert "0.5000 -> 0.7000  +0.2000 [" in done.output and "auc" not in done.output and "seeds 0, 1" in done.output


def test_runs_on_other_tasks_and_folders_without_runs_are_refused(tmp_path):
    places = kept(tmp_path / "old", np.zeros(5)), kept(tmp_path / "new", np.zeros(5), key="all 2")
    done = CliRunner().invoke(MAIN, list(map(str, places)))
    assert done.exit_code == 1 and "last: expected runs on the same tasks, got all 1 and all 2" in done.output
    done = CliRunner().invoke(MAIN, [str(tmp_path), str(places[0])])
    assert done.exit_code == 1 and "as training/evaluate.py leaves them; got none" in done.output
    done = CliRunner().invoke(MAIN, [*map(str, places[:1] * 2), "--metric", "mrr"])
    assert done.exit_code == 1 and "a metric in common" in done.output
