"""A fit that was killed goes on from its checkpoints and ends at the bytes of one that was not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from llmrec import Recommender, Settings, Weights
from llmrec.cli import fitting
from llmrec.errors import ArtefactError, DataError
from llmrec.meta import resumable
from llmrec.pretraining import loop
from llmrec.recommender import fit as fit_module
from llmrec.recommender.budget import LEAST_EPISODES, LEAST_STEPS
from llmrec.recommender.settings import CoreSettings
from llmrec.store import MANIFEST

ROOT = Path(__file__).resolve().parents[2]
WORKER = Path(__file__).with_name("fit_worker.py")
pytestmark = pytest.mark.usefixtures("exact")


@pytest.fixture(scope="module")
def plain(tiny_settings) -> Settings:
    """With more steps and episodes than lie between two checkpoints."""
    train, outer = replace(tiny_settings.train, max_steps=60), replace(tiny_settings.outer, episodes=22)
    return replace(tiny_settings, train=train, outer=outer)


@pytest.fixture(scope="module")
def given(plain, world, tmp_path_factory) -> Path:
    """What a process needs, and the cache."""
    folder = tmp_path_factory.mktemp("given")
    tables = [world.events(world.users, world.ids), world.items(world.ids)]
    (folder / "tables.json").write_text(json.dumps(tables), encoding="ascii")
    (folder / "settings.yaml").write_text(plain.to_yaml(), encoding="ascii")
    return folder


@pytest.fixture
def call(tiny_folders, world, plain, given, monkeypatch):
    """`call(output_dir, settings=..., seed=0, events=None, minutes=None)` -> a fitted Recommender."""
    monkeypatch.setenv("LLMREC_CACHE", str(given))

    def fit(output_dir: Any, settings: Settings = plain, seed: int = 0, events: Any = None, **more: Any) -> Recommender:
        weights = Weights.folder(tiny_folders[more.pop("family", "bert")])
        tables = events or world.events(world.users, world.ids), world.items(world.ids)
        return Recommender(weights, settings, seed).fit(*tables, output_dir=output_dir, **more)

    return fit


def saved(recommender: Recommender, folder: Path) -> dict[str, Any]:
    """SHA-256 of every file that `save_pretrained` writes."""
    recommender.save_pretrained(folder, histories=True)
    return json.loads((folder / MANIFEST).read_text(encoding="ascii"))["files"]


class Killed(Exception):
    pass


def killed_at(monkeypatch, step: int) -> list[int]:
    """Base training that ends before its step of that number; the list holds the steps that were taken."""
    taken, real = [], loop.train_step

    def one(training, *given):
        if training.step == step:
            raise Killed
        taken.append(training.step)
        return real(training, *given)

    monkeypatch.setattr(loop, "train_step", one)
    return taken


@pytest.mark.slow
def test_a_core_that_was_being_learned_is_gone_on_with(call, plain, tmp_path, monkeypatch, capsys):
    core, short = CoreSettings(size=4, episodes=22, meta_batch_size=8), replace(plain.train, max_steps=4)
    settings, taken, real = replace(plain, adapter="core", core=core, train=short), [], resumable.train_step

    def one(*given):
        if len(taken) == 21:
            raise Killed
        taken.append(given)
        return real(*given)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(resumable, "train_step", one)
        call(tmp_path / "run", settings)
    capsys.readouterr()
    again = call(tmp_path / "run", settings)
    assert "22 episodes (20 of them found done)" in capsys.readouterr().err
    assert saved(again, tmp_path / "again") == saved(call(None, settings), tmp_path / "whole")


@pytest.mark.slow
def test_a_killed_process_is_gone_on_with_and_ends_at_the_same_bytes(call, tiny_folders, given, tmp_path, capsys):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]), "OMP_NUM_THREADS": "1"}
    for part, step in (("base", 53), ("meta", 21)):
        command = [sys.executable, WORKER, tiny_folders["bert"], given, tmp_path / "run", part, step]
        process = subprocess.Popen(list(map(str, command)), env=environment, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None and process.stdout.readline() == "here\n"
        process.kill()
        process.wait()
        process.stdout.close()
        assert process.returncode == -signal.SIGKILL
    capsys.readouterr()
    again = call(tmp_path / "run", minutes=1e6)
    told = capsys.readouterr().err
    assert "60 steps (60 of them found done)" in told and "22 episodes (20 of them found done)" in told
    assert "estimate" not in told  # it was made in the first process
    assert saved(again, tmp_path / "again") == saved(call(None), tmp_path / "whole")


def test_the_plan_that_the_minutes_led_to_is_kept(call, plain, tmp_path, monkeypatch):
    """Short minutes lead to a few steps; the second call is not told how long a step takes, and plans the same."""
    settings = replace(plain, outer=replace(plain.outer, episodes=4))
    with monkeypatch.context() as patch, pytest.raises(Killed):
        killed_at(patch, LEAST_STEPS - 1)
        call(tmp_path, settings, minutes=1e-5)
    monkeypatch.setattr(fit_module, "within", None)
    again = call(tmp_path, settings, minutes=1e-5).state.settings
    assert (again.train.max_steps, again.outer.episodes) == (LEAST_STEPS, LEAST_EPISODES)
    with pytest.raises(ArtefactError, match=r"started with minutes = 1e-05 cannot resume with minutes = 3"):
        call(tmp_path, settings, minutes=3)


def test_another_fit_does_not_go_on_in_the_folder(call, plain, world, tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(Killed):
        killed_at(patch, 1)
        call(tmp_path)
    events = world.events(world.users, world.ids)
    fewer = {name: values[:-1] for name, values in events.items()}
    dearer = {**events, "price": [2 * price for price in events["price"]]}
    for given, named in (
        ({"settings": replace(plain, ranking_tasks=61)}, "ranking_tasks = 60 cannot resume with ranking_tasks = 61"),
        ({"settings": replace(plain, lora=replace(plain.lora, r=3))}, r"lora\.r = 2 cannot resume with lora\.r = 3"),
        ({"seed": 1}, "seed = 0 cannot resume with seed = 1"),
        ({"events": fewer}, "events = "),
        ({"events": dearer}, "data = "),
    ):
        with pytest.raises(ArtefactError, match=f"started with {named}"):
            call(tmp_path, **given)


def test_another_number_of_left_out_baskets_is_named(call, plain, world, tmp_path):
    events = world.events([f"u{number:03}" for number in range(160)], world.ids)
    settings = replace(plain, train=replace(plain.train, max_steps=2), outer=replace(plain.outer, episodes=1))
    settings = replace(settings, meta_fraction=0.2, blend_fraction=0.2, leave_last_out=50)
    call(tmp_path / "run", settings, events=events)
    with pytest.raises(ArtefactError, match="started with leave_last_out = 50 cannot resume with leave_last_out = 5;"):
        call(tmp_path / "run", replace(settings, leave_last_out=5), events=events)


def test_other_weights_that_only_encode_texts_are_another_fit(call, plain, tmp_path, monkeypatch):
    """The small transformer begins at the same numbers whatever reads the texts."""
    small = replace(plain, user_encoder="small")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        killed_at(patch, 1)
        call(tmp_path, small)
    with pytest.raises(ArtefactError, match="started with texts = "):
        call(tmp_path, small, family="llama")


def test_a_folder_that_is_none_for_checkpoints_is_refused_before_anything_is_read(tmp_path, fitted):
    (tmp_path / "file").write_text("")
    fitted.save_pretrained(tmp_path / "model")
    for given, error, named in (
        (3, DataError, "output_dir is 3, expected a path"),
        ("", DataError, "output_dir is ''"),
        (tmp_path / "file", ArtefactError, "got a file; give another output_dir"),
        (tmp_path / "model", ArtefactError, "got something saved; give another output_dir"),
    ):
        with pytest.raises(error, match=named):
            Recommender().fit("no file", output_dir=given)


def test_the_command_fit_takes_the_folder(tmp_path, monkeypatch):
    (tmp_path / "events.csv").write_text("user_id,item_id,timestamp\na,x,1\n", encoding="ascii")
    told = {}

    def fit(_, *tables, **given):
        told.update(given)
        raise Killed

    monkeypatch.setattr(Recommender, "fit", fit)
    options = [str(tmp_path / "events.csv"), "--out", str(tmp_path / "shop"), "--checkpoints", str(tmp_path / "kept")]
    done = CliRunner().invoke(fitting.fit, options)
    assert isinstance(done.exception, Killed) and told["output_dir"] == tmp_path / "kept"
