"""The only module that imports accelerate: the process's number, its device, and operations over all processes."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

from llmrec.encoder.train import SINGLE_PROCESS, Shard
from llmrec.errors import DataError, MissingExtraError

# Tracker -> modules of which one is needed; accelerate would leave a tracker out without a word.
TRACKERS = {"tensorboard": ("tensorboard", "tensorboardX"), "wandb": ("wandb",), "trackio": ("trackio",)}
PATIENCE = timedelta(
    hours=2
)  # others wait while the first encodes the catalogue; one that died is noticed at once all the same


def _nothing(*_: object) -> None:
    pass


@dataclass(frozen=True)
class Processes:
    """This process among those that train together; by default it is the only one, on the CPU, and accelerate is not needed.

    share: its part of every batch. device: in torch's terms. wait: returns when all have called it.
    log: told numbers by name and the step; on the first process only. close: ends tracking and the talk between processes.
    """

    share: Shard = SINGLE_PROCESS
    device: str = "cpu"
    wait: Callable[[], None] = _nothing
    log: Callable[[Mapping[str, float], int], None] = _nothing
    close: Callable[[], None] = _nothing

    @property
    def main(self) -> bool:
        """Whether this is the one that writes files and lines."""
        return self.share.rank == 0

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """A block that the main process does alone before all others do it, so that they find what it has left on the disk."""
        if not self.main:
            self.wait()
        yield
        if self.main:
            self.wait()


def launch(cpu: bool, report_to: str, folder: Path, config: Mapping[str, Any]) -> Processes:
    """The processes as `accelerate launch` or `torchrun` started them; one if neither did.

    cpu: even where there is a GPU. report_to: none, tensorboard, wandb or trackio; tensorboard writes into `folder`.
    config: flat settings, for the tracker.
    Raises MissingExtraError without accelerate or the tracker, DataError for another tracker or processes that cannot meet.
    """
    if report_to != "none" and report_to not in TRACKERS:
        raise DataError(f"report_to is {report_to!r}; expected none, {', '.join(TRACKERS)}")
    if report_to != "none" and not any(importlib.util.find_spec(module) for module in TRACKERS[report_to]):
        raise MissingExtraError(f"reporting to {report_to} needs a package that is not installed: pip install {report_to}")
    try:
        from accelerate import Accelerator, InitProcessGroupKwargs  # type: ignore[import-untyped]
    except ModuleNotFoundError as error:
        raise MissingExtraError("training in processes needs accelerate: pip install 'llmrec[training]'") from error
    started = int(os.environ.get("WORLD_SIZE", "1"))
    # Told nothing, accelerate takes each of several processes on a machine without a GPU for the only one.
    accelerator = Accelerator(
        cpu=cpu or not _several_can_use_it(started),
        log_with=None if report_to == "none" else report_to,
        project_dir=str(folder),
        kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
    )
    world = accelerator.num_processes
    if world != started:
        raise DataError(
            f"{started} processes were started, but accelerate brings {world} together on {accelerator.device}; add --cpu"
        )
    if report_to != "none":
        plain = {name: value if isinstance(value, (bool, int, float, str)) else str(value) for name, value in config.items()}
        accelerator.init_trackers("pretrain", plain)
    share = Shard(accelerator.process_index, world, accelerator.reduce if world > 1 else None)
    return Processes(
        share,
        "cpu" if accelerator.device.type == "cpu" else str(accelerator.device),  # not cpu:0, as several would have it
        accelerator.wait_for_everyone,
        lambda values, step: accelerator.log(dict(values), step=step),
        accelerator.end_training,
    )


def described(processes: Processes) -> list[str]:
    """A line that says what runs where, and a labelled one when threads stand idle, with the option that mends it."""
    world, threads, cores = processes.share.world, torch.get_num_threads(), _cores()
    here = int(os.environ.get("LOCAL_WORLD_SIZE", world))
    lines = [f"{world} process{'es' * (world > 1)} on {processes.device}, {threads} of {cores} CPU threads each"]
    if processes.device == "cpu" and threads * here < cores:
        lines.append(f"WARNING: {cores - threads * here} of {cores} CPU threads stand idle; {_remedy(cores // here)}")
    return lines


def _several_can_use_it(started: int) -> bool:
    """Whether there is an accelerator, and one that several processes can talk over."""
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return found is not None and (started == 1 or found.type != "mps")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _remedy(threads: int) -> str:
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return f"say OMP_NUM_THREADS={threads} torchrun ..."
    if "ACCELERATE_MIXED_PRECISION" in os.environ:
        return f"say accelerate launch --num_cpu_threads_per_process {threads} ..."
    return f"say OMP_NUM_THREADS={threads}"
