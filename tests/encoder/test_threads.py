"""Threads by the size of the work, and the waiting that `import llmrec` sets."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

from llmrec.encoder import train as base
from llmrec.encoder.threads import PER_THREAD, spinning_note, threads_for
from llmrec.encoder.train import TrainSettings, train


@pytest.fixture(autouse=True)
def _four():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("work", "threads"), [(0, 1), (1.9, 1), (2, 2), (3.5, 3), (4, 4), (1e6, 4)])
def test_one_thread_for_each_part_of_the_work_and_never_more_than_there_are(work, threads):
    with threads_for(work * PER_THREAD) as count:
        assert count == torch.get_num_threads() == threads
    assert torch.get_num_threads() == 4


def test_the_number_is_restored_after_an_error():
    with pytest.raises(ZeroDivisionError), threads_for(0):
        _ = 1 / 0
    assert torch.get_num_threads() == 4


def test_an_inner_block_takes_no_more_than_the_outer_one_and_gives_it_its_threads_back():
    with threads_for(2 * PER_THREAD):
        with threads_for(0):
            assert torch.get_num_threads() == 1
        with threads_for(9 * PER_THREAD) as count:
            assert count == 2
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == 4


def test_python_threads_that_are_inside_together_leave_the_number_as_it_was():
    """The second one enters while the first is inside, and leaves after it."""
    first_in, second_in, first_out = (threading.Event() for _ in range(3))
    seen: dict[str, int] = {}

    def first() -> None:
        with threads_for(0):
            first_in.set()
            assert second_in.wait(10)
        first_out.set()

    def second() -> None:
        assert first_in.wait(10)
        with threads_for(9 * PER_THREAD) as count:
            seen["inside"] = count
            second_in.set()
            assert first_out.wait(10)
        seen["after"] = torch.get_num_threads()

    def later() -> None:
        seen["new thread"] = torch.get_num_threads()

    for run in ([first, second], [later]):
        threads = [threading.Thread(target=work) for work in run]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert seen == {"inside": 4, "after": 4, "new thread": 4} and torch.get_num_threads() == 4


def test_small_training_steps_take_one_thread(slot_model, random_shop, monkeypatch):
    seen, real = [], base.window_loss

    def spy(*args):
        seen.append(torch.get_num_threads())
        return real(*args)

    monkeypatch.setattr(base, "window_loss", spy)
    settings = TrainSettings(
        max_steps=1, batch_size=4, max_slots=6, horizon=1, known=(1, 3), learning_rate=3e-4, dropout=0.0, ema_decay=0.0
    )
    train(slot_model, random_shop, np.arange(10), settings, np.random.default_rng(0))
    monkeypatch.setattr(type(slot_model), "multiplications", lambda *_: 3 * PER_THREAD)
    train(slot_model, random_shop, np.arange(10), settings, np.random.default_rng(0))
    assert seen == [1, 3]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "first", "found"),
    [
        ({}, "", "20000"),
        ({"GOMP_SPINCOUNT": "7"}, "", "7"),
        ({"OMP_WAIT_POLICY": "active"}, "", "None"),
        ({}, "import torch; ", "None"),
    ],
)
def test_threads_spin_briefly_unless_the_user_chose_or_torch_was_first(given, first, found):
    environment = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    script = f"{first}import os, llmrec; print(os.environ.get('GOMP_SPINCOUNT'))"
    done = subprocess.run([sys.executable, "-c", script], env=environment | given, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [found]


@pytest.mark.skipif(sys.platform != "linux", reason="GNU OpenMP is used on Linux")
@pytest.mark.parametrize(
    ("variables", "load", "threads", "noted"),
    [({}, 1e6, 4, True), ({}, 0.5, 4, False), ({"GOMP_SPINCOUNT": "1"}, 1e6, 4, False), ({}, 1e6, 1, False)],
)
def test_long_spinning_is_noted_on_a_busy_machine_alone(monkeypatch, variables, load, threads, noted):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    torch.set_num_threads(threads)
    assert (spinning_note() is not None) == noted


@pytest.mark.skipif(sys.platform != "linux", reason="GNU OpenMP is used on Linux")
def test_without_a_load_average_nothing_is_noted(monkeypatch):
    def none():
        raise OSError("not available")

    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getloadavg", none)
    assert spinning_note() is None
