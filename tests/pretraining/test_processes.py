from __future__ import annotations

import importlib.util
import sys

import pytest
import torch

from llmrec.encoder.train import Shard
from llmrec.errors import DataError, MissingExtraError
from llmrec.pretraining import processes
from llmrec.pretraining.processes import Processes, described, launch


def test_one_alone_is_the_main_one_and_waits_for_nobody():
    alone = Processes()
    with alone.main_first():
        pass
    assert alone.main and alone.share == Shard(0, 1, None)
    assert not Processes(Shard(1, 2)).main


@pytest.mark.parametrize(("rank", "order"), [(0, ["work", "wait"]), (1, ["wait", "work"])])
def test_the_main_process_comes_first(rank, order):
    done = []
    with Processes(Shard(rank, 2), wait=lambda: done.append("wait")).main_first():
        done.append("work")
    assert done == order


def test_a_tracker_that_is_not_installed_is_named_with_its_command(monkeypatch, tmp_path):
    find = importlib.util.find_spec
    without = lambda name, *rest: None if name in ("trackio", "wandb", "tensorboard", "tensorboardX") else find(name, *rest)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", without)
    for tracker in ("tensorboard", "wandb", "trackio"):
        with pytest.raises(MissingExtraError, match=f"pip install {tracker}"):
            launch(True, tracker, tmp_path, {})
    with pytest.raises(DataError, match="report_to is 'all'; expected none, tensorboard, wandb, trackio"):
        launch(True, "all", tmp_path, {})


def test_without_accelerate_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'llmrec\[training\]'"):
        launch(True, "none", tmp_path, {})


@pytest.mark.parametrize(
    ("by", "said"),
    [
        ("TORCHELASTIC_RUN_ID", "say OMP_NUM_THREADS=4 torchrun"),
        ("ACCELERATE_MIXED_PRECISION", "say accelerate launch --num_cpu_threads_per_process 4 "),
        (None, "say OMP_NUM_THREADS=4"),
    ],
)
def test_idle_threads_are_told_with_the_option_that_mends_it(monkeypatch, by, said):
    for name in ("TORCHELASTIC_RUN_ID", "ACCELERATE_MIXED_PRECISION", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    if by:
        monkeypatch.setenv(by, "x")
    monkeypatch.setattr(processes, "_cores", lambda: 8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    line, warning = described(Processes(Shard(0, 2)))
    assert line == "2 processes on cpu, 3 of 8 CPU threads each"
    assert warning.startswith("WARNING: 2 of 8 CPU threads stand idle; " + said)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    assert len(described(Processes(Shard(0, 2)))) == 1
    assert described(Processes(device="cuda")) == ["1 process on cuda, 4 of 8 CPU threads each"]  # there they may idle
