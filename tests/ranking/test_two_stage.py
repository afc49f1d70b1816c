from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from llmrec.data.tasks import Tasks, first_baskets, sample_windows
from llmrec.errors import DataError
from llmrec.index.candidates import Candidates, Sources
from llmrec.index.faiss_index import build
from llmrec.models.counts import support_counts
from llmrec.ranking.features import FEATURES, FOR_BLEND, features, features_for_blend
from llmrec.ranking.first_buyers import nobody_yet
from llmrec.ranking.ranker import RankerSettings, fit_ranker, rank
from llmrec.ranking.rankers import CountsRanker, blend_inputs
from llmrec.ranking.statistics import DECAY, fit_statistics, read_texts, with_vectors
from llmrec.ranking.two_stage import Retrieval, concatenate_rankings, ranking, retrieve


@pytest.fixture
def tasks(random_shop) -> Tasks:
    return sample_windows(random_shop, np.arange(20), (1, 4), 2, 12, np.random.default_rng(0))


class Table:
    """Ranks by scores (T, N) that are there."""

    def __init__(self, scores: np.ndarray):
        self.scores = scores

    def score(self, tasks: Tasks, candidates: Candidates) -> np.ndarray:
        return self.scores[candidates.task, candidates.item]


def some_candidates(tasks: int) -> Candidates:
    """The first task has none, the last all 10."""
    rng = np.random.default_rng(2)
    chosen = [np.flatnonzero(rng.random(10) < 2 * t / (tasks + 1)) for t in range(tasks - 1)] + [np.arange(10)]
    start = np.concatenate([[0], np.cumsum([len(items) for items in chosen])])
    return Candidates(start, np.concatenate(chosen).astype(np.int32), np.ones(start[-1], np.uint8))


def test_ranking_is_the_candidates_of_each_task_and_which_are_right(tasks):
    found = some_candidates(len(tasks))
    inputs = np.random.default_rng(0).normal(size=(len(found.item), 3)).astype(np.float32)
    made = ranking(tasks, found, inputs)
    relevant = tasks.relevant()
    for t in range(len(tasks)):
        mine = found.of(t)
        assert np.array_equal(made.inputs[t][made.filled[t]], inputs[found.start[t] : found.start[t + 1]])
        assert made.filled[t].sum() == len(mine)
        columns = made.target[made.owner == t]
        assert sorted(mine[columns].tolist()) == sorted(set(mine.tolist()) & set(relevant[t].tolist()))
    assert len(made.target) > 10


def test_rankings_put_together_are_one_after_the_other(tasks):
    found, rng = some_candidates(len(tasks)), np.random.default_rng(0)
    whole = ranking(tasks, found, rng.normal(size=(len(found.item), 3)).astype(np.float32))
    halves = [np.arange(5), np.arange(5, len(tasks))]
    parts = []
    for rows in halves:
        edge = found.start[rows[0]], found.start[rows[-1] + 1]
        part = Candidates(found.start[rows[0] : rows[-1] + 2] - edge[0], found.item[slice(*edge)], found.source[slice(*edge)])
        inputs = whole.inputs[rows][whole.filled[rows]]
        parts.append(ranking(tasks.take(rows), part, inputs))
    assert parts[0].filled.shape[1] < parts[1].filled.shape[1]  # of different widths
    made = concatenate_rankings(parts)
    for name in ("inputs", "filled", "target", "owner"):
        assert np.array_equal(getattr(made, name), getattr(whole, name)), name


def test_retrieved_by_text_are_the_nearest_to_the_vector_and_one(random_shop, tasks):
    rng = np.random.default_rng(0)
    matrix, vectors = rng.normal(size=(10, 5)).astype(np.float32), rng.normal(size=(len(tasks), 4)).astype(np.float32)
    counts = fit_statistics(random_shop, np.arange(20), 2, read_texts(random_shop), rng)
    retrieval = Retrieval(build(matrix), counts, Sources(3, 0, 0, repeats=False))
    found = retrieve(retrieval, tasks, vectors, Sources(3, 0, 0, repeats=False), None)
    seen = support_counts(tasks).toarray() > 0
    for t in range(len(tasks)):
        scores = np.where(seen[t], -np.inf, matrix[:, :4] @ vectors[t] + matrix[:, 4])
        best = np.argsort(-scores)[: min(3, int((~seen[t]).sum()))]
        assert found.of(t).tolist() == sorted(best.tolist())
    allowed = np.arange(10) < 4
    assert set(retrieve(retrieval, tasks, vectors, retrieval.sources, allowed).item) <= {0, 1, 2, 3}


def test_cold_items_are_retrieved_by_the_texts_of_warm_ones_unless_that_source_is_off(random_shop, tasks):
    """Beside a dense product. The index finds the first item alone."""
    rng, cold = np.random.default_rng(0), np.arange(10) >= 5
    counts = fit_statistics(random_shop, np.arange(20), 2, read_texts(random_shop), rng)
    carry = np.where(cold, rng.random((10, 10)), 0).astype(np.float32)
    counts = replace(counts, text_knn=sparse.csr_array(carry), buyers=nobody_yet(cold, 0.0))
    matrix, vectors = np.zeros((10, 5), np.float32), np.zeros((len(tasks), 4), np.float32)
    matrix[:, 4] = np.arange(10, 0, -1)
    held = support_counts(tasks, DECAY).toarray()
    value = (held + held @ counts.cooccurrence.toarray()) @ carry
    for k, of_texts in ((2, 2), (0, 0)):
        retrieval = Retrieval(build(matrix), counts, Sources(k, 0, 0, repeats=False))
        found, bare = (
            retrieve(replace(retrieval, counts=here), tasks, vectors, retrieval.sources, None)
            for here in (counts, replace(counts, buyers=None))
        )
        for t, seen in enumerate(support_counts(tasks).toarray() > 0):
            best = set(np.argsort(-value[t], kind="stable")[:of_texts].tolist()) - set(np.flatnonzero(seen).tolist())
            assert set(found.of(t).tolist()) == set(bare.of(t).tolist()) | best
        assert (set(found.item.tolist()) > set(bare.item.tolist())) == (k > 0)


def test_the_blend_sees_both_scores_and_the_features_that_are_named_in_their_order(random_shop, tasks):
    found, rng = some_candidates(len(tasks)), np.random.default_rng(0)
    carry = sparse.csr_array(rng.random((10, 10)).astype(np.float32))
    counted = replace(fit_statistics(random_shop, np.arange(20), 2, read_texts(random_shop), rng), text_knn=carry)
    seen = features(tasks, found, counted)
    ranker = fit_ranker(ranking(tasks, found, seen), RankerSettings(max_steps=3), 0)
    scores = rng.normal(size=(len(tasks), random_shop.n_items)).astype(np.float32)
    every = np.concatenate([seen, features_for_blend(tasks, found, counted)], 1)
    for names in ((), ("n_baskets", "purchased"), ("text_knn", "n_baskets")):
        made = blend_inputs(CountsRanker(ranker, counted), Table(scores), names, tasks, found)
        assert made.shape == (len(found.item), 2 + len(names))
        assert np.array_equal(made[:, 0], rank(ranker, seen))
        assert np.array_equal(made[:, 1], scores[found.task, found.item])
        for column, name in enumerate(names):
            assert np.array_equal(made[:, 2 + column], every[:, (FEATURES + FOR_BLEND).index(name)])
    with pytest.raises(DataError, match="Settings.blend_features: expected names out of purchase_count, .*, got 'colour'"):
        blend_inputs(CountsRanker(ranker, counted), Table(scores), ("colour",), tasks, found)


def test_a_blend_ranks_cold_items_by_text_neighbours_if_it_sees_that_feature(shop):
    """Of six tastes each has an item `a` that is had with an item `b`; new ones are worded by an encoder like one of the `b`.

    One basket a user: nothing follows anything. Those who are asked had `a`, and will take what is like its `b`.
    """
    tastes, rng = 6, np.random.default_rng(0)
    a, b, new = np.arange(3 * tastes).reshape(3, tastes).tolist()
    counted = [[[a[t], b[t]]] for t in range(tastes) for _ in range(5)]
    data = shop(counted + [[[a[t]], [new[t]]] for t in range(tastes) for _ in range(4)], ["thing"] * 3 * tastes)
    text = np.eye(3 * tastes, dtype=np.float32)
    text[new] += text[b]
    counts = fit_statistics(data, np.arange(len(counted)), 1, with_vectors(read_texts(data), text, rng), rng)
    asked = first_baskets(data, np.arange(len(counted), data.n_users), 1, 1)
    learn, tell = asked.take(np.arange(0, len(asked), 2)), asked.take(np.arange(1, len(asked), 2))

    def all_new(tasks: Tasks) -> Candidates:
        some = np.tile(np.array(new, np.int32), len(tasks))
        return Candidates(np.arange(len(tasks) + 1) * tastes, some, np.zeros(len(some), np.uint8))

    plain = fit_ranker(ranking(learn, all_new(learn), features(learn, all_new(learn), counts)), RankerSettings(max_steps=3), 0)
    for beside in (("text_knn",), tuple(FEATURES)):
        base = Table(np.zeros((len(learn), data.n_items), np.float32))
        both = CountsRanker(plain, counts), base, beside
        inputs, others = (blend_inputs(*both, tasks, all_new(tasks)) for tasks in (learn, tell))
        blend = fit_ranker(ranking(learn, all_new(learn), inputs), RankerSettings(max_steps=200), 0)
        order = rank(blend, others).reshape(len(tell), tastes)
        wanted = data.item[tell.split] - new[0]
        if beside == ("text_knn",):
            assert (order.argmax(1) == wanted).all()
        else:
            np.testing.assert_allclose(order, order[:, :1].repeat(tastes, 1), atol=1e-5)
