"""Laws of a reference: each task is scored by the model of its fold, and the parts are put together as one method."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from benchmarks import references
from benchmarks.protocol import Benchmark, Method, Reference, Setting, first_known
from benchmarks.recipes import Fit
from benchmarks.references import Folded, fit_reference, tuned_reference
from llmrec.data.tasks import Tasks
from llmrec.errors import DataError
from llmrec.progress import Stages


@dataclass(frozen=True)
class Says:
    """One number for everything."""

    number: float
    name: str = "says"

    def scores(self, tasks: Tasks) -> np.ndarray:
        return np.full((len(tasks), tasks.dataset.n_items), self.number, np.float32)


@pytest.fixture
def folds(random_shop) -> tuple[Benchmark, ...]:
    """Users 0 to 9 are asked on validation and 10 to 19 on test, in each the even ones by the first fold."""
    made = []
    for odd in (0, 1):
        asked = [first_known(random_shop, np.arange(first + odd, first + 10, 2), 1, 1, 1) for first in (0, 10)]
        made.append(Benchmark("made", random_shop, np.arange(20), (Setting("a", *asked, "unseen"),), ("a", "ndcg@10")))
    return tuple(made)


def test_each_task_is_scored_by_its_own_fold_in_any_order(folds, random_shop):
    splits = tuple(fold.settings[0].test.split for fold in folds)
    tasks = first_known(random_shop, np.array([13, 10, 12, 11]), 1, 1, 1)
    folded = Folded("both", splits, (Says(0.0), Says(1.0)))
    assert folded.scores(tasks)[:, 0].tolist() == [1, 0, 0, 1]
    with pytest.raises(DataError, match="both: expected tasks of its folds, got 1 of 2 that are in none"):
        folded.scores(first_known(random_shop, np.array([3, 10]), 1, 1, 1))


@pytest.mark.parametrize("final", [False, True])
def test_the_chain_and_the_base_alone_of_all_folds_are_two_references(folds, monkeypatch, final):
    seen = []

    def fit(fold, recipe, how, stages):
        seen.append((fold, recipe, how.final, how.folder.name))
        number = float(len(seen))
        return [Method(name, "ours", {"a": Says(number + add)}, 2.0) for name, add in (("x", 0), ("y", 10), ("z", 100))]

    monkeypatch.setattr(references, "fit", fit)
    how = Fit("small", 0, final, Path("runs"))
    both = fit_reference(Reference("trained there", folds), lambda name: name, "llmrec", how, Stages())
    assert [method.name for method in both] == ["llmrec, trained there", "llmrec, trained there, transformer alone"]
    assert seen == [(folds[0], "made", final, "fold-0"), (folds[1], "made", final, "fold-1")]
    for method, add in zip(both, (0, 10), strict=True):
        assert method.role == "reference" and method.seconds == 4.0
        for number, fold in enumerate(folds):
            tasks = fold.settings[0].asked("test" if final else "validation")
            assert (method.by_setting["a"].scores(tasks) == number + 1 + add).all()


def test_controls_of_a_reference_are_tuned_there_and_are_no_controls(folds):
    (method,) = tuned_reference(Reference("trained there", folds[:1], ("popularity",)), final=True)
    assert (method.name, method.role) == ("popularity, trained there", "reference")
    assert "validation" in method.constants["a"]
    tasks = folds[1].settings[0].test  # one fold answers for all
    counts = np.bincount(folds[0].train.item, minlength=10)
    assert method.by_setting["a"].scores(tasks)[0].argmax() in np.flatnonzero(counts > counts.mean())
