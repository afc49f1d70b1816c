"""Laws of a reference: each task is scored by the model of its fold, and the parts are put together as one method."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from benchmarks.protocol import Benchmark, Reference, Setting, first_known
from benchmarks.references import Folded, fit_reference, tuned_reference
from llmrec.data.tasks import Tasks
from llmrec.errors import DataError


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


@pytest.mark.parametrize("part", ["validation", "test"])
def test_each_fold_is_asked_of_a_recommender_that_is_fitted_on_it(folds, settings, part, tmp_path):
    seen = [replace(fold, users=np.arange(0, 20, 2) + odd) for odd, fold in enumerate(folds)]
    method = fit_reference(Reference("trained there", tuple(seen)), settings, 3, part, 5.0, tmp_path / "kept")
    assert method.name == "Recommender, tiny, 5 min, trained there" and method.role == "reference"
    assert sorted(place.name for place in (tmp_path / "kept").iterdir()) == ["fold-0", "fold-1"]
    folded = method.by_setting["a"]
    for fold, fitted in zip(seen, folded.controls, strict=True):
        tasks = fold.settings[0].asked(part)
        np.testing.assert_array_equal(folded.scores(tasks), fitted.scores(tasks))
        assert fitted.state.histories.users.values == [fold.train.users[user] for user in fold.users]
        assert fitted.state.seed == 3


def test_controls_of_a_reference_are_tuned_there_and_are_no_controls(folds):
    (method,) = tuned_reference(Reference("trained there", folds[:1], ("popularity",)), "test")
    assert (method.name, method.role) == ("popularity, trained there", "reference")
    assert "validation" in method.constants["a"]
    tasks = folds[1].settings[0].test  # one fold answers for all
    counts = np.bincount(folds[0].train.item, minlength=10)
    assert method.by_setting["a"].scores(tasks)[0].argmax() in np.flatnonzero(counts > counts.mean())
