"""Callbacks of training, named as in Hugging Face transformers: called at every step, they may end training or save it.

A callback observes training and never changes it: one that does nothing leaves every byte as without it. Decisions that
depend only on `TrainerState.losses` are the same after a resume, and in all processes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llmrec.data.numbers import check_number, check_whole
from llmrec.errors import DataError


@dataclass(frozen=True)
class TrainerState:
    """Where training stands.

    stage: "base", "meta" (LoRA's initialisation) or "core". global_step: optimiser steps done; in "meta" and "core" episodes.
    max_steps: planned steps. losses: one per step; for an episode the query loss after the last inner step.
    """

    stage: str
    global_step: int
    max_steps: int
    losses: Sequence[float]


@dataclass(frozen=True)
class TrainerControl:
    """Requests of a callback. should_training_stop: end this stage and keep its result; the next stage begins as usual.
    should_save: write a checkpoint now, if there is a folder for them."""

    should_training_stop: bool = False
    should_save: bool = False


class TrainerCallback:
    """Base class: override the methods that you need; by default they do nothing."""

    def on_train_begin(self, state: TrainerState) -> None:
        """Before the first step of a stage, or the first after a resume."""

    def on_log(self, state: TrainerState, logs: Mapping[str, float]) -> None:
        """After every step: "loss" and "learning_rate" in the base, "query_loss_after_K" for K inner steps in the others."""

    def on_step_end(self, state: TrainerState) -> TrainerControl | None:
        """After every step; None to go on. It is also called before the first step after a resume."""
        return None

    def on_save(self, state: TrainerState, folder: Path) -> None:
        """After a checkpoint was written to `folder`."""

    def on_train_end(self, state: TrainerState) -> None:
        """After the last step of a stage."""


@dataclass(frozen=True)
class EarlyStoppingCallback(TrainerCallback):
    """Ends a stage when its loss has stopped falling.

    early_stopping_patience: how many windows in a row may pass without a new lowest mean loss. early_stopping_threshold: by how
        much a mean must be below the lowest one to count. window: steps whose losses are averaged, because single batches are
        noisy.
    The loss is that of training batches, taken before the step that learns from them. The learning rate falls over `max_steps`,
    so training that is stopped early keeps a high one to its end: for shorter training, fewer `max_steps` are
    better.
    """

    early_stopping_patience: int = 3
    early_stopping_threshold: float = 0.0
    window: int = 25

    def __post_init__(self) -> None:
        check_whole("early_stopping_patience", self.early_stopping_patience, 1)
        check_number("early_stopping_threshold", self.early_stopping_threshold, 0)
        check_whole("window", self.window, 1)

    def on_step_end(self, state: TrainerState) -> TrainerControl | None:
        """Asks to stop at the end of the window that used up the patience."""
        windows = len(state.losses) // self.window
        if windows <= self.early_stopping_patience or len(state.losses) % self.window:
            return None
        means = np.reshape(state.losses[: windows * self.window], (windows, self.window)).mean(1)
        lowest, since = np.inf, 0
        for mean in means:
            improved = mean < lowest - self.early_stopping_threshold
            lowest, since = (mean, 0) if improved else (lowest, since + 1)
        return TrainerControl(should_training_stop=True) if since >= self.early_stopping_patience else None


@dataclass(frozen=True)
class Callbacks:
    """Several callbacks, asked one after the other, in one stage."""

    several: tuple[TrainerCallback, ...]
    stage: str
    max_steps: int

    def begin(self, losses: Sequence[float]) -> bool:
        """Whether training goes on, which after a resume may have been ended before."""
        for one in self.several:
            one.on_train_begin(self._state(losses))
        return not losses or not self._asked(losses).should_training_stop

    def step(self, losses: Sequence[float], logs: Mapping[str, float]) -> TrainerControl:
        """What is asked for after a step, by any of them."""
        for one in self.several:
            one.on_log(self._state(losses), logs)
        return self._asked(losses)

    def saved(self, losses: Sequence[float], folder: Path) -> None:
        """A checkpoint was left."""
        for one in self.several:
            one.on_save(self._state(losses), folder)

    def end(self, losses: Sequence[float]) -> None:
        """The stage is over."""
        for one in self.several:
            one.on_train_end(self._state(losses))

    def _asked(self, losses: Sequence[float]) -> TrainerControl:
        found = [one.on_step_end(self._state(losses)) for one in self.several]
        there = [control for control in found if control is not None]
        return TrainerControl(any(one.should_training_stop for one in there), any(one.should_save for one in there))

    def _state(self, losses: Sequence[float]) -> TrainerState:
        return TrainerState(self.stage, len(losses), self.max_steps, tuple(losses) if self.several else ())


def checked_callbacks(callbacks: Iterable[Any]) -> tuple[TrainerCallback, ...]:
    """The callbacks of a call. Raises DataError for what is no TrainerCallback."""
    if isinstance(callbacks, TrainerCallback) or not isinstance(callbacks, Iterable):
        raise DataError(f"callbacks is {callbacks!r}, expected a list of TrainerCallback; say [{callbacks!r}]")
    found = tuple(callbacks)
    for place, one in enumerate(found):
        if not isinstance(one, TrainerCallback):
            raise DataError(
                f"callbacks[{place}] is {one!r}, expected an object of a class that derives from TrainerCallback of "
                "llmrec.pretraining.callbacks"
            )
    return found
