"""The script from end to end on made shops: a study goes on where it was stopped, and its report holds every scene."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from llmrec.data.build import build
from llmrec.meta.outer import OuterSettings
from llmrec.metrics.report import read_rows
from llmrec.scenes.learning import LearnSettings, MixSettings
from llmrec.scenes.shelf import shelve
from llmrec.scenes.worlds import World
from studies.scenes import gradient, study
from studies.scenes.lora_steps import LoraSettings
from studies.scenes.places import Place, place
from studies.scenes.teaching import TeachSettings

SCRIPT = Path(__file__).resolve().parents[2] / "training" / "scene_study.py"
SMALL = LearnSettings(sizes=(8,), draws=1, queries=40, mix=MixSettings(bends=2, steps=5))
BRIEF = TeachSettings(steps=2, batch=8)
STEPS = gradient.GradientSettings(
    BRIEF,
    LoraSettings(2, steps=1, batch=8, queries=8, parts=0, outer=OuterSettings(2)),
    marks=(1,),
    queries=10,
    joint=BRIEF,
    fine=BRIEF,
    whole=BRIEF,
)


def shop(seed: int) -> Place:
    """80 shoppers who take five of 20 items."""
    rng = np.random.default_rng(seed)
    rows: dict[str, list] = {"user_id": [], "item_id": [], "timestamp": []}
    for user in range(80):
        for visit, item in enumerate(rng.choice(20, 5, replace=False)):
            rows["user_id"].append(user)
            rows["item_id"].append(f"i{item:02d}")
            rows["timestamp"].append(1.3e9 + 1e5 * visit + user)
    dataset = build(rows)[0]
    text = rng.normal(size=(dataset.n_items, 6)).astype(np.float32)
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    shelf = shelve(dataset, text, [f"mug {item}" for item in range(dataset.n_items)])
    return place(f"shop {seed}", World(dataset, shelf, np.arange(30, 80)), np.arange(30), text.mean(0))


@pytest.fixture
def call(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("scene_study", SCRIPT)
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.setattr(script, "load", lambda *asked: {f"shop {seed}": shop(seed) for seed in range(3)})
    monkeypatch.setattr(script, "LearnSettings", lambda parts: SMALL)
    monkeypatch.setattr(gradient, "GradientSettings", lambda: STEPS)
    return lambda *options: run(script, tmp_path, *options)


def run(script, tmp_path, *options: str) -> Result:
    fixed = ["--kind", "catalogues", "--runs", str(tmp_path / "runs"), "--seeds", "2"]
    return CliRunner().invoke(script.main, [*fixed, *options])


def test_scenes_measured_apart_are_one_report_and_none_is_measured_twice(call, tmp_path):
    first = call("--scene", "shop 0")
    assert first.exit_code == 0, first.output
    values = tmp_path / "runs" / "test" / "catalogues" / "shop-0" / "values.safetensors"
    written = values.stat().st_mtime_ns
    output = tmp_path / "report.json"
    second = call("--scene", "shop 0", "--scene", "shop 1", "--output", str(output))
    assert second.exit_code == 0, second.output
    assert values.stat().st_mtime_ns == written
    rows = read_rows(output)
    assert {row.setting for row in rows if row.method == study.OURS} == {
        f"{w}, 8 users" for w in ("shop-0", "shop-1", "mean of 2")
    }
    said = json.loads(output.read_text())
    assert said["primary"] == list(study.PRIMARY) and said["part"] == "test"
    assert [(line["place"], line["seed"]) for line in said["chosen"]] == [(f"shop {p}", s) for p in (0, 1) for s in (0, 1)]
    ratios = said["ratios"]
    assert [line["setting"] for line in ratios] == ["shop-0, 8 users", "shop-1, 8 users", "mean of 2, 8 users"]
    for line in ratios:
        assert line["ratio"] == pytest.approx(line["ours"] / line["its"])
        assert f"{line['setting']}: {line['ours']:.4f}" in second.output


def test_a_report_alone_measures_nothing(call, tmp_path):
    assert call("--scene", "shop 2").exit_code == 0
    result = call("--report", "--output", str(tmp_path / "again.json"))
    assert result.exit_code == 0, result.output
    assert {row.setting for row in read_rows(tmp_path / "again.json")} == {"shop-2, no user", "shop-2, 8 users"}


def test_what_gradient_steps_gave_is_kept_beside_and_stands_in_the_same_tables(call, tmp_path):
    assert call("--scene", "shop 1").exit_code == 0
    result = call("--gradient", "--scene", "shop 1", "--users", "8", "--output", str(tmp_path / "both.json"))
    assert result.exit_code == 0, result.output
    assert (tmp_path / "runs" / "test" / "gradient" / "catalogues" / "shop-1" / "values.safetensors").is_file()
    rows = read_rows(tmp_path / "both.json")
    methods = {row.method for row in rows if row.setting == "shop-1, 8 users" and not row.versus}
    assert {study.OURS, study.META, gradient.JOINT, "EASE"} <= methods
    pairs = {row.versus for row in rows if row.method == study.META and row.setting == "shop-1, 8 users"}
    assert pairs - {""} == methods - {study.META}
    said = json.loads((tmp_path / "both.json").read_text())
    assert [(line["place"], line["method"]) for line in said["data ratio"]] == [("shop-1", study.META), ("shop-1", study.OURS)]
    assert {line.get("method") for line in said["chosen"] if "forgetting" in line} >= {gradient.CONTINUED, gradient.FINE}


def test_a_scene_that_is_not_there_is_refused(call):
    result = call("--scene", "toys")
    assert result.exit_code == 1 and "expected shop 0, shop 1, shop 2, got 'toys'" in result.output
