"""The adaptation study end to end on made films: one report of what is kept, and validation that asks no test user."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from click.testing import CliRunner, Result

from benchmarks import movielens
from benchmarks.files import Counts
from llmrec.encoder.weights import Weights
from llmrec.metrics.report import read_rows
from studies.adaptation import factors, headroom, long
from studies.adaptation import study as studies
from studies.adaptation.arms import Effort
from studies.adaptation.readme import readme
from studies.adaptation.regimes import Cell

SCRIPT = Path(__file__).resolve().parents[2] / "training" / "adaptation_study.py"
USERS, EVENTS, ITEMS = 120, 20, 60
SMALL = Effort(size=2, newton=1, rank=1, steps=1, core=2, gradient=2, head=2, lora=2, longer=2, whole=1, users=8)


def loaded() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("adaptation_study", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def study(monkeypatch, tiny_folders):
    module = loaded()
    settings = module.settings_of("ml1m-taste")
    train = replace(settings.train, max_steps=2, batch_size=8, known=(2, 8), max_slots=12)
    monkeypatch.setattr(module, "settings_of", lambda _: replace(settings, train=train))
    monkeypatch.setattr(module, "Effort", lambda: SMALL)
    monkeypatch.setattr(module, "COLD", {"ml1m-taste": {"known=5": 5}})
    monkeypatch.setattr(long, "KNOWN", (10,))
    monkeypatch.setattr(long, "PROMPTS", (3,))
    monkeypatch.setattr(long, "PRIMARY", Cell(10, 3))
    monkeypatch.setattr(studies, "MOMENTS", 50)
    monkeypatch.setattr(studies, "PRACTICE", 20)
    monkeypatch.setattr(factors, "EFFORT", SMALL)
    monkeypatch.setattr(factors, "STEPS", (0, 1))
    monkeypatch.setattr(factors, "RANKS", (1,))
    monkeypatch.setattr(factors, "SIZES", (2,))
    monkeypatch.setattr(Weights, "packaged", staticmethod(lambda: Weights.folder(tiny_folders["bert"])))
    monkeypatch.setattr(movielens, "PUBLISHED", Counts(USERS, ITEMS, USERS * EVENTS))
    return module


@pytest.fixture
def call(study, tmp_path, monkeypatch):
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path / "cache"))
    made(tmp_path, 0)

    def run(*options: str) -> Result:
        done = CliRunner().invoke(study.main, ["--data", str(tmp_path), "--runs", str(tmp_path / "runs"), *options])
        assert done.exit_code == 0, done.output
        return done

    return run


def made(folder: Path, seed: int, test: np.ndarray | None = None) -> None:
    """Histories at random. test: users whose histories are drawn anew, from another seed."""
    items = np.stack([np.random.default_rng((seed, user)).permutation(ITEMS)[:EVENTS] for user in range(USERS)])
    for user in () if test is None else test:
        items[user] = np.random.default_rng((7, int(user))).permutation(ITEMS)[:EVENTS]
    columns = {"user_id": np.repeat(np.arange(USERS), EVENTS), "item_id": items.ravel(), "rating": np.full(items.size, 4)}
    columns["timestamp"] = np.tile(np.arange(EVENTS), USERS) + 978_300_000
    pyarrow.parquet.write_table(pa.table(columns), folder / movielens.EVENTS)
    titles = {"item_id": list(range(ITEMS)), "title": [f"t{item}" for item in range(ITEMS)]}
    pyarrow.parquet.write_table(pa.table(titles), folder / movielens.ITEMS)


def test_sessions_add_up_to_one_report(call, tmp_path):
    output = tmp_path / "report.json"
    call("--only", "long", "--only", "controls", "--seeds", "0")
    call("--only", "long", "--only", "cold", "--seeds", "1", "--core_only")
    call("--only", "long", "--seeds", "1", "--without_core")
    call("--only", "factors", "--only", "clock", "--only", "headroom")
    done = call("--only", "none", "--seeds", "0,1", "--output", str(output))
    assert "known=10, prompt=3" in done.output
    rows, extra = read_rows(output), json.loads(output.read_text())
    value = {(row.benchmark, row.setting, row.method): row.value for row in rows if not row.versus}
    assert {row.benchmark for row in rows} == {"headroom", "long", "cold, ml1m-taste", "factors"}
    for row in rows:
        if row.versus:
            mine, other = (value[row.benchmark, row.setting, name] for name in (row.method, row.versus))
            assert row.value == pytest.approx(mine - other, abs=1e-12)
        assert row.n <= 0.2 * USERS or row.benchmark == "factors"
    regimes = {row.setting for row in rows if row.benchmark == "headroom"}
    assert regimes == {"ml1m-taste, known=10, prompt=3", "ml1m-taste, known=5"}
    assert all(value["headroom", name, headroom.ORACLE] > value["headroom", name, headroom.ZERO] for name in regimes)
    seeds = extra["seeds"]["long"]  # what --core_only leaves out and what --without_core does are together all of it
    assert {name for name, of in seeds.items() if of != [0, 1]} == {studies.WHOLE, studies.CONTINUED, studies.JOINT}
    assert "of the first rate" in extra["constants"][studies.CONTINUED]["seed 0"]
    taken = extra["gates"]["long, known=10, prompt=3"]
    assert [one.partition(":")[0] for one in taken] == ["seed 0", "seed 1"]
    for aim in extra["aims"]:
        study = "long" if "prompt" in aim["setting"] else "cold, ml1m-taste"
        mine, other = (value[study, aim["setting"], aim[name]] for name in ("method", "versus"))
        assert aim["reached"] == (mine >= aim["wanted"]) and aim["ratio"] == pytest.approx(mine / other)
    assert extra["primary"]["setting"] == "known=10, prompt=3" and set(extra["break_even"]) >= {"prompt", "longest", "adapting"}
    text = readme(output)
    assert output.with_name("report-factors.png").read_bytes().startswith(b"\x89PNG")
    assert "| ml1m-taste, known=5 | " in text and "oracle, times" in text
    assert f"{value['long', 'known=10, prompt=3', long.ZERO]:.4f}" in text and "| rank of LoRA | 1 " in text


def test_validation_gives_the_same_values_whatever_the_test_users_did(call, tmp_path):
    order = np.random.RandomState(movielens.SPLIT).permutation(USERS)
    call("--only", "long", "--seeds", "0", "--validation_only", "--output", str(tmp_path / "first.json"))
    made(tmp_path, 0, test=order[: USERS // 5])
    again = ("--only", "long", "--seeds", "0", "--validation_only", "--output", str(tmp_path / "second.json"))
    call(*again, "--runs", str(tmp_path / "others"))
    first, second = (
        [replace(row, seconds=None) for row in read_rows(tmp_path / f"{name}.json")] for name in ("first", "second")
    )
    assert first == second


def test_bases_are_trained_by_what_the_files_of_settings_say():
    module = loaded()
    for name, (steps, horizon, slots) in {
        "ml1m-cold": (1800, 10, 110),
        "ml1m-taste": (1800, 10, 110),
        "journey-cold": (300, 3, 128),
        "beauty": (2000, 1, 50),
    }.items():
        settings = module.settings_of(name)
        assert (settings.train.max_steps, settings.train.horizon, settings.train.max_slots) == (steps, horizon, slots)
        assert settings.user_encoder == "small" and None not in vars(settings.train).values()


def test_what_is_not_there(study, tmp_path):
    done = CliRunner().invoke(study.main, ["--data", str(tmp_path), "--only", "long"])
    assert done.exit_code == 1 and "movielens-1m.events.parquet: no such file" in done.output
    for options in (["--only", "long", "--core_only"], ["--only", "long", "--only", "cold"], []):
        done = CliRunner().invoke(study.main, ["--without_core", *options])
        assert done.exit_code == 2 and "give --only long with it" in done.output
    done = CliRunner().invoke(study.main, ["--seeds", "a"])
    assert "expected whole numbers such as 0,1,2, got 'a'" in done.output
