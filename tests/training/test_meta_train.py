"""training/meta_train.py: a saved recommender under an initialisation that was learned anew."""

from __future__ import annotations

import csv
import json
import os
import runpy
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from llmrec import Recommender, Weights
from llmrec.metrics.report import read_rows
from llmrec.recommender.settings import LoraSettings, Settings
from llmrec.store import load_arrays

ROOT = Path(__file__).resolve().parents[2] / "training"
EXACT = """import runpy, sys
from llmrec.encoder import precision
precision._product = lambda dtype, device: 0.0  # float32, as the fixture `exact` has it
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def write(file: Path, names: tuple[str, ...], rows: list[tuple]) -> Path:
    with file.open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows([names, *rows])
    return file


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> tuple[str, ...]:
    folder, rng = tmp_path_factory.mktemp("tables"), np.random.default_rng(0)
    rows = [(f"u{u:02}", f"i{i}", 86_400 * day) for u in range(24) for day in range(7) for i in rng.permutation(20)[:2]]
    events = write(folder / "events.csv", ("user_id", "item_id", "timestamp"), rows)
    items = write(folder / "items.csv", ("item_id", "title"), [(f"i{i}", f"large mug {i}") for i in range(20)])
    return "--events", str(events), "--items", str(items)


@pytest.fixture(scope="module")
def base(tables, tiny_folders, exact, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    options = ["--model_name_or_path", Weights.folder(tiny_folders["bert"]).location, "--max_steps", "3"]
    options += ["--user_encoder", "pretrained", "--num_layers", "1"]
    call(tmp_path_factory.mktemp("cache"), "pretrain", *options, "--episodes", "1", *tables, "--output_dir", str(folder))
    return folder / "recommender"


def call(cache: Path, script: str, *options: str) -> tuple[int, str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMREC_CACHE", str(cache))
        main = runpy.run_path(str(ROOT / f"{script}.py"))["main"]
        done = CliRunner().invoke(main, ["--cpu", *options], catch_exceptions=False)
    return done.exit_code, done.output


def test_a_new_initialisation_on_the_same_base(base, tables, tmp_path):
    options = ["--base", str(base), "--r", "3", "--inner_steps", "2", "--episodes", "3", "--meta_batch_size", "6", *tables]
    code, said = call(tmp_path, "meta_train", *options, "--output_dir", str(tmp_path / "out"))
    assert code == 0, said
    before, after = (Recommender.from_pretrained(folder).state for folder in (base, tmp_path / "out" / "recommender"))
    assert after.init.steps == 2 and after.settings.lora.r == 3
    assert before.init.steps == LoraSettings().inner_steps and before.settings.lora == Settings().lora
    for (name, one), other in zip(before.model.state_dict().items(), after.model.state_dict().values(), strict=True):
        assert np.array_equal(one.numpy(), other.numpy()), name
    rows = read_rows(tmp_path / "out" / "report.json")
    assert [row.method for row in rows[:3]] == ["maml++, 0 steps", "maml++, 1 steps", "maml++, 2 steps"]
    extra = json.loads((tmp_path / "out" / "report.json").read_text())
    assert extra["lora"]["r"] == 3 and extra["gate"] is None  # two dozen users leave nobody for a gate
    losses = load_arrays(tmp_path / "out" / "meta" / "checkpoint" / "learning.safetensors")["losses"]
    assert losses.shape == (3, 3)
    code, said = call(tmp_path, "meta_train", *options, "--output_dir", str(tmp_path / "out"))
    assert code == 0 and "3 episodes (3 of them found done)" in said


def test_two_processes_learn_what_one_does(base, tables, tmp_path):
    options = ["--base", str(base), "--inner_steps", "2", "--episodes", "3", "--meta_batch_size", "6", *tables]
    code, said = call(tmp_path, "meta_train", *options, "--output_dir", str(tmp_path / "one"))
    assert code == 0, said
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    exact = tmp_path / "exact.py"
    exact.write_text(EXACT, encoding="utf-8")
    pair = ("-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_addr", "127.0.0.1", "--master_port", str(port))
    command = [sys.executable, *pair, str(exact), str(ROOT / "meta_train.py"), "--cpu", *options]
    more = {"PYTHONPATH": str(ROOT.parent), "OMP_NUM_THREADS": "1", "LLMREC_CACHE": str(tmp_path)}
    done = subprocess.run(
        [*command, "--output_dir", str(tmp_path / "two")],
        env=os.environ | more,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert "2 processes on cpu, 1 of" in done.stderr
    reports = [json.loads((tmp_path / name / "report.json").read_text()) for name in ("one", "two")]
    assert [report["processes"] for report in reports] == [1, 2]
    one, two = (load_arrays(tmp_path / name / "meta" / "checkpoint" / "learning.safetensors") for name in ("one", "two"))
    for name, values in one.items():
        np.testing.assert_allclose(two[name], values, rtol=1e-4, atol=1e-5, err_msg=name)
    inits = [Recommender.from_pretrained(tmp_path / name / "recommender").state.init for name in ("one", "two")]
    for mine, theirs in zip(*(init.adapter.leaves() for init in inits), strict=True):
        np.testing.assert_allclose(theirs.numpy(), mine.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("algorithm", ["fomaml", "maml", "maml++"])
def test_each_algorithm_learns(base, tables, tmp_path, algorithm):
    options = [
        "--base",
        str(base),
        "--inner_steps",
        "1",
        "--episodes",
        "2",
        "--meta_batch_size",
        "4",
        "--algorithm",
        algorithm,
        *tables,
    ]
    code, said = call(tmp_path, "meta_train", *options, "--second_order", "--output_dir", str(tmp_path / "out"))
    assert code == 0, said
    rate = Recommender.from_pretrained(tmp_path / "out" / "recommender").state.init.log_rate.exp().numpy()
    assert np.allclose(rate, LoraSettings().inner_lr) != (algorithm == "maml++")  # MAML++ alone learns its rates


def test_other_tables_than_the_base_was_trained_on_are_refused(base, tables, tmp_path):
    events = write(tmp_path / "events.csv", ("user_id", "item_id", "timestamp"), [("a", "x", 1), ("a", "y", 2)])
    items = write(tmp_path / "items.csv", ("item_id", "title"), [("x", "mug"), ("y", "lamp")])
    other = ["--events", str(events), "--items", str(items)]
    code, said = call(tmp_path, "meta_train", "--base", str(base), *other, "--output_dir", str(tmp_path / "out"))
    assert code == 2 and "expected the 20 that" in said and "give the tables" in said
    code, said = call(tmp_path, "meta_train", "--base", str(base), "--events", str(events), "--output_dir", str(tmp_path))
    assert code == 2 and "go together" in said
