"""Timing the answer to one new user: what is built, and what is written."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from click.testing import CliRunner

from llmrec.errors import DataError

SCRIPT = runpy.run_path(str(Path(__file__).resolve().parents[2] / "training" / "speed" / "answers.py"))


@pytest.fixture
def titles():
    vectors = np.random.default_rng(0).standard_normal((100, 16)).astype(np.float32)
    return SCRIPT["Titles"]([f"title {i}" for i in range(100)], vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def test_titles_are_repeated_with_noise_and_the_first_round_is_as_it_was(titles):
    found = titles.repeated(250, np.random.default_rng(0))
    assert len(found.title) == len(found.vectors) == 250 and found.title[200] == titles.title[0]
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(found.vectors[:100], titles.vectors, rtol=1e-5)
    alike = np.vecdot(found.vectors[100:200], titles.vectors)
    assert 0.9 < alike.mean() < 0.99


def test_a_folder_without_titles_is_named(tmp_path):
    with pytest.raises(DataError, match=r"amazon2014-\*.items.parquet"):
        SCRIPT["read_titles"](tmp_path, 100)


@pytest.mark.slow
def test_the_report_holds_milliseconds_and_memory_of_answers_with_and_without_steps(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path / "cache"))
    table = pa.table({"item_id": np.arange(120), "title": [f"a thing of kind {i}" for i in range(120)]})
    pyarrow.parquet.write_table(table, tmp_path / "amazon2014-tiny.items.parquet")
    output, given = tmp_path / "answers.json", ["--data", str(tmp_path), "--items", "300", "--asked", "3"]
    done = CliRunner().invoke(SCRIPT["main"], [*given, "--output", str(output)], catch_exceptions=False)
    assert done.exit_code == 0
    report = json.loads(output.read_text(encoding="utf-8"))
    assert report["titles"] == 120 and report["requests"] == 3
    (found,) = report["catalogues"]
    assert found["items"] == 300
    for steps in ("0 steps", "3 steps", "2 steps of the core"):
        took = found[steps]["milliseconds"]
        assert 0 < took["p50"] <= took["p90"] <= took["p99"]
        assert 0 < found[steps]["peak megabytes"]["tracemalloc"] < 200
        assert found[steps]["asked again, milliseconds"]["p50"] > 0  # that the steps are not taken again is for test_remembered
