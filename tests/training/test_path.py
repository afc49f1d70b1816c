"""training/speed/path.py: files and functions are those of the library, each once, and nothing of others."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from llmrec.data.ids import Ids
from llmrec.data.numbers import check_seed, check_whole
from llmrec.encoder.weights import Weights

SCRIPT = runpy.run_path(str(Path(__file__).resolve().parents[2] / "training" / "speed" / "path.py"))


def test_functions_of_the_library_are_counted_once_and_their_calls_each_time():
    def call() -> None:
        for _ in range(3):
            check_whole("k", 5, 1)
        sorted([3, 1, 2], key=lambda value: -value)

    found = SCRIPT["passed"](call)
    assert found["by file"] == {"data/numbers.py": found["functions"]} and found["files"] == 1
    assert found["calls"] == 3 * found["functions"]
    assert sys.getprofile() is None


def test_depth_is_of_functions_inside_of_one_another():
    flat = SCRIPT["passed"](lambda: (Ids(["a"]), Ids(["b"])))
    assert (flat["functions"], flat["calls"], flat["deepest"]) == (1, 2, 1)
    assert SCRIPT["passed"](lambda: check_seed(3))["deepest"] >= 1


@pytest.mark.slow
def test_the_report_holds_an_answer_with_steps_one_without_and_one_to_a_known_user(tmp_path, tiny_folders, monkeypatch):
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(Weights, "packaged", staticmethod(lambda: Weights.folder(tiny_folders["bert"])))
    output = tmp_path / "path.json"
    done = CliRunner().invoke(SCRIPT["main"], ["--output", str(output)], catch_exceptions=False)
    assert done.exit_code == 0
    report = json.loads(output.read_text(encoding="utf-8"))
    without, after, known = (report[name] for name in ("a new user, 0 steps", "a new user, 3 steps", "a known user"))
    assert "meta/inner.py" in after["by file"] and after["functions"] > without["functions"]
    assert "data/clean.py" in without["by file"] and "data/clean.py" not in known["by file"]
    assert "recommender/recommender.py" in known["by file"] and known["calls"] >= known["functions"] >= known["files"]
