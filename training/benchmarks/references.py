"""What our method comes to where it may train on what a benchmark holds back: the mark that the benchmark is held against."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.controls import families, tune
from benchmarks.ours import fit
from benchmarks.protocol import Benchmark, Method, Reference
from benchmarks.recipes import Fit, Recipe
from llmrec.data.tasks import Tasks
from llmrec.errors import DataError
from llmrec.models.popularity import Baseline
from llmrec.progress import Stages


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


def fit_reference(reference: Reference, recipe: Callable[[str], Recipe], name: str, how: Fit, stages: Stages) -> list[Method]:
    """The whole chain, called `NAME, LABEL`, and the base alone, fitted as `ours.fit` does it, fold by fold.

    recipe: of a fold, by its benchmark's name. name: of the method that is held against it. The rest as for `ours.fit`.
    """
    several = []
    for number, fold in enumerate(reference.folds):
        with stages(f"{name}, {reference.label}", f"fold {number + 1} of {len(reference.folds)}"):
            here = replace(how, folder=how.folder / f"fold-{number}")
            several.append(fit(fold, recipe(fold.name), here, stages)[:2])
    called = f"{name}, {reference.label}"
    labels = called, f"{called}, transformer alone"
    return [
        _one(label, reference.folds, each, how.final) for label, each in zip(labels, zip(*several, strict=True), strict=True)
    ]


def tuned_reference(reference: Reference, final: bool) -> Iterator[Method]:
    """The controls that a reference names, each called `CONTROL, LABEL`, tuned on the folds as `tune` does it."""
    for name in reference.controls:
        several = []
        for fold in reference.folds:
            (family,) = (family for family in families(fold) if family.name == name)
            method = tune(fold, family, final)
            assert method is not None  # a reference names no control that makes no sense there
            several.append(method)
        yield _one(f"{name}, {reference.label}", reference.folds, several, final)


def _one(label: str, folds: Sequence[Benchmark], methods: Sequence[Method], final: bool) -> Method:
    """The methods of all folds as one. Its constants are those of the first fold."""
    by_setting = dict(methods[0].by_setting)
    if len(folds) > 1:
        for setting in folds[0].settings:
            splits = tuple(fold.setting(setting.name).asked("test" if final else "validation").split for fold in folds)
            by_setting[setting.name] = Folded(label, splits, tuple(method.by_setting[setting.name] for method in methods))
    return Method(label, "reference", by_setting, sum(method.seconds for method in methods), methods[0].constants)
