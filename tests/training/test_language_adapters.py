"""training/speed/language_adapters.py: the library and the loop of PEFT come to the same adapters."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from click.testing import CliRunner
from language_models import write_tiny

SCRIPT = runpy.run_path(str(Path(__file__).resolve().parents[2] / "training" / "speed" / "language_adapters.py"))


@pytest.mark.slow
def test_both_end_at_the_same_adapters(tiny_folders, exact, tmp_path):
    titles = [f"{colour} {thing}" for colour in ("red", "green", "large", "blue") for thing in ("mug", "lamp", "tent", "rope")]
    pyarrow.parquet.write_table(pa.table({"title": [*titles, None]}), tmp_path / "items.parquet")
    (tmp_path / "model").mkdir()
    model, output = write_tiny("llama", tiny_folders["llama"], tmp_path / "model"), tmp_path / "report.json"
    given = ["--model", str(model), "--items", str(tmp_path / "items.parquet"), "--users", "3", "--output", str(output)]
    assert CliRunner().invoke(SCRIPT["main"], given, catch_exceptions=False).exit_code == 0
    report = json.loads(output.read_text(encoding="ascii"))
    assert report["largest difference"] < 1e-3 * report["largest move by the steps"]
    assert all(value > 0 for value in report["processor seconds"].values()) and report["users"] == 3
