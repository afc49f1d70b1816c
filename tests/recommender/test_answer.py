from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmrec.data.tasks import Tasks, full_histories
from llmrec.index.candidates import Sources, names
from llmrec.ranking.rankers import already_read
from llmrec.ranking.two_stage import retrieve
from llmrec.recommender.answer import BACKFILL, FALLBACK, answer, fallback, joined
from llmrec.recommender.dense import ranked_scores
from llmrec.recommender.pipeline import reader


@pytest.fixture(scope="module")
def state(fitted):
    return fitted.state


@pytest.fixture(scope="module")
def tasks(state) -> Tasks:
    return full_histories(state.histories, np.arange(8))


def test_everything_known_is_the_whole_history_with_nothing_to_predict(state):
    users = np.array([5, 2])
    tasks = full_histories(state.histories, users)
    assert tasks.user.tolist() == users.tolist()
    assert [tasks.support(i) for i in (0, 1)] == [slice(*state.histories.start[[u, u + 1]].tolist()) for u in users]
    assert all(len(items) == 0 for items in tasks.relevant())


@pytest.mark.parametrize(("adapt", "steps"), [(True, None), (False, 0)])
def test_the_order_is_the_one_that_is_evaluated(state, tasks, adapt, steps):
    """The whole catalogue, repeats and all, in the order of `ranked_scores`, which `evaluate` measures."""
    read = reader(state.model, state.items, state.settings, state.init, steps)
    scores = ranked_scores(read, state.retrieval, state.rankers.over, tasks)
    found = answer(state, tasks, scores.shape[1], False, None, None if adapt else 0)
    for task in range(len(tasks)):
        mine = np.flatnonzero(found.asker == task)
        mine = mine[np.argsort(found.rank[mine])]
        assert np.argsort(-scores[task], kind="stable").tolist() == found.item[mine].tolist()
        np.testing.assert_allclose(np.sort(scores[task])[::-1], found.score[mine], atol=1e-5)


def test_sources_say_where_a_candidate_came_from(state, tasks):
    found = answer(state, tasks, 30, False, None, None)
    read = reader(state.model, state.items, state.settings, state.init)
    brought = retrieve(state.retrieval, tasks, read(tasks).vectors, state.retrieval.sources, None)
    expected = dict(zip(zip(brought.task.tolist(), brought.item.tolist(), strict=True), names(brought.source), strict=True))
    for asker, item, source in zip(found.asker.tolist(), found.item.tolist(), found.source, strict=True):
        assert source == expected.get((asker, item), BACKFILL)


def test_scores_are_the_rankers(state, tasks):
    reading = reader(state.model, state.items, state.settings, state.init)(tasks)
    sources = replace(state.retrieval.sources, repeats=False)
    brought = retrieve(state.retrieval, tasks, reading.vectors, sources, None)
    value = state.rankers.over(state.retrieval.counts, already_read(tasks, reading)).score(tasks, brought)
    found = answer(state, tasks, 1, True, None, None)
    best = [value[brought.task == task].max() for task in range(len(tasks))]
    np.testing.assert_allclose(found.score, best, atol=1e-6)


def test_without_any_source_the_transformer_orders_everything(state, tasks):
    bare = replace(state, retrieval=replace(state.retrieval, sources=Sources(text_k=0, knn_k=0, popular_k=0)))
    scores = reader(state.model, state.items, state.settings, state.init)(tasks).table()
    found = answer(bare, tasks, 4, True, None, None)
    for task in range(len(tasks)):
        scores[task, state.histories.item[tasks.support(task)]] = -np.inf
        assert found.item[found.asker == task].tolist() == np.argsort(-scores[task])[:4].tolist()
    assert set(found.source) == {BACKFILL}


def test_the_fallback_is_the_most_popular_that_is_allowed(state):
    popularity = state.retrieval.counts.popularity
    allowed = np.zeros(len(popularity), bool)
    allowed[[3, 8, 9, 20]] = True
    found = fallback(state, np.array([4, 1]), 3, allowed)
    best = sorted([3, 8, 9, 20], key=lambda item: -popularity[item])[:3]
    assert found.item.tolist() == best * 2
    assert found.asker.tolist() == [4] * 3 + [1] * 3
    assert found.rank.tolist() == [1, 2, 3] * 2
    assert found.score.tolist() == popularity[best].tolist() * 2
    assert set(found.source) == {FALLBACK}
    assert len(fallback(state, np.zeros(0, np.int64), 3, None).item) == 0


def test_nobody_asking_gets_an_empty_answer(state, tasks):
    nobody = answer(state, tasks.take(np.zeros(0, np.int64)), 3, True, None, None)
    both = joined([nobody, answer(state, tasks, 1, True, None, None)])
    assert len(nobody.item) == len(nobody.source) == 0
    assert both.asker.tolist() == list(range(len(tasks)))
