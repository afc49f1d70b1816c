"""Callbacks: they see every step and change none; what they end stays ended after a resume."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from llmrec.adapters.lora import Adapter, init_lora
from llmrec.encoder.train import Shard
from llmrec.errors import DataError
from llmrec.meta.inner import initialisation
from llmrec.meta.outer import Episode, OuterSettings
from llmrec.meta.resumable import meta_learn
from llmrec.pretraining.callbacks import (
    EarlyStoppingCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    checked_callbacks,
)
from llmrec.pretraining.loop import pretrain


class Diary(TrainerCallback):
    """Writes down what it is told; asks to stop after a step, and to save after another."""

    def __init__(self, stop: int = -1, save: int = -1) -> None:
        self.stop, self.save, self.lines = stop, save, []

    def on_train_begin(self, state):
        self.lines.append(("begin", state.global_step))

    def on_log(self, state, logs):
        self.lines.append(("log", state.global_step, *sorted(logs)))

    def on_step_end(self, state):
        if state.global_step in (self.stop, self.save):
            return TrainerControl(state.global_step == self.stop, state.global_step == self.save)
        return None

    def on_save(self, state, folder):
        self.lines.append(("save", state.global_step, folder.name))

    def on_train_end(self, state):
        self.lines.append(("end", state.global_step, len(state.losses), state.max_steps, state.stage))


def base(run, folder=None, *callbacks, steps=4, save_every=50):
    model = run.model()
    settings = replace(run.settings, max_steps=steps)
    done = pretrain(
        model,
        run.dataset,
        run.users,
        settings,
        run.seed,
        folder,
        save_every=save_every,
        say=lambda _: None,
        callbacks=callbacks,
    )
    return [value.clone() for value in model.state_dict().values()], done


def episode_at(number: int, share: Shard) -> tuple[Episode, float]:
    generator = torch.Generator().manual_seed(number)
    x, y = torch.randn(2, 4, 5, 3, generator=generator), torch.randn(2, 4, 5, 4, generator=generator)

    def loss(adapter: Adapter) -> tuple[torch.Tensor, torch.Tensor]:
        a, b = adapter.leaves()
        error = (x @ a.transpose(1, 2) @ b.transpose(1, 2) - y).square().mean((2, 3))
        return error[0], error[1]

    return Episode(4, loss), 1.0


def meta(folder=None, *callbacks):
    init = initialisation(init_lora({"layer": (3, 4)}, 2, 1.0, torch.Generator().manual_seed(0), 0.3), 2, 0.1)
    learned = meta_learn(init, episode_at, OuterSettings(episodes=6), {"data": "these"}, folder, callbacks=callbacks)
    return [leaf.clone() for leaf in learned.init.adapter.leaves()], learned


def equal(some, others) -> bool:
    return all(torch.equal(one, other) for one, other in zip(some, others, strict=True))


def test_one_that_does_nothing_leaves_the_same_bytes(tiny_run):
    assert equal(base(tiny_run)[0], base(tiny_run, None, TrainerCallback(), Diary())[0])
    assert equal(meta()[0], meta(None, TrainerCallback(), Diary())[0])


def test_every_step_and_every_save_is_told(tiny_run, tmp_path):
    diary, other = Diary(save=1), Diary()
    base(tiny_run, tmp_path / "base", diary, steps=3)
    logs = ("learning_rate", "loss")
    assert diary.lines == [
        ("begin", 0),
        ("log", 1, *logs),
        ("save", 1, "checkpoint"),
        ("log", 2, *logs),
        ("log", 3, *logs),
        ("save", 3, "checkpoint"),
        ("end", 3, 3, 3, "base"),
    ]
    meta(None, other)
    assert other.lines[1] == ("log", 1, "query_loss_after_0", "query_loss_after_1", "query_loss_after_2")
    assert len(other.lines) == 8 and other.lines[-1] == ("end", 6, 6, 6, "meta")


def test_what_was_ended_stays_ended_after_a_resume(tiny_run, tmp_path):
    found, done = base(tiny_run, tmp_path / "base", Diary(stop=2))
    assert len(done.losses) == 2
    again, resumed = base(tiny_run, tmp_path / "base", Diary(stop=2))
    assert equal(again, found) and (resumed.resumed, len(resumed.losses)) == (2, 2)
    on, more = base(tiny_run, tmp_path / "base")  # without it the same run goes on to its end
    assert len(more.losses) == 4 and equal(on, base(tiny_run)[0])

    adapter, learned = meta(tmp_path / "meta", Diary(stop=4))
    assert len(learned.losses) == 4
    same, after = meta(tmp_path / "meta", Diary(stop=4))
    assert equal(adapter, same) and (after.resumed, len(after.losses)) == (4, 4)
    assert equal(meta(tmp_path / "meta")[0], meta()[0])


def stops(losses, **patience) -> int | None:
    """The step after which early stopping ends training with these losses."""
    callback = EarlyStoppingCallback(window=2, **patience)
    for step in range(1, len(losses) + 1):
        control = callback.on_step_end(TrainerState("base", step, 100, tuple(losses[:step])))
        if control is not None:
            assert control.should_training_stop
            return step
    return None


def test_training_ends_where_the_loss_has_stopped_falling():
    falling, flat = np.linspace(5, 3, 20), np.full(20, 3.0)
    assert stops([*falling], early_stopping_patience=1) is None
    assert stops([*falling, *flat], early_stopping_patience=2) == 20 + 2 * 3  # the first window at 3 is the lowest yet
    assert stops([*falling, *flat], early_stopping_patience=4) == 20 + 2 * 5
    assert stops([*falling], early_stopping_patience=1, early_stopping_threshold=0.3) == 4  # .21 lower a window is too little


def test_what_is_no_callback_is_refused():
    with pytest.raises(
        DataError, match=r"callbacks\[1\] is 3, expected an object of a class that derives from TrainerCallback"
    ):
        checked_callbacks([TrainerCallback(), 3])
    with pytest.raises(DataError, match="expected a list of TrainerCallback"):
        checked_callbacks(TrainerCallback())
    with pytest.raises(DataError, match="early_stopping_patience"):
        EarlyStoppingCallback(early_stopping_patience=0)
