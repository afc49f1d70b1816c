"""The contract of every ranker. A test class inherits `RankerContract` and gives its ranker as the fixture `ranker`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmrec.data.dataset import Dataset
from llmrec.data.tasks import Tasks, sample_windows
from llmrec.index.candidates import Candidates
from llmrec.ranking.rankers import CandidateRanker

CLOSE = {"rtol": 1e-4, "atol": 1e-4}


def asked(dataset: Dataset) -> Tasks:
    return sample_windows(dataset, np.arange(dataset.n_users), (1, 4), 1, 9, np.random.default_rng(0))


def some_candidates(tasks: int, items: int) -> Candidates:
    """About half of the items for each task, none for the first, all for the last."""
    rng = np.random.default_rng(1)
    chosen = [np.flatnonzero(rng.random(items) < 0.5 * (task > 0)) for task in range(tasks - 1)] + [np.arange(items)]
    start = np.cumsum([0, *(len(some) for some in chosen)])
    return Candidates(start, np.concatenate(chosen).astype(np.int32), np.ones(start[-1], np.uint8))


def part_of(found: Candidates, rows: np.ndarray) -> tuple[Candidates, np.ndarray]:
    """The candidates of some tasks in the order given, and their places among all."""
    place = np.concatenate([np.arange(found.start[row], found.start[row + 1]) for row in rows])
    start = np.cumsum([0, *np.diff(found.start)[rows]])
    return Candidates(start, found.item[place], found.source[place]), place


def check_numbers(ranker: CandidateRanker, tasks: Tasks, found: Candidates) -> None:
    """One finite float32 for each candidate."""
    scores = ranker.score(tasks, found)
    assert scores.dtype == np.float32 and scores.shape == found.item.shape
    assert np.isfinite(scores).all()


def check_order(ranker: CandidateRanker, tasks: Tasks, found: Candidates) -> None:
    """The order of a task's candidates changes no score."""
    rng = np.random.default_rng(2)
    mixed = np.concatenate([rng.permutation(np.arange(*found.start[[t, t + 1]])) for t in range(len(found))])
    other = Candidates(found.start, found.item[mixed], found.source[mixed])
    np.testing.assert_allclose(ranker.score(tasks, other), ranker.score(tasks, found)[mixed], **CLOSE)


def check_other_candidates(ranker: CandidateRanker, tasks: Tasks, found: Candidates) -> None:
    """Leaving out some candidates changes no score of the others."""
    keep = np.random.default_rng(3).random(len(found.item)) < 0.5
    start = np.concatenate([[0], np.cumsum(keep)])[found.start]
    fewer = Candidates(start, found.item[keep], found.source[keep])
    np.testing.assert_allclose(ranker.score(tasks, fewer), ranker.score(tasks, found)[keep], **CLOSE)


def check_batch(ranker: CandidateRanker, tasks: Tasks, found: Candidates) -> None:
    """A task alone, or among others in another order, has the same scores."""
    whole, last = ranker.score(tasks, found), len(tasks) - 1
    for rows in (np.array([last]), np.array([3]), np.array([last, 2, 5]), np.arange(len(tasks))[::-1]):
        some, place = part_of(found, rows)
        np.testing.assert_allclose(ranker.score(tasks.take(rows), some), whole[place], **CLOSE)


def check_other_supports(ranker: CandidateRanker, tasks: Tasks, found: Candidates) -> None:
    """Other supports of the other tasks change nothing, and neither does what a task is asked about."""
    whole, last = ranker.score(tasks, found), len(tasks) - 1
    others = replace(tasks, **{name: getattr(tasks, name).copy() for name in ("start", "split", "stop")})
    for name in ("start", "split", "stop"):
        getattr(others, name)[:last] = np.roll(getattr(tasks, name)[:last], 1)
    mine = slice(*found.start[[last, last + 1]])
    np.testing.assert_allclose(ranker.score(others, found)[mine], whole[mine], **CLOSE)
    np.testing.assert_allclose(ranker.score(replace(tasks, stop=tasks.split), found), whole, **CLOSE)


class RankerContract:
    """The laws, for the fixture `ranker` over the catalogue of `random_shop`."""

    @pytest.fixture
    def ranker(self) -> CandidateRanker:
        raise NotImplementedError("give the ranker under test as the fixture `ranker`")

    @pytest.fixture
    def given(self, ranker, random_shop) -> tuple[CandidateRanker, Tasks, Candidates]:
        tasks = asked(random_shop)
        return ranker, tasks, some_candidates(len(tasks), random_shop.n_items)

    def test_it_gives_one_finite_number_for_each_candidate(self, given):
        check_numbers(*given)

    def test_the_order_of_the_candidates_changes_no_score(self, given):
        check_order(*given)

    def test_leaving_out_candidates_changes_no_score_of_the_others(self, given):
        check_other_candidates(*given)

    def test_no_score_depends_on_the_batch(self, given):
        check_batch(*given)

    def test_no_task_reads_the_support_of_another_or_any_query(self, given):
        check_other_supports(*given)
