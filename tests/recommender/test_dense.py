"""Laws of the scores of the whole catalogue, which evaluation needs and no answer is made from."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec.data.tasks import Tasks, full_histories
from llmrec.index.candidates import Candidates
from llmrec.recommender.dense import ranked, ranked_scores
from llmrec.recommender.pipeline import reader


@pytest.fixture(scope="module")
def state(fitted):
    return fitted.state


def some_candidates(tasks: int) -> Candidates:
    """The first task has none, the last all 10."""
    rng = np.random.default_rng(2)
    chosen = [np.flatnonzero(rng.random(10) < 2 * t / (tasks + 1)) for t in range(tasks - 1)] + [np.arange(10)]
    start = np.concatenate([[0], np.cumsum([len(items) for items in chosen])])
    return Candidates(start, np.concatenate(chosen).astype(np.int32), np.ones(start[-1], np.uint8))


def test_ranked_puts_candidates_first_and_all_others_behind_in_their_own_order():
    found, rng = some_candidates(12), np.random.default_rng(0)
    for shift in (-100, 0, 100):
        value = (rng.normal(size=len(found.item)) + shift).astype(np.float32)
        scores = rng.normal(size=(12, 10)).astype(np.float32)
        table = ranked(found, value, scores)
        assert table.shape == scores.shape and table.dtype == np.float32
        for t in range(12):
            mine, own = found.of(t), value[found.start[t] : found.start[t + 1]]
            others = np.setdiff1d(np.arange(10), mine)
            expected = [*mine[np.argsort(-own)], *others[np.argsort(-scores[t, others])]]
            assert np.argsort(-table[t]).tolist() == expected
            assert np.array_equal(table[t, mine], own)


def test_a_table_of_many_tasks_is_that_of_each_alone(state):
    users = np.resize(np.arange(state.histories.n_users), 150)  # more than are read side by side
    read = reader(state.model, state.items, state.settings, state.init)

    def scores(tasks: Tasks) -> np.ndarray:
        return ranked_scores(read, state.retrieval, state.rankers.over, tasks)

    whole = scores(full_histories(state.histories, users))
    assert whole.shape == (150, state.histories.n_items) and whole.dtype == np.float32
    for row in (0, 127, 128, 149):
        np.testing.assert_allclose(whole[row], scores(full_histories(state.histories, users[row : row + 1]))[0], atol=1e-4)
