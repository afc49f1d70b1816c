"""What each method came to for every task, kept on disk, so that runs of several sessions add up to one report.

One folder a run: `FOLDER/PART/METHOD/seed-S` with the values as safetensors, hashed by `llmrec.store`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from benchmarks.protocol import Benchmark, Part
from llmrec.errors import ArtefactError
from llmrec.store import load_arrays, open_folder, read_folder, save_arrays, write_folder

KIND = "benchmark run"
_VALUES = "values.safetensors"


@dataclass(frozen=True)
class Run:
    """One method with one seed, measured.

    values: setting -> metric -> float64 (T,). keys: setting -> what was ranked and a hash of who was asked what.
    seconds: setting -> of fitting and of scoring it. constants: setting -> what was chosen on validation, in words.
    seed: None for a method without one.
    """

    benchmark: str
    method: str
    role: str
    seed: int | None
    part: Part
    values: Mapping[str, Mapping[str, np.ndarray]]
    keys: Mapping[str, str]
    seconds: Mapping[str, float]
    constants: Mapping[str, str]


def save_run(folder: str | Path, run: Run) -> Path:
    """Keep a run; one of the same method, seed and part is replaced. Returns where it is.

    Raises ArtefactError where another method, whose name differs in signs only, has that place.
    """
    seed = "no-seed" if run.seed is None else f"seed-{run.seed}"
    place = Path(folder) / run.part / re.sub(r"[^A-Za-z0-9]+", "-", run.method).strip("-").lower() / seed
    if place.exists() and (there := open_folder(place, KIND)["method"]) != run.method:
        raise ArtefactError(f"{place}: expected a run of {run.method!r}, got one of {there!r}; rename one of the two")
    names = ("benchmark", "method", "role", "seed", "part", "keys", "seconds", "constants")
    meta = {name: getattr(run, name) for name in names}
    meta["metrics"] = {setting: list(metrics) for setting, metrics in run.values.items()}
    arrays = {f"{s}/{m}": np.asarray(v, np.float64) for s, metrics in run.values.items() for m, v in metrics.items()}
    write_folder(place, lambda fresh: save_arrays(fresh / _VALUES, arrays), KIND, meta)
    return place


def load_run(place: str | Path) -> Run:
    """A run as it was saved. Raises ArtefactError for a folder that is none or has changed since."""
    meta, arrays = read_folder(place, KIND, lambda folder, meta: (meta, load_arrays(folder / _VALUES)))
    metrics = meta.pop("metrics")
    return Run(values={setting: {m: arrays[f"{setting}/{m}"] for m in names} for setting, names in metrics.items()}, **meta)


def load_runs(folder: str | Path, benchmark: Benchmark, part: Part) -> list[Run]:
    """All runs of a part that are there, by method and seed.

    Raises ArtefactError, naming the run, where one was measured on other tasks than those of `benchmark` today.
    """
    runs, today = [], {setting.name: setting.key(part) for setting in benchmark.settings}
    for place in sorted((Path(folder) / part).glob("*/*")):
        if place.name.startswith("."):
            continue  # of a save that was killed
        run = load_run(place)
        for name, key in run.keys.items():
            if run.benchmark != benchmark.name or key != today.get(name):
                raise ArtefactError(
                    f"{place}: expected a run of {benchmark.name}, {name}, on {today.get(name)}, got {run.benchmark} on {key}: "
                    "the data or the protocol changed since; remove the folder and run the method again"
                )
        runs.append(run)
    return sorted(runs, key=lambda run: (run.method, -1 if run.seed is None else run.seed))


def seed_numbers(_: click.Context, __: click.Parameter, value: str) -> tuple[int, ...]:
    """Seeds of a command line, "0,1,2", each once, as click's callback. Raises click.BadParameter for anything else."""
    try:
        return tuple(dict.fromkeys(int(seed) for seed in value.split(",")))
    except ValueError as error:
        raise click.BadParameter(f"expected whole numbers such as 0,1,2, got {value!r}") from error
