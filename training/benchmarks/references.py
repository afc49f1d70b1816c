"""The reference of a benchmark: the recommender trained also on the data that the benchmark holds back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.controls import families, tune
from benchmarks.protocol import Benchmark, Method, Part, Reference
from benchmarks.shipped import fit, method_of
from llmrec.data.tasks import Tasks
from llmrec.errors import DataError
from llmrec.models.popularity import Baseline


@dataclass(frozen=True)
class Folded:
    """Each task is scored by the model of its own fold.

    splits: int64, `Tasks.split` of the tasks of each fold, over one dataset. controls: of the folds.
    """

    name: str
    splits: tuple[np.ndarray, ...]
    controls: tuple[Baseline, ...]

    def scores(self, tasks: Tasks) -> np.ndarray:
        """float32 (T, N). Raises DataError for a task of no fold."""
        found = np.empty((len(tasks), tasks.dataset.n_items), np.float32)
        left = np.ones(len(tasks), bool)
        for split, control in zip(self.splits, self.controls, strict=True):
            rows = np.flatnonzero(np.isin(tasks.split, split))
            if len(rows):
                found[rows] = control.scores(tasks.take(rows))
            left[rows] = False
        if left.any():
            raise DataError(f"{self.name}: expected tasks of its folds, got {left.sum()} of {len(left)} that are in none")
        return found


def fit_reference(
    reference: Reference,
    settings: str,
    seed: int,
    part: Part,
    minutes: float | None = None,
    checkpoints: Path | None = None,
) -> Method:
    """The recommender, called `NAME, LABEL`, fitted fold by fold. Arguments as of `shipped.fit`; each fold has a folder of its
    own in `checkpoints`."""
    folders = [None if checkpoints is None else checkpoints / f"fold-{number}" for number in range(len(reference.folds))]
    several = [fit(fold, settings, seed, part, minutes, folder) for fold, folder in zip(reference.folds, folders, strict=True)]
    return _one(f"{method_of(settings, minutes)[0]}, {reference.label}", reference.folds, several, part)


def tuned_reference(reference: Reference, part: Part) -> Iterator[Method]:
    """The controls that a reference names, each called `CONTROL, LABEL`, tuned on the folds as `tune` does it."""
    for name in reference.controls:
        several = []
        for fold in reference.folds:
            (family,) = (family for family in families(fold) if family.name == name)
            method = tune(fold, family, part == "test")
            assert method is not None  # a reference names no control that makes no sense there
            several.append(method)
        yield _one(f"{name}, {reference.label}", reference.folds, several, part)


def _one(label: str, folds: Sequence[Benchmark], methods: Sequence[Method], part: Part) -> Method:
    """The methods of all folds as one. Its constants are those of the first fold."""
    by_setting = dict(methods[0].by_setting)
    if len(folds) > 1:
        for setting in folds[0].settings:
            splits = tuple(fold.setting(setting.name).asked(part).split for fold in folds)
            by_setting[setting.name] = Folded(label, splits, tuple(method.by_setting[setting.name] for method in methods))
    return Method(label, "reference", by_setting, sum(method.seconds for method in methods), methods[0].constants)
