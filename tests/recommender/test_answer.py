from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from llmrec import ShortAnswerWarning
from llmrec.data.tasks import Tasks, full_histories
from llmrec.encoder.model import SlotModel
from llmrec.encoder.threads import PER_THREAD
from llmrec.index.candidates import POPULAR, TEXT, TOGETHER, Sources, by_popularity, names
from llmrec.index.faiss_index import IndexSettings, build, search
from llmrec.meta.gate import Choice
from llmrec.ranking import two_stage
from llmrec.ranking.features import FEATURES
from llmrec.ranking.rankers import already_read
from llmrec.ranking.two_stage import retrieve
from llmrec.recommender import answer as answering
from llmrec.recommender.answer import BACKFILL, FALLBACK, Request, answer, fallback, joined
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
    found = answer(state, tasks, Request(scores.shape[1], False, steps=None if adapt else 0))
    for task in range(len(tasks)):
        mine = np.flatnonzero(found.asker == task)
        mine = mine[np.argsort(found.rank[mine])]
        assert np.argsort(-scores[task], kind="stable").tolist() == found.item[mine].tolist()
        np.testing.assert_allclose(np.sort(scores[task])[::-1], found.score[mine], atol=1e-5)


def test_sources_say_where_a_candidate_came_from(state, tasks):
    found = answer(state, tasks, Request(30, False))
    read = reader(state.model, state.items, state.settings, state.init)
    brought = retrieve(state.retrieval, tasks, read(tasks).vectors, state.retrieval.sources, None)
    expected = dict(zip(zip(brought.task.tolist(), brought.item.tolist(), strict=True), names(brought.source), strict=True))
    for asker, item, source in zip(found.asker.tolist(), found.item.tolist(), found.source, strict=True):
        assert source == expected.get((asker, item), BACKFILL)


def test_scores_are_the_rankers(state, tasks):
    reading = reader(state.model, state.items, state.settings, state.init)(tasks)
    sources = replace(state.retrieval.sources, repeats=False)
    brought = retrieve(state.retrieval, tasks, reading.vectors, sources, None)
    value = (
        state.rankers_for(filter_viewed=True).over(state.retrieval.counts, already_read(tasks, reading)).score(tasks, brought)
    )
    found = answer(state, tasks, Request(1))
    best = [value[brought.task == task].max() for task in range(len(tasks))]
    np.testing.assert_allclose(found.score, best, atol=1e-6)


def test_rankers_of_unseen_items_are_learned_without_the_items_of_the_history(state):
    """They met no item of a support: what they read of an item that was bought has no spread."""
    column = FEATURES.index("purchased")
    assert state.unseen_rankers.counts.spread[column] == pytest.approx(1e-3)  # the least that there is
    assert state.unseen_rankers.counts.mean[column] == 0
    assert state.rankers.counts.spread[column] > 1e-2
    assert state.rankers_for(False) is state.rankers and state.rankers_for(True) is state.unseen_rankers


def test_without_any_source_the_transformer_orders_everything(state, tasks):
    bare = replace(state, retrieval=replace(state.retrieval, sources=Sources(text_k=0, knn_k=0, popular_k=0)))
    scores = reader(state.model, state.items, state.settings, state.init)(tasks).table()
    found = answer(bare, tasks, Request(4))
    for task in range(len(tasks)):
        scores[task, state.histories.item[tasks.support(task)]] = -np.inf
        assert found.item[found.asker == task].tolist() == np.argsort(-scores[task])[:4].tolist()
    assert set(found.source) == {BACKFILL}


def test_the_fallback_is_the_most_popular_that_is_allowed(state):
    popularity = state.retrieval.counts.popularity
    allowed = np.zeros(len(popularity), bool)
    allowed[[3, 8, 9, 20]] = True
    found = fallback(state, np.array([4, 1]), Request(3, allowed=allowed))
    best = sorted([3, 8, 9, 20], key=lambda item: -popularity[item])[:3]
    assert found.item.tolist() == best * 2
    assert found.asker.tolist() == [4] * 3 + [1] * 3
    assert found.rank.tolist() == [1, 2, 3] * 2
    assert found.score.tolist() == popularity[best].tolist() * 2
    assert set(found.source) == {FALLBACK}
    assert len(fallback(state, np.zeros(0, np.int64), Request(3)).item) == 0


def test_nobody_asking_gets_an_empty_answer(state, tasks):
    nobody = answer(state, tasks.take(np.zeros(0, np.int64)), Request(3))
    both = joined([nobody, answer(state, tasks, Request(1))])
    assert len(nobody.item) == len(nobody.source) == 0
    assert both.asker.tolist() == list(range(len(tasks)))


@pytest.mark.parametrize(("off", "bit"), [("text_k", TEXT), ("knn_k", TOGETHER), ("popular_k", POPULAR)])
@pytest.mark.parametrize("repeats", [True, False])
@pytest.mark.parametrize("whole", [True, False])
def test_turning_a_source_off_loses_exactly_its_candidates(state, tasks, off, bit, repeats, whole):
    """With faiss itself, compared with every item or by inverted lists."""
    settings = IndexSettings(exact_below=10**6 if whole else 0, lists=4, probes=4)
    index = build(np.array(state.retrieval.index.vectors), settings=settings)
    assert type(index.engine).__module__.startswith("faiss") and index.exact is whole
    retrieval = replace(state.retrieval, index=index)
    vectors = reader(state.model, state.items, state.settings, state.init)(tasks).vectors

    def brought(sources: Sources) -> dict[tuple[int, int], int]:
        found = retrieve(retrieval, tasks, vectors, sources, None)
        return dict(zip(zip(found.task.tolist(), found.item.tolist(), strict=True), found.source.tolist(), strict=True))

    sources = Sources(text_k=4, knn_k=4, popular_k=4, repeats=repeats)
    every, fewer = brought(sources), brought(replace(sources, **{off: 0}))
    assert fewer == {pair: source & ~bit for pair, source in every.items() if source != bit}
    assert any(source == bit for source in every.values())


class Gathered(torch.Tensor):
    """A tensor of one row an item, of which only some rows may be read."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        name, some = func.__name__, ("__getitem__", "index_select")
        assert name in (*some, "__get__", "__len__", "as_subclass"), f"{name} reads every item"
        found = super().__torch_function__(func, types, args, kwargs or {})
        return found.as_subclass(torch.Tensor) if name in some else found


@pytest.fixture
def watched(recommender, monkeypatch):
    """A recommender that cannot read the vector, bias or repeat term of every item, or score them all."""

    def logits(*_):
        raise AssertionError("every item is scored")

    monkeypatch.setattr(SlotModel, "logits", logits)
    state = recommender.state
    parts = {name: getattr(state.items, name).as_subclass(Gathered) for name in ("vectors", "bias", "repeat")}
    recommender._state = replace(state, items=replace(state.items, **parts))
    return recommender


@pytest.mark.parametrize("filter_viewed", [True, False])
def test_an_answer_scores_no_more_than_its_candidates(watched, fitted, clicks, world, filter_viewed):
    for k, among in ((3, None), (len(world.ids), world.ids[:20])):  # candidates, and what the index finds beside them
        asked = {"k": k, "filter_viewed": filter_viewed, "items_to_recommend": among, "steps": 0}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ShortAnswerWarning)
            found, expected = (one.recommend(histories=clicks, **asked) for one in (watched, fitted))
        assert list(found["item_id"]) == list(expected["item_id"]) and (BACKFILL in set(found["source"])) is (k > 3)
    reading = reader(watched.state.model, watched.state.items, watched.state.settings, None)(
        full_histories(watched.state.histories, np.arange(2))
    )
    with pytest.raises(AssertionError, match="every item"):
        reading.table()  # the probe sees
    with pytest.raises(AssertionError, match="reads every item"):
        _ = reading.items.vectors.sum()


def test_popularity_is_sorted_once_for_all_answers(recommender, monkeypatch):
    calls = []
    monkeypatch.setattr(two_stage, "by_popularity", lambda popularity: calls.append(1) or by_popularity(popularity))
    state = recommender.state
    recommender._state = replace(state, retrieval=replace(state.retrieval))  # which has sorted nothing yet
    for _ in range(3):
        recommender.recommend(["u000", "nobody"], k=3)
    assert calls == [1]


@pytest.mark.parametrize("repeat", [None, -50.0])
def test_what_is_left_goes_on_below_the_lowest_candidate_in_the_transformers_order(state, tasks, repeat):
    """At least 1 below everything ranked, at the distance that the transformer puts between it and its best item, also where
    the transformer puts items that were had below all others."""
    if repeat is not None:
        state = replace(state, items=replace(state.items, repeat=torch.full_like(state.items.repeat, repeat)))
    everything = answer(state, tasks, Request(state.histories.n_items, False))
    scores = reader(state.model, state.items, state.settings, state.init)(tasks).table()
    for task in range(len(tasks)):
        rows = np.flatnonzero(everything.asker == task)
        rest = rows[[everything.source[row] == BACKFILL for row in rows]]
        floor = min(0.0, everything.score[np.setdiff1d(rows, rest)].min())
        expected = scores[task, everything.item[rest]] - scores[task].max() - 1 + floor
        assert len(rest) > 3
        np.testing.assert_allclose(everything.score[rest], expected, atol=1e-5)


@pytest.mark.parametrize("filter_viewed", [True, False])
def test_all_that_is_allowed_is_there_and_nothing_else(state, tasks, filter_viewed):
    allowed = np.random.default_rng(0).random(state.histories.n_items) < 0.6
    found = answer(state, tasks, Request(state.histories.n_items, filter_viewed, allowed))
    for task in range(len(tasks)):
        viewed = state.histories.item[tasks.support(task)] if filter_viewed else []
        assert sorted(found.item[found.asker == task].tolist()) == np.setdiff1d(np.flatnonzero(allowed), viewed).tolist()
    assert BACKFILL in found.source


@pytest.mark.parametrize("steps", [0, 3])
def test_the_answer_to_one_user_runs_on_one_thread_and_leaves_the_others_to_the_caller(state, tasks, steps):
    threads = []

    class Watching:
        def score(self, tasks, candidates):
            threads.append(torch.get_num_threads())
            return np.zeros(len(candidates.item), np.float32)

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        answer(state, tasks.take(np.array([0])), Request(5, steps=steps, ranker=Watching()))
        assert threads == [1] and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_batch_of_many_users_gets_all_threads(state, tasks):
    def size(count: int, steps: int) -> float:
        some = tasks.take(np.zeros(count, np.int64))
        return state.adapting.largest_product(some, [Choice(steps)] * count)

    assert size(1, 0) <= size(1, 3) < PER_THREAD < size(20_000, 0) <= size(20_000, 3)


def test_what_an_approximate_index_adds_for_a_user_does_not_depend_on_the_others(state, tasks, monkeypatch):
    """The k that is searched for is that of the user alone, though others of the batch want more."""
    asked: list[int] = []

    def spy(index, queries, k, allowed=None, excluded=None):
        asked.extend([k] * len(queries))
        return search(index, queries, k, allowed, excluded)

    wanted = np.array([3, 1, 3, 2])
    monkeypatch.setattr(answering, "search", spy)
    queries = np.ones((4, state.retrieval.index.vectors.shape[1]), np.float32)
    scores, items = answering._nearest(state.retrieval.index, queries, wanted, None, [np.zeros(0, np.int64)] * 4)
    assert sorted(asked) == [1, 2, 3, 3]
    assert (items >= 0).sum(1).tolist() == wanted.tolist() == np.isfinite(scores).sum(1).tolist()
