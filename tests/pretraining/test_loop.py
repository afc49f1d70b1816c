"""One run in pieces, killed, and by two processes: all end where the run of one piece ends."""

from __future__ import annotations

import os
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from llmrec.data.tasks import sample_windows
from llmrec.encoder.train import Shard, n_readouts, train
from llmrec.errors import ArtefactError, DataError
from llmrec.pretraining.loop import pretrain
from llmrec.pretraining.processes import Processes
from llmrec.store import load_arrays

ROOT = Path(__file__).resolve().parents[2]
WORKER = Path(__file__).with_name("worker.py")
STEPS, PATIENCE = 30, 100


def weights(model) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def equal(x, y) -> bool:
    return all(torch.equal(x[name], y[name]) for name in x)


def go(run, folder, processes=Processes(), save_every=2, settings=None, **more):  # noqa: B008  (frozen)
    model = run.model()
    done = pretrain(model, run.dataset, run.users, settings or run.settings, run.seed, folder, processes, save_every, **more)
    return weights(model), done


class Killed(Exception):
    pass


def killing(at: int) -> Callable[[int, float], None]:
    """A watch that ends the run after a step, before it could be saved."""

    def watch(step: int, _: float) -> None:
        if step == at:
            raise Killed

    return watch


def test_the_operations_are_those_of_one_step_and_grow_with_the_catalogues_share(tiny_run, tmp_path):
    """Scores of all items at all readouts, and both their gradients, are three products: what is more is the transformer's."""
    run = tiny_run
    _, done = go(run, tmp_path / "once")
    _, longer = go(run, tmp_path / "longer", settings=replace(run.settings, max_steps=9))
    assert done.operations == longer.operations
    draw = run.settings.known, run.settings.horizon, run.settings.batch_size, np.random.default_rng((run.seed, 0))
    tasks = sample_windows(run.dataset, run.users, *draw, run.settings.from_start, least=1)
    width = run.model().project.weight.shape[0]
    scores = 2 * n_readouts(tasks, run.settings.max_slots) * run.dataset.n_items * width
    assert done.operations > 3 * scores
    assert go(run, tmp_path / "once")[1].operations == 0  # nothing was left to do


@pytest.mark.slow
def test_wherever_it_stops_it_ends_where_it_would_have(tiny_run, tmp_path):
    whole, done = go(tiny_run, tmp_path / "whole")
    assert (done.resumed, len(done.losses)) == (0, 6)

    for at in range(6):
        folder, said = tmp_path / str(at), []
        with pytest.raises(Killed):
            go(tiny_run, folder, watch=killing(at))
        found, again = go(tiny_run, folder, say=said.append)
        assert again.resumed == at // 2 * 2  # the last save before
        assert bool(said) == (at >= 2)
        assert equal(found, whole) and again.losses == done.losses


def test_the_loop_trains_as_train_does(tiny_run, tmp_path):
    class Fixed:
        def integers(self, _):
            return tiny_run.seed

    model = tiny_run.model()
    train(model, tiny_run.dataset, tiny_run.users, tiny_run.settings, Fixed())
    assert equal(weights(model), go(tiny_run, tmp_path)[0])


def test_after_the_end_nothing_is_done(tiny_run, tmp_path):
    whole, done = go(tiny_run, tmp_path)
    before, told = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}, []
    found, again = go(tiny_run, tmp_path, watch=lambda *step: told.append(step))
    assert equal(found, whole) and again.losses == done.losses and again.seconds == done.seconds
    assert told == [] and again.resumed == 6
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")} == before


def test_what_a_run_cannot_be_is_said(tiny_run, tmp_path):
    go(tiny_run, tmp_path)
    with pytest.raises(ArtefactError, match="started with batch_size = 5"):
        go(tiny_run, tmp_path, settings=replace(tiny_run.settings, batch_size=6))
    with pytest.raises(DataError, match="a batch of 5 cannot be shared by 6 processes"):
        go(tiny_run, tmp_path, Processes(Shard(0, 6, lambda flat: flat)))
    with pytest.raises(DataError, match="save_every is 0"):
        go(tiny_run, tmp_path, save_every=0)


@pytest.mark.slow
def test_another_number_of_threads_is_told(tiny_run, tmp_path):
    said = []
    with pytest.raises(Killed):
        go(tiny_run, tmp_path, watch=killing(3))
    torch.set_num_threads(2)
    try:
        go(tiny_run, tmp_path, say=said.append)
    finally:
        torch.set_num_threads(1)
    assert [line for line in said if line.startswith("NOTE: saved by 1 processes of 1 threads, now 1 of 2")]


def test_the_tracker_hears_loss_rate_and_speed_of_every_step(tiny_run, tmp_path):
    heard = []
    _, done = go(tiny_run, tmp_path, Processes(log=lambda values, step: heard.append((step, values))))
    assert [step for step, _ in heard] == list(range(6))
    assert [values["loss"] for _, values in heard] == done.losses
    assert all(values.keys() == {"loss", "learning_rate", "windows_per_second"} for _, values in heard)
    assert max(values["learning_rate"] for _, values in heard) <= tiny_run.settings.learning_rate


def test_two_runs_do_not_train_into_one_folder(tiny_run, tmp_path):
    """As when a launcher is killed, leaves its workers running and is started again."""

    def meanwhile(*_):
        with pytest.raises(ArtefactError, match="another process is training into it"):
            go(tiny_run, tmp_path)
        raise Killed

    with pytest.raises(Killed):
        go(tiny_run, tmp_path, watch=meanwhile)
    assert go(tiny_run, tmp_path)[1].resumed == 0  # it was let go of


def test_processes_that_see_different_folders_are_told(tiny_run, tmp_path):
    """This one finds no step done; the sum over both is 4."""
    with pytest.raises(ArtefactError, match="found 0 steps done, the average process 2: give a folder that all processes see"):
        go(tiny_run, tmp_path, Processes(Shard(0, 2, lambda flat: flat + 4)))


# ---------------------------------------------------------------------------------------- real processes


@pytest.fixture(scope="module")
def bert(tiny_folders) -> Path:
    return tiny_folders["bert"]


@pytest.fixture(scope="module")
def reference(bert, exact, tmp_path_factory) -> dict[str, np.ndarray]:
    """Weights and losses of the workers' run, trained in this process and in one piece."""
    folder = tmp_path_factory.mktemp("reference")
    with torch.random.fork_rng():
        runpy.run_path(str(WORKER))["main"](bert, folder, STEPS)
    return result(folder)


def result(folder: Path) -> dict[str, np.ndarray]:
    return load_arrays(folder / "model.safetensors") | load_arrays(folder / "losses.safetensors")


def start(*command: object) -> subprocess.Popen:
    """A process of its own session, whose standard output can be read line by line."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finished(process: subprocess.Popen) -> str:
    """Its output, when it ended well; ended by force, with its children, when it takes too long."""
    try:
        said, _ = process.communicate(timeout=PATIENCE)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert process.returncode == 0, said
    return said


@pytest.mark.slow
def test_killed_without_warning_and_started_again_it_ends_at_the_same_bits(bert, reference, tmp_path):
    process = start(WORKER, bert, tmp_path, STEPS)
    for line in process.stdout:
        if line.startswith("0: step 13"):
            process.kill()
            break
    process.communicate(timeout=PATIENCE)
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "model.safetensors").exists()
    said = finished(start(WORKER, bert, tmp_path, STEPS))
    assert "resuming after" in said and "0: step 0\n" not in said
    found = result(tmp_path)
    assert all(np.array_equal(found[name], values) for name, values in reference.items())


@pytest.mark.slow
def test_two_processes_end_where_one_does(bert, reference, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pair = ("-m", "torch.distributed.run", "--nproc_per_node", 2, "--master_addr", "127.0.0.1", "--master_port", port)
    said = finished(start(*pair, WORKER, bert, tmp_path, STEPS))
    assert "2 processes on cpu, 1 of" in said and f"1: step {STEPS - 1}" in said
    found = result(tmp_path)
    for name, values in reference.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-5, err_msg=name)
