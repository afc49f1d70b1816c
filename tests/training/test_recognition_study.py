"""The script from end to end on a made shop: rows of several calls add up to one report."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from click.testing import CliRunner, Result

from llmrec.metrics.report import read_rows
from studies.recognition import cases

SCRIPT = Path(__file__).resolve().parents[2] / "training" / "recognition_study.py"


@pytest.fixture
def call(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("recognition_study", SCRIPT)
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.setattr(script, "text_vectors", lambda catalogue: np.eye(len(catalogue), 5, dtype=np.float32))
    monkeypatch.setattr(cases, "SHOPPERS", 3)
    monkeypatch.setattr(cases, "FEW", 3)
    for name, some in (("COUNTRIES_TRIED", ("Spain", "Belgium")), ("COUNTRIES_TESTED", ("Germany",))):
        monkeypatch.setattr(cases, name, some)
    rng, rows = np.random.default_rng(0), 9000
    user = rng.integers(0, 150, rows)
    country = np.array([cases.HOME, "Spain", "Belgium", "Germany", cases.HOME])[user % 5]
    code = np.where((country == "Germany") & (rng.random(rows) < 0.6), rng.integers(0, 3, rows), rng.integers(0, 30, rows))
    day = rng.integers(0, 330, rows)
    table = {
        "InvoiceNo": [f"{u}-{d}" for u, d in zip(user, day, strict=True)],
        "StockCode": [f"{10000 + c}" for c in code],
        "Description": [f"mug {c}" for c in code],
        "Quantity": rng.integers(1, 9, rows),
        "InvoiceDate": np.datetime64("2011-01-02T10:00", "us") + day * np.timedelta64(1, "D"),
        "UnitPrice": rng.uniform(1, 5, rows),
        "CustomerID": user.astype(float),
        "Country": country,
    }
    table["StockCode"][:3] = ["POST", "M", "C2"]
    pyarrow.parquet.write_table(pa.table(table), tmp_path / cases.RETAIL)
    return lambda *options: run(script, tmp_path, *options)


def run(script, tmp_path, *options: str) -> Result:
    fixed = ["--data", str(tmp_path), "--runs", str(tmp_path / "runs"), "--shop", "retail", "--seeds", "2", "--size", "20"]
    return CliRunner().invoke(script.main, [*fixed, *options])


def test_cases_measured_apart_are_one_report(call, tmp_path):
    output = tmp_path / "report.json"
    first = call("--case", "country", "--output", str(output))
    assert first.exit_code == 0, first.output
    settings = {"country: not the home one, 20 events", "country: none of the known, 20 events"}
    assert {row.setting for row in read_rows(output)} == settings
    second = call("--case", "season", "--output", str(output))
    assert second.exit_code == 0, second.output
    rows = read_rows(output)
    assert {row.setting for row in rows} == settings | {"season, retail, 20 events"}
    extra = json.loads(output.read_text())
    assert extra["part"] == "tested" and set(extra["cells"]) == {row.setting for row in rows}
    assert (
        extra["cells"]["country: not the home one, 20 events"] | {"users of new scenes": 30, "exploratory": True}
        == (extra["cells"]["country: not the home one, 20 events"])
    )
    found = {(row.setting, row.method): row.value for row in rows if row.metric == "auroc" and not row.versus}
    assert found["country: not the home one, 20 events", "item counts, KL"] > 0.9  # as it was made
    assert "false alarms, shuffled" in second.output


def test_what_was_tried_and_what_was_tested_are_kept_apart(call, tmp_path):
    done = call("--case", "country: not", "--tried")
    assert done.exit_code == 0, done.output
    assert [place.name for place in (tmp_path / "runs").iterdir()] == ["tried"]
    (kept,) = (tmp_path / "runs" / "tried").iterdir()
    cell = json.loads(kept.read_text())["cells"]["country: not the home one, 20 events"]
    assert cell["new"] == ["Spain", "Belgium"]


def test_lines_that_are_no_product_are_left_out(call, tmp_path):
    dataset = cases.load_retail(tmp_path)
    assert all(str(item).isdigit() for item in dataset.catalogue.ids.values)


def test_a_missing_file_is_explained(call, tmp_path):
    (tmp_path / cases.RETAIL).unlink()
    done = call()
    assert done.exit_code == 1 and "no such file" in done.output
