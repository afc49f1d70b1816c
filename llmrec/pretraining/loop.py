"""Base training, in one process or several, resumable where it has a folder for checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from llmrec.data.dataset import Dataset
from llmrec.encoder.model import SlotModel
from llmrec.encoder.train import Training, TrainSettings, check_loss, finalize, init_state, train_step
from llmrec.errors import ArtefactError, DataError
from llmrec.pretraining.callbacks import Callbacks, TrainerCallback
from llmrec.pretraining.checkpoint import Effort, held, identity, restore, save, saved
from llmrec.pretraining.processes import Processes


@dataclass(frozen=True)
class Pretrained:
    """What a run did. losses: of every step from the first on. resumed: how many of the steps it found done.
    seconds: wall-clock time of all steps, also of those before a kill, as far as they were saved. operations: floating-point
    operations of the matrix products of this process's first step, forward and backward; 0 without a step."""

    losses: list[float]
    resumed: int
    seconds: float
    operations: int = 0


def pretrain(
    model: SlotModel,
    dataset: Dataset,
    users: np.ndarray,
    settings: TrainSettings,
    seed: int,
    folder: Path | None,
    processes: Processes = Processes(),  # noqa: B008  (frozen)
    save_every: int = 50,
    watch: Callable[[int, float], None] | None = None,
    say: Callable[[str], None] = print,
    callbacks: tuple[TrainerCallback, ...] = (),
) -> Pretrained:
    """Train `model` in place, from `folder/checkpoint` on if there is one; all processes call this with the same arguments.

    folder: where checkpoints are left; None leaves none, and a run begins anew.
    save_every: steps between two saves; the last step is saved too. watch: told the step and its loss. say: told, on the main
    process, that a run goes on, and when it cannot repeat its bits. callbacks: told of every step; all processes must end
    training after the same step.

    On a CPU a run that was killed ends at the weights of one that was not, bit for bit, with the same number of processes and
    threads. Raises ArtefactError for a checkpoint that is damaged or of another run, and while another process trains into
    `folder`; DataError for a batch too small to share, and for training that diverges.
    """
    share = processes.share
    if settings.batch_size < share.world:
        raise DataError(
            f"a batch of {settings.batch_size} cannot be shared by {share.world} processes; start fewer, or raise it"
        )
    if save_every < 1:
        raise DataError(f"save_every is {save_every}; expected at least 1 step")
    training = init_state(model, settings)
    run = {} if folder is None else identity(model, dataset, users, settings, seed)
    with nullcontext() if folder is None or not processes.main else held(folder):
        path = None if folder is None else folder / "checkpoint"
        effort = Effort(processes=share.world, threads=torch.get_num_threads())
        with processes.main_first():
            if path is not None and saved(path):
                before = restore(path, training, run)
                effort = replace(effort, seconds=before.seconds)
                for line in _told(training, before, effort, settings.max_steps) if processes.main else ():
                    say(line)
        resumed = training.step
        _agree(training, processes)
        operations, told = 0, Callbacks(callbacks, "base", settings.max_steps)
        going = told.begin(training.losses)
        while going and training.step < settings.max_steps:
            began = time.perf_counter()
            step = training.step
            with FlopCounterMode(display=False) if step == resumed else nullcontext() as counter:
                loss = train_step(training, dataset, users, settings, seed, share)
            if counter is not None:
                operations = counter.get_total_flops()
            check_loss(training)
            seconds = time.perf_counter() - began
            effort = replace(effort, seconds=effort.seconds + seconds)
            logs = {"loss": loss, "learning_rate": training.optimiser.param_groups[0]["lr"]}
            if processes.main:
                processes.log({**logs, "windows_per_second": settings.batch_size / seconds}, step)
            if watch is not None:
                watch(step, loss)
            control = told.step(training.losses, logs)
            going = not control.should_training_stop
            last = training.step == settings.max_steps or not going
            if path is not None and (training.step % save_every == 0 or last or control.should_save):
                if processes.main:
                    save(path, training, run, effort)
                processes.wait()
                told.saved(training.losses, path)
        told.end(training.losses)
    finalize(training)
    return Pretrained(training.losses, resumed, effort.seconds, operations)


def _told(training: Training, before: Effort, now: Effort, steps: int) -> list[str]:
    lines = [f"resuming after {training.step} steps, {before.seconds:.0f} s of training"]
    if training.step < steps and (before.processes, before.threads) != (now.processes, now.threads):
        lines.append(
            f"NOTE: saved by {before.processes} processes of {before.threads} threads, now {now.processes} of {now.threads}: "
            "the weights will agree within rounding, not bit for bit"
        )
    return lines


def _agree(training: Training, processes: Processes) -> None:
    """All begin from the main process's weights and number type, at one step. Raises ArtefactError where the steps differ."""
    reduce = processes.share.reduce
    if reduce is None:
        return
    device = processes.device
    if (steps := reduce(torch.tensor([float(training.step)], device=device)).item()) != training.step * processes.share.world:
        raise ArtefactError(
            f"this process found {training.step} steps done, the average process {steps / processes.share.world:g}: give a "
            "folder that all processes see"
        )
    fast = reduce(torch.tensor([float(processes.main and training.dtype == torch.bfloat16)], device=device)).item()
    training.dtype = torch.bfloat16 if fast else torch.float32
    for value in [*training.model.state_dict().values(), *(training.ema or {}).values()]:
        if value.is_floating_point():
            value.copy_(reduce(value if processes.main else torch.zeros_like(value)))
