"""Meta-learning, in one process or several, resumable where it has a folder for checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic

import numpy as np
import torch

from llmrec.encoder.train import Shard
from llmrec.errors import ArtefactError
from llmrec.meta.inner import Initialisation, V
from llmrec.meta.outer import Episode, MetaState, OuterSettings, finalize, init_state, train_step
from llmrec.pretraining.callbacks import Callbacks, TrainerCallback
from llmrec.pretraining.checkpoint import MOMENTS, held, same_run, saved
from llmrec.pretraining.processes import Processes
from llmrec.store import load_arrays, read_folder, save_arrays, write_folder

KIND = "meta-learning"
ARRAYS = "learning.safetensors"
EpisodeAt = Callable[[int, Shard], tuple[Episode[V], float]]
"""Number of an episode, process -> the process's part of its tasks, and which share of all its tasks that is. It draws from
nothing but the number and a seed of its own, so that a run that goes on meets what it would have met."""


@dataclass(frozen=True)
class Learned(Generic[V]):
    """losses: mean query loss of every episode after each number of steps. resumed: how many episodes were found done."""

    init: Initialisation[V]
    losses: list[list[float]]
    resumed: int


def meta_learn(
    init: Initialisation[V],
    episode_at: EpisodeAt[V],
    settings: OuterSettings,
    run: Mapping[str, Any],
    folder: Path | None = None,
    processes: Processes = Processes(),  # noqa: B008  (frozen)
    save_every: int = 20,
    watch: Callable[[int, list[float]], None] | None = None,
    callbacks: tuple[TrainerCallback, ...] = (),
    stage: str = "meta",
) -> Learned[V]:
    """`meta_train`, from `folder/checkpoint` on if there is one; all processes call this with the same arguments.

    folder: where checkpoints are left; None leaves none, and a run begins anew.
    run: what makes this run this run and no other, as flat JSON; `settings` are added. watch: told the episode's number and its
        losses. callbacks: told of every episode of this `stage`; all processes must end it after the same one.

    On a CPU a run that was killed ends at the values of one that was not, bit for bit, with the same number of processes and
    threads. Raises ArtefactError for a checkpoint that is damaged or of another run, and while another process learns into
    `folder`.
    """
    learning, path = init_state(init, settings), None if folder is None else folder / "checkpoint"
    run = {**run, **asdict(settings), "steps": init.steps}
    with nullcontext() if folder is None or not processes.main else held(folder):
        with processes.main_first():
            if path is not None and saved(path):
                _restore(path, learning, run)
        resumed = len(learning.losses)
        told = Callbacks(callbacks, stage, settings.episodes)
        going = told.begin(_last(learning))
        for i in range(resumed, settings.episodes) if going else ():
            episode, part = episode_at(i, processes.share)
            losses = train_step(learning, episode, settings, processes.share, part)
            logs = {f"query_loss_after_{k}": loss for k, loss in enumerate(losses)}
            if processes.main:
                processes.log(logs, i)
            if watch is not None:
                watch(i, losses)
            control = told.step(_last(learning), logs)
            last = i + 1 == settings.episodes or control.should_training_stop
            if path is not None and ((i + 1) % save_every == 0 or last or control.should_save):
                if processes.main:
                    _save(path, learning, run)
                processes.wait()
                told.saved(_last(learning), path)
            if last:
                break
        told.end(_last(learning))
    return Learned(finalize(learning), learning.losses, resumed)


def _last(learning: MetaState[V]) -> list[float]:
    """The query loss of every episode after its last inner step."""
    return [losses[-1] for losses in learning.losses]


def _save(path: Path, learning: MetaState[V], run: Mapping[str, Any]) -> None:
    """Save atomically; an older save is replaced."""
    arrays = {"losses": np.array(learning.losses, np.float64)}
    for number, tensor in enumerate(learning.tensors):
        arrays[f"tensor.{number}"] = tensor.detach().cpu().numpy()
        moments = learning.optimiser.state.get(tensor, {})
        arrays |= {f"adam.{key}.{number}": value.detach().cpu().numpy() for key, value in moments.items()}
    write_folder(path, lambda to: save_arrays(to / ARRAYS, arrays), KIND, {"run": dict(run)})


def _restore(path: Path, learning: MetaState[V], run: Mapping[str, Any]) -> None:
    """Put what was saved into a fresh start of the same run. Raises ArtefactError where a byte has changed, or the run."""
    meta, saved = read_folder(path, KIND, lambda folder, meta: (meta, load_arrays(folder / ARRAYS)))
    same_run(path, meta["run"], run)
    arrays = {name: torch.from_numpy(values) for name, values in saved.items()}
    for number, tensor in enumerate(learning.tensors):
        kept = arrays[f"tensor.{number}"]
        if kept.shape != tensor.shape:
            raise ArtefactError(
                f"{path}: tensor {number} was {tuple(kept.shape)} and is {tuple(tensor.shape)}: give the base that the run "
                "began with, or another folder for a new run"
            )
        tensor.data.copy_(kept)
        moments = {key: arrays[f"adam.{key}.{number}"] for key in MOMENTS if f"adam.{key}.{number}" in arrays}
        if moments:  # Adam counts its steps on the CPU
            on = {key: value if key == "step" else value.to(tensor.device) for key, value in moments.items()}
            learning.optimiser.state[tensor] = on
    learning.losses[:] = arrays["losses"].tolist()
