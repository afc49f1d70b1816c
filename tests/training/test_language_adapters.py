"""training/speed/language_adapters.py: the library and the loop of PEFT come to the same adapters."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
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
    for loop in (3, 2):
        few = [] if loop == 3 else ["--loop_users", "2"]
        assert CliRunner().invoke(SCRIPT["main"], [*given, *few], catch_exceptions=False).exit_code == 0
        report = json.loads(output.read_text(encoding="ascii"))
        assert report["largest difference"] < 1e-3 * report["largest move by the steps"]
        assert all(value > 0 for value in report["processor seconds"].values())
        assert (report["users"], report["users of the loop"]) == (3, loop)
    refused = CliRunner().invoke(SCRIPT["main"], [*given, "--loop_users", "4"])
    assert refused.exit_code == 2 and "expected at most --users, 3, got 4" in refused.output


def test_the_time_of_a_loop_over_some_users_is_scaled_to_all_of_them():
    seconds = {"library": np.array([2.0, 4.0]), "loop of PEFT": np.array([3.0, 3.0]), "linear head": np.array([1.0, 1.0])}
    start, every = (
        SimpleNamespace(leaves=lambda leaf=leaf: [leaf]) for leaf in (torch.zeros(1, 1), torch.arange(64.0)[:, None])
    )
    some = SimpleNamespace(leaves=lambda: [torch.arange(8.0)[:, None] + 0.5])
    report = SCRIPT["reported"](seconds, {"library": every, "loop of PEFT": some}, start, 64, 8)
    assert report["processor seconds"] == {"library": 3.0, "loop of PEFT": 24.0, "linear head": 1.0}
    assert report["times as long as the library"] == {"library": 1.0, "loop of PEFT": 9.0, "linear head": 0.38}
    assert (report["largest difference"], report["largest move by the steps"]) == (0.5, 7.0)
    assert report["note"] == "a loop's time is linear in users; timed on 8 of 64"
    assert "note" not in SCRIPT["reported"](seconds, {"library": some, "loop of PEFT": some}, start, 8, 8)
