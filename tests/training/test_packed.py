"""training/speed/packed.py: the three ways that are timed come to the same log-likelihoods."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from click.testing import CliRunner
from language_models import FAMILIES, write_tiny

SCRIPT = runpy.run_path(str(Path(__file__).resolve().parents[2] / "training" / "speed" / "packed.py"))


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_all_ways_come_to_the_same_and_packed_reads_least(family, tiny_folders, exact, tmp_path):
    colours, things = ("red", "green", "large", "small red"), ("mug", "lamp of rope", "tent", "soap : blue soap . red rope")
    titles = [f"{colour} {thing}" for colour in colours for thing in things]
    pyarrow.parquet.write_table(pa.table({"title": [*titles, None]}), tmp_path / "items.parquet")
    (tmp_path / "model").mkdir()
    model, output = write_tiny(family, tiny_folders["llama"], tmp_path / "model"), tmp_path / "packed.json"
    given = ["--model", str(model), "--items", str(tmp_path / "items.parquet"), "--users", "2", "--history", "4"]
    given += ["--candidates", "5", "--rounds", "1", "--output", str(output)]
    done = CliRunner().invoke(SCRIPT["main"], given, catch_exceptions=False)
    assert done.exit_code == 0
    report = json.loads(output.read_text(encoding="utf-8"))
    assert max(report["largest difference from single, nats"].values()) < 1e-4
    assert report["operations over packed"]["single"] > 2 and report["tokens read"]["packed"] < report["tokens read"]["single"]
    assert all(value > 0 for value in report["seconds"].values())
