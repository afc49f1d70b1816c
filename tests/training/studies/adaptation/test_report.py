"""Rows out of runs: means, paired differences, and the seeds that all methods of a setting have."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.runs import Run, save_run
from llmrec.errors import DataError
from studies.adaptation.report import METRIC, Aim, kept, reached, rows


def run(method: str, seed: int, values: dict[str, np.ndarray], key: str = "same") -> Run:
    cells = {setting: {METRIC: each} for setting, each in values.items()}
    return Run("long", method, "control", seed, "test", cells, dict.fromkeys(cells, key), dict.fromkeys(cells, 0.0), {})


def test_rows_are_means_and_differences_over_each_methods_seeds(tmp_path):
    rng = np.random.default_rng(0)
    values = {(name, seed): {"a": rng.random(9), "b": rng.random(5)} for name in ("x", "y") for seed in (0, 1)}
    values["x", 2] = {"a": rng.random(9)}
    for (name, seed), cells in values.items():
        save_run(tmp_path, run(name, seed, cells))
    found = rows(kept(tmp_path, "test"), ("x",), np.random.default_rng(0), draws=50)
    mean = {(row.setting, row.method): row for row in found if not row.versus}
    for setting in ("a", "b"):
        for name in ("x", "y"):
            there = [cells[setting] for (method, _), cells in values.items() if method == name and setting in cells]
            wanted = np.mean(there)
            assert len(there) == 2 + ((setting, name) == ("a", "x"))
            assert mean[setting, name].value == pytest.approx(wanted)
            assert mean[setting, name].low < wanted < mean[setting, name].high
    gaps = [row for row in found if row.versus]
    assert {(row.setting, row.method, row.versus) for row in gaps} == {("a", "x", "y"), ("b", "x", "y")}
    for row in gaps:
        assert row.value == pytest.approx(mean[row.setting, "x"].value - mean[row.setting, "y"].value)
    told = reached(found, [Aim("a", "x", "y", 1.05), Aim("a", "x", "absent", 1.0)])
    assert [one["reached"] for one in told] == [mean["a", "x"].value >= 1.05 * mean["a", "y"].value]


def test_seeds_that_asked_others_are_no_report():
    some = [run("x", 0, {"a": np.zeros(3)}), run("x", 1, {"a": np.zeros(3)}, key="other")]
    with pytest.raises(DataError, match="long, a: seeds were asked about different users"):
        rows(some, (), np.random.default_rng(0))
