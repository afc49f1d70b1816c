"""How a fit runs: in which processes, and in which folder it leaves its checkpoints and the plan that it goes on with.

plan/              what was asked for, and how many steps and episodes were decided on
base/checkpoint/   base training
meta/checkpoint/   meta-learning of LoRA's initialisation
core/checkpoint/   meta-learning of what cores share
llm/checkpoint/    the adapter of a language model
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from llmrec.data.dataset import Dataset
from llmrec.encoder.model import SlotModel
from llmrec.errors import ArtefactError, DataError
from llmrec.manifest import MANIFEST
from llmrec.pretraining.callbacks import TrainerCallback
from llmrec.pretraining.checkpoint import identity, same_run, saved
from llmrec.pretraining.processes import Processes
from llmrec.recommender.settings import Settings
from llmrec.store import located, open_folder, write_folder

KIND = "plan"
PLAN, BASE, META, CORE, LLM = "plan", "base", "meta", "core", "llm"


@dataclass(frozen=True)
class Run:
    """folder: for checkpoints; None leaves none. processes: those that train together, by default this one alone.

    save_steps, save_episodes: steps of base training and episodes of meta-learning between two checkpoints. callbacks: told of
    every step and every episode.
    """

    folder: Path | None = None
    processes: Processes = Processes()  # noqa: RUF009  (frozen)
    save_steps: int = 50
    save_episodes: int = 20
    callbacks: tuple[TrainerCallback, ...] = ()

    def part(self, name: str) -> Path | None:
        """The folder of a part, such as `BASE`; None without checkpoints."""
        return None if self.folder is None else self.folder / name


def found_done(resumed: int) -> str:
    """How many steps a run found done, for a stage's line; nothing where it began with the first."""
    return f" ({resumed} of them found done)" if resumed else ""


def checkpoint_folder(output_dir: object) -> Path | None:
    """`output_dir` of a call as a path, with `~` read as the home folder. Raises DataError for what is no path, ArtefactError
    for a file, and for a saved folder, which checkpoints would damage."""
    if output_dir is None:
        return None
    if not isinstance(output_dir, (str, Path)) or not str(output_dir):
        raise DataError(f"output_dir is {output_dir!r}, expected a path; leave it out for no checkpoints")
    folder = located(output_dir)
    if folder.exists() and not folder.is_dir():
        raise ArtefactError(f"{folder}: expected a folder for checkpoints, got a file; give another output_dir")
    if (folder / MANIFEST).exists():
        raise ArtefactError(f"{folder}: expected a folder for checkpoints, got something saved; give another output_dir")
    return folder


def planned(
    run: Run,
    model: SlotModel,
    dataset: Dataset,
    settings: Settings,
    seed: int,
    minutes: float | None,
    decide: Callable[[], Settings],
) -> Settings:
    """The settings that training goes by: those of `decide()`, or with a folder in which the same run was begun before, those
    that were decided on then, so that a run that goes on has the steps that it was begun with.

    settings, minutes: as they were asked for. decide: may choose other numbers of steps and episodes than `settings` has.
    Raises ArtefactError, naming what differs, for a folder of other data, settings, seed or minutes.
    """
    if run.folder is None:
        return decide()
    path, asked = run.folder / PLAN, _asked(model, dataset, settings, seed, minutes)
    if saved(path):
        kept = open_folder(path, KIND)
        same_run(path, kept["run"], asked)
        return replace(
            settings,
            train=replace(settings.train, max_steps=kept["max_steps"]),
            outer=replace(settings.outer, episodes=kept["episodes"]),
            core=replace(settings.core, episodes=kept["core_episodes"]),
        )
    decided = decide()
    if run.processes.main:
        counts = {"episodes": decided.outer.episodes, "core_episodes": decided.core.episodes}
        write_folder(path, lambda _: None, KIND, {"run": asked, "max_steps": decided.train.max_steps, **counts})
    return decided


def _asked(model: SlotModel, dataset: Dataset, settings: Settings, seed: int, minutes: float | None) -> Mapping[str, Any]:
    """What makes a fit this one and no other, as flat JSON: what a person gave, and then SHA-256 of the data."""
    data = identity(model, dataset, np.arange(dataset.n_users), settings.train, seed)
    counts = {name: data[name] for name in ("users", "items", "events")}
    given = {"seed": seed, "minutes": minutes, **_flat(asdict(settings))}
    hashes = {name: data[name] for name in ("data", "catalogue", "texts", "weights")}
    return json.loads(json.dumps({**counts, **given, **hashes}))


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return found
