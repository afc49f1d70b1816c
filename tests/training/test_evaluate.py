"""The script from end to end on made ratings: values are kept, add up, and become one report."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from click.testing import CliRunner, Result

from llmrec.benchmarks import movielens
from llmrec.benchmarks.files import Counts
from llmrec.evaluation.rows import read_rows

SCRIPT = Path(__file__).resolve().parents[2] / "training" / "evaluate.py"


@pytest.fixture(scope="module")
def evaluate():
    spec = importlib.util.spec_from_file_location("evaluate", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def call(evaluate, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    item = [rng.permutation(130)[:120] for _ in range(40)]
    table = {"user_id": np.repeat(np.arange(40), 120), "item_id": np.concatenate(item), "rating": np.full(4800, 4)}
    table["timestamp"] = np.tile(np.arange(120), 40) + 978_300_000
    pyarrow.parquet.write_table(pa.table(table), tmp_path / movielens.EVENTS)
    items = {"item_id": list(range(130)), "title": [f"t{i}" for i in range(130)]}
    pyarrow.parquet.write_table(pa.table(items), tmp_path / movielens.ITEMS)
    monkeypatch.setattr(movielens, "PUBLISHED", Counts(40, 130, 4800))

    def run(*options: str) -> Result:
        fixed = ["--benchmark", "ml1m-cold", "--data", str(tmp_path), "--runs", str(tmp_path / "runs")]
        return CliRunner().invoke(evaluate.main, [*fixed, *options])

    return run


def test_controls_of_two_sessions_are_one_report(call, tmp_path):
    output = tmp_path / "report.json"
    first = call("--method", "controls", "--only", "popularity", "--output", str(output))
    assert first.exit_code == 0, first.output
    assert {row.method for row in read_rows(output)} == {"popularity"}
    second = call("--method", "controls", "--only", "popularity by position", "--only", "BM25", "--output", str(output))
    assert second.exit_code == 0, second.output
    rows = read_rows(output)
    assert {row.method for row in rows} == {"popularity", "popularity by position", "BM25"}
    assert {row.setting for row in rows} == {"known=5", "known=10", "known=20", "known=100"}
    extra = json.loads(output.read_text())
    assert extra["part"] == "test"
    assert extra["exploratory"]["known=10"] == "exploratory"
    again = call("--method", "none", "--output", str(output))
    assert again.exit_code == 0, again.output
    assert read_rows(output) == rows


def test_validation_only_leaves_no_figure_of_test(call, tmp_path):
    done = call("--method", "controls", "--only", "popularity", "--validation_only")
    assert done.exit_code == 0, done.output
    assert "validation users, ndcg@10; primary cell: known=10" in done.output
    assert [place.name for place in (tmp_path / "runs").iterdir()] == ["validation"]


def test_mistakes_are_explained(call, tmp_path):
    assert "no control 'EASY'; there are popularity" in call("--method", "controls", "--only", "EASY").output
    assert "expected whole numbers" in call("--seeds", "one").output
    (tmp_path / movielens.EVENTS).unlink()
    gone = call("--method", "none")
    assert gone.exit_code == 1
    assert "no such file" in gone.output
