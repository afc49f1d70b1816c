"""The quick ablation study, for real: packaged weights, packaged data, every method, the report and the plot."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest

from llmrec.metrics.report import Result, read_rows
from pages.demonstration import tables
from studies.ablations.run import run_study

CONTROLS = {"popularity", "most_frequent", "item_knn", "ease", "frozen"}
METHODS = CONTROLS | {"zero_steps", "random_lora", "continued", "swapped", "meta_lora"}


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ablations")
    assert run_study(out=folder, events=None, items=None, quick=True, seed=0, minutes=None) == 0
    return folder


def test_every_method_stands_in_both_benchmarks(out):
    rows = read_rows(out / "report.json")
    for benchmark in ("journey-cold", "journey-scene"):
        found = {row.method for row in rows if row.benchmark == benchmark and not row.versus}
        assert found >= METHODS
    assert {row.setting for row in rows if row.benchmark == "journey-cold"} == {"known=1,all", "known=1,new"}


def test_the_report_holds_flat_rows_and_what_was_done(out):
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert all(set(row) == {field.name for field in fields(Result)} for row in report["results"])
    assert [stage["name"] for stage in report["stages"]][:2] == ["read and clean", "fit"]
    assert report["plan"]["quick"]
    assert 0 < report["candidate_recall"]["all"] <= 1
    assert report["data"]["held_out"]


def test_the_primary_differences_are_those_of_the_means(out):
    rows = [row for row in read_rows(out / "report.json") if row.benchmark == "journey-cold" and row.metric == "ndcg@10"]
    mean = {(row.method, row.setting): row.value for row in rows if not row.versus}
    for row in rows:
        if row.versus:
            gap = mean[row.method, row.setting] - mean[row.versus, row.setting]
            assert row.value == pytest.approx(gap, abs=1e-9)


def test_the_plot_and_the_tables_are_there(out):
    assert (out / "methods.png").read_bytes()[:4] == b"\x89PNG"
    assert "| meta_lora" in tables(read_rows(out / "report.json"))
