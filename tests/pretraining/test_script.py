"""training/pretrain.py: from tables to a recommender that another person can load."""

from __future__ import annotations

import csv
import json
import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from llmrec import Recommender, Settings, Weights
from llmrec.metrics.report import read_rows
from llmrec.recommender.auto import LEARNING_RATES
from llmrec.store import load_arrays

pytestmark = pytest.mark.slow  # trains by the script, several times

SCRIPT = Path(__file__).resolve().parents[2] / "training" / "pretrain.py"


def write(file: Path, names: tuple[str, ...], rows: list[tuple]) -> Path:
    with file.open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows([names, *rows])
    return file


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> dict[str, Path]:
    folder, rng = tmp_path_factory.mktemp("tables"), np.random.default_rng(0)
    rows = [(f"u{u:02}", f"i{i}", 86_400 * day) for u in range(24) for day in range(7) for i in rng.permutation(20)[:2]]
    return {
        "events": write(folder / "events.csv", ("user_id", "item_id", "timestamp"), rows),
        "items": write(folder / "items.csv", ("item_id", "title"), [(f"i{i}", f"large mug {i}") for i in range(20)]),
    }


@pytest.fixture(scope="module")
def weights(tiny_folders) -> Weights:
    return Weights.folder(tiny_folders["bert"])


@pytest.fixture(scope="module")
def call(tables, weights, exact, tmp_path_factory):
    """`call(folder, *options)` -> the command's exit code and all that it said."""
    main = runpy.run_path(str(SCRIPT))["main"]
    options = ["--model_name_or_path", weights.location, "--max_steps", "3", "--episodes", "1", "--cpu"]
    options += ["--user_encoder", "pretrained", "--num_layers", "1"]
    options += ["--events", str(tables["events"]), "--items", str(tables["items"]), "--batch_size", "6"]

    def run(folder: Path, *more: str) -> tuple[int, str]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("LLMREC_CACHE", str(tmp_path_factory.mktemp("cache")))
            done = CliRunner().invoke(main, [*options, "--output_dir", str(folder), *more], catch_exceptions=False)
        return done.exit_code, done.output

    return run


@pytest.fixture(scope="module")
def out(call, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    code, said = call(folder)
    assert code == 0, said
    assert "chosen from the data (24 users, median history 14 baskets of 1.0 events" in said
    assert "1 process on cpu, 1 of" in said and "arithmetic: " in said and "GFLOP a step" in said
    return folder


def test_the_recommender_is_the_one_that_fit_makes(out, tables, weights, monkeypatch, tmp_path):
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path / "cache"))
    plain = Settings()
    settings = replace(
        plain,
        user_encoder="pretrained",
        layers=1,
        train=replace(plain.train, max_steps=3, batch_size=6),
        outer=replace(plain.outer, episodes=1),
    )
    Recommender(weights, settings).fit(tables["events"], tables["items"]).save_pretrained(tmp_path / "fitted")
    ours, fitted = (load_arrays(folder / "arrays.safetensors") for folder in (out / "recommender", tmp_path / "fitted"))
    assert ours.keys() == fitted.keys()
    assert all(np.array_equal(ours[name], fitted[name]) for name in ours)
    states = [Recommender.from_pretrained(folder).state for folder in (out / "recommender", tmp_path / "fitted")]
    assert states[0].settings == states[1].settings and states[0].settings.train.horizon == 1  # of fourteen baskets


def test_another_person_loads_it_and_gets_answers(out):
    found = Recommender.from_pretrained(out / "recommender").recommend(
        histories={"user_id": ["new", "new"], "item_id": ["i3", "i4"], "timestamp": [1, 2]}, k=5
    )
    assert len(found["item_id"]) == 5


def test_the_report_has_rows_and_says_what_ran(out):
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    rows = read_rows(out / "report.json")
    assert [(row.benchmark, row.metric, row.setting) for row in rows] == [
        ("pretrain", "loss", "first 10 steps"),
        ("pretrain", "loss", "last 10 steps"),
    ]
    assert rows[1].seconds > 0
    assert (report["processes"], report["threads"], report["device"]) == (1, 1, "cpu")
    assert report["settings"]["train"]["max_steps"] == 3
    assert report["settings"]["train"]["learning_rate"] == LEARNING_RATES["pretrained"]  # as chosen from the data
    assert report["gflop_per_step"] > 0
    assert report["versions"].keys() >= {"torch", "accelerate", "llmrec"}


def test_the_same_command_again_does_nothing(call, out):
    before = {file: file.stat().st_mtime_ns for file in out.rglob("*")}
    code, said = call(out)
    assert code == 0 and "nothing to do" in said and "resuming after 3 steps" in said
    assert {file: file.stat().st_mtime_ns for file in out.rglob("*")} == before


def test_what_was_lost_after_the_base_is_made_again(call, out):
    """As after a kill between the last checkpoint and the report: no step of the base is taken again."""
    before = load_arrays(out / "recommender" / "arrays.safetensors")
    (out / "report.json").unlink()
    code, said = call(out)
    assert code == 0 and "3 steps (3 of them found done)" in said and "meta-learn" in said
    after = load_arrays(out / "recommender" / "arrays.safetensors")
    assert all(np.array_equal(after[name], before[name]) for name in before)
    assert read_rows(out / "report.json")


def test_mistakes_are_one_readable_line(call, out, tmp_path):
    code, said = call(out, "--learning_rate", "0.1")
    assert code == 2 and "started with train.learning_rate = 0.0004" in said.splitlines()[-1]
    code, said = call(tmp_path, "--model_name_or_path", str(tmp_path))
    assert code == 2 and said.startswith("Error: no model in")
    code, said = call(tmp_path, "--event_weight", "view", "0.1")
    assert code == 2 and "events have no column event_type, got a weight for 'view'" in said
    code, said = call(tmp_path, "--batch_size", "0")
    assert code == 2 and "--batch_size" in said
