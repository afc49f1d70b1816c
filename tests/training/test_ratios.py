"""training/speed/ratios.py: what is timed on both sides comes to the same vectors."""

from __future__ import annotations

import json
import runpy
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from click.testing import CliRunner

from llmrec import LoraSettings, Settings
from llmrec.encoder.weights import Weights

SCRIPT = runpy.run_path(str(Path(__file__).resolve().parents[2] / "training" / "speed" / "ratios.py"))
KNOWN_WORDS = ["red", "blue", "green", "small", "large", "mug", "lamp", "rope", "tent", "soap"]  # of the tiny model


def test_a_ratio_is_theirs_over_ours():
    found = SCRIPT["compared"](lambda: None, lambda: sum(range(200_000)), 3)
    assert found["ratio"] > 1 and found["theirs, seconds"] > found["ours, seconds"]


@pytest.mark.slow
def test_both_sides_come_to_the_same_vectors(tmp_path, tiny_folders, monkeypatch, exact):
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(Weights, "packaged", staticmethod(lambda: Weights.folder(tiny_folders["bert"])))
    large = Settings(lora=LoraSettings(b_std=1.0, inner_lr=0.3))
    monkeypatch.setitem(SCRIPT["measure"].__globals__, "Settings", lambda: large)
    titles = [" ".join(words) for words in product(KNOWN_WORDS, repeat=2)]  # all different: among equal ones nothing moves
    table = pa.table({"item_id": np.arange(len(titles)), "title": titles})
    pyarrow.parquet.write_table(table, tmp_path / "items.parquet")
    output = tmp_path / "ratios.json"
    given = ["--data", str(tmp_path), "--titles", "items.parquet", "--rounds", "1", "--output", str(output)]
    assert CliRunner().invoke(SCRIPT["main"], given, catch_exceptions=False).exit_code == 0
    report = json.loads(output.read_text(encoding="utf-8"))
    adaptation, encoding = report["adaptation"], report["encoding"]
    assert adaptation["largest move by the steps"] > 0.1
    assert adaptation["largest difference"] < 1e-4 * adaptation["largest move by the steps"]
    assert encoding["largest difference"] < 1e-5
    assert adaptation["ratio"] > 0 and encoding["ratio"] > 0
