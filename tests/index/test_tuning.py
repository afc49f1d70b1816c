"""Laws of the promise `IndexSettings.recall`, counted here in NumPy on queries that tuning never saw."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest

from llmrec.errors import DataError
from llmrec.index import faiss_index, tuning
from llmrec.index.faiss_index import Index, IndexSettings, add, build, remove, search
from llmrec.index.tuning import Queries, Tuned, recalls, sample_queries, tune

MANY = IndexSettings(exact_below=1, lists=100)


def gaussian(rng, n, d=24):
    """Vectors without structure."""
    return rng.normal(size=(n, d)).astype(np.float32)


def grouped(rng, n, d=24):
    """Vectors in 20 groups far apart, which are larger than the 100 items that are counted."""
    centres = 4 * np.random.default_rng(99).normal(size=(20, d))
    return (centres[rng.integers(0, 20, n)] + rng.normal(size=(n, d))).astype(np.float32)


def by_score(index: Index, queries: np.ndarray) -> float:
    """Fraction of the exact best 100 that `search` finds: how many of its items score at least as much as the exact 100th."""
    exact = np.asarray(queries, np.float64) @ np.asarray(index.vectors, np.float64).T
    last = np.sort(exact, axis=1)[:, -100]
    items = search(index, queries, 100)[1]
    return float((np.take_along_axis(exact, items, axis=1) >= last[:, None] - 1e-4).mean())


@pytest.mark.parametrize("world", [gaussian, grouped])
@pytest.mark.parametrize("recall", [0.8, 0.99])
def test_the_promise_is_kept_on_queries_that_tuning_never_saw(world, recall):
    rng = np.random.default_rng(1)
    index = build(world(rng, 6000), settings=replace(MANY, recall=recall))
    few = world(rng, 5 * 500).reshape(500, 5, -1)
    for queries in (world(rng, 500), few.mean(axis=1), few[:, :2].mean(axis=1)):
        assert by_score(index, queries) >= recall
    assert index.tuned.recall >= recall


def test_groups_need_few_lists_and_vectors_without_structure_many():
    rng = np.random.default_rng(2)
    apart, loose = (build(world(rng, 6000), settings=MANY).tuned for world in (grouped, gaussian))
    assert apart.probes < 40 < loose.probes < loose.lists == 100


def test_fewer_lists_than_were_tuned_break_the_promise():
    rng = np.random.default_rng(3)
    vectors, queries = gaussian(rng, 6000), gaussian(rng, 2500).reshape(500, 5, -1).mean(axis=1)
    tuned = build(vectors, settings=MANY)
    given = build(vectors, settings=replace(MANY, probes=tuned.tuned.probes - 12))
    assert given.tuned.probes == tuned.tuned.probes - 12
    assert by_score(given, queries) < 0.99 <= by_score(tuned, queries)
    assert given.tuned.recall < 0.99 <= tuned.tuned.recall


def test_the_promise_is_kept_for_queries_unlike_any_item():
    """Groups part the items into lists; users ask for what differs within every group."""
    rng = np.random.default_rng(11)
    vectors = np.concatenate([grouped(rng, 6000, 16), 0.3 * gaussian(rng, 6000, 8)], 1)

    def users(count: int) -> np.ndarray:
        return np.concatenate([np.zeros((count, 16), np.float32), gaussian(rng, count, 8)], 1)

    blind, tuned = (build(vectors, settings=MANY, asked=asked) for asked in (None, users(200)))
    fresh = users(200)
    assert blind.tuned.probes < tuned.tuned.probes and by_score(blind, fresh) < 0.98 < 0.99 <= by_score(tuned, fresh)
    with pytest.raises(DataError, match="asked"):
        build(vectors, settings=MANY, asked=np.ones((3, 4), np.float32))


def popular(rng, n):
    """Items as a recommender has them: directions, and their popularity as one more number; 1 of 20 is popular."""
    directions = 0.3 * gaussian(rng, n, 16)
    return np.concatenate([directions, np.where(np.arange(n) % 20 == 0, 9, 2)[:, None].astype(np.float32)], 1)


def test_popular_items_are_found_in_the_first_lists():
    rng = np.random.default_rng(12)

    def users(count: int) -> np.ndarray:
        return np.concatenate([gaussian(rng, count, 16), np.ones((count, 1), np.float32)], 1)

    index, fresh = build(popular(rng, 6000), settings=MANY, asked=users(200)), users(300)
    assert by_score(index, fresh) >= 0.99
    few = build(index.vectors, settings=replace(MANY, probes=8))
    assert by_score(few, fresh) >= 0.99


def test_a_filter_for_all_queries_does_not_break_the_promise():
    rng = np.random.default_rng(13)
    vectors, queries, allowed = gaussian(rng, 20_000, 12), gaussian(rng, 300, 12), rng.random(20_000) < 0.3
    exact = np.asarray(queries, np.float64) @ np.where(allowed[:, None], vectors, 0).T.astype(np.float64)
    last = np.sort(exact, axis=1)[:, -100:][:, :1] - 1e-4

    def filtered(index: Index) -> float:
        return float((search(index, queries, 100, allowed)[0] >= last).mean())

    index = build(vectors, settings=replace(MANY, recall=0.9))
    assert filtered(index) >= 0.9
    # A number given is taken as it is.
    assert filtered(build(vectors, settings=replace(MANY, probes=index.tuned.probes))) < 0.9


def test_a_query_does_not_look_into_more_lists_for_the_mask_of_another():
    rng = np.random.default_rng(14)
    index, queries = build(grouped(rng, 6000), settings=MANY), grouped(rng, 2)
    wide, narrow = np.ones((1, 6000), bool), (np.arange(6000) < 3000)[None]
    alone = search(index, queries[:1], 100, narrow)
    beside = search(index, queries, 100, np.concatenate([narrow, wide]))
    for one, other in zip(alone, beside, strict=True):
        np.testing.assert_array_equal(one[0], other[0])


def test_vectors_added_later_are_found_by_as_many_lists():
    rng = np.random.default_rng(15)
    index = build(grouped(rng, 3000), settings=MANY)
    larger, queries = add(index, grouped(rng, 3000), np.arange(3000, 6000)), grouped(rng, 300)
    assert larger.tuned == index.tuned and by_score(larger, queries) >= 0.98


def test_a_recall_of_one_is_exact():
    rng = np.random.default_rng(4)
    vectors, queries = gaussian(rng, 3000), gaussian(rng, 40)
    index = build(vectors, settings=replace(MANY, recall=1.0))
    assert index.tuned == Tuned(100, 100, 1.0)
    for made, exact in zip(search(index, queries, 100), search(build(vectors), queries, 100), strict=True):
        np.testing.assert_array_equal(made, exact)
    assert str(index.tuned) == "each query looks into all 100 lists, an exact search"


def test_what_is_measured_is_what_a_search_finds():
    vectors = gaussian(np.random.default_rng(5), 6000)
    for probes in (8, 20, 60):  # lists that hold 100 items; with fewer a search would be exact
        index = build(vectors, settings=replace(MANY, probes=probes))
        queries = sample_queries(index.vectors, 0)
        exact = queries.vectors @ vectors.T
        itself = np.flatnonzero(queries.own >= 0)
        exact[itself, queries.own[itself]] = -np.inf
        last = np.sort(exact, axis=1)[:, -100]
        items = search(index, queries.vectors, 100, None, [[own] for own in queries.own])[1]
        found = (np.take_along_axis(exact, items, axis=1) >= last[:, None] - 1e-4).mean(axis=1)
        expected = min(found[queries.own >= 0].mean(), found[queries.own < 0].mean())
        assert index.tuned.recall == pytest.approx(expected, abs=1e-9)
        assert str(index.tuned) == f"each query looks into {probes} of 100 lists, recall@100 {expected:.3f}"


def test_the_same_seed_gives_the_same_index():
    vectors = grouped(np.random.default_rng(6), 4000)
    first, second = build(vectors, settings=MANY), build(vectors, settings=MANY)
    assert first.tuned == second.tuned
    np.testing.assert_array_equal(sample_queries(vectors, 0).vectors, sample_queries(vectors, 0).vectors)
    assert not np.array_equal(sample_queries(vectors, 0).vectors, sample_queries(vectors, 1).vectors)


def test_an_item_does_not_count_for_its_own_vector():
    vectors = np.array([[3, 0], [2, 0], [1, 0], [0, 0]], np.float32)
    lists, order = np.array([0, 1, 1, 1]), np.array([[0, 1]])
    own, other = (recalls(vectors, lists, order, Queries(vectors[:1], np.array([row]), np.zeros(1))) for row in (0, -1))
    assert own.tolist() == [[0, 1]]  # the best 3 of the others are in the second list
    assert other.tolist() == [[1 / 3, 1]]


def test_among_equal_scores_any_item_is_a_hit():
    vectors = np.ones((110, 3), np.float32)
    lists = np.where(np.arange(110) < 5, 0, 1)
    assert recalls(vectors, lists, np.array([[1, 0]]), Queries(vectors[:1], np.array([-1]), np.ones(1))).tolist() == [[1, 1]]


def test_the_promise_holds_for_items_and_for_means_of_items():
    """Ten queries of each kind: items find their best two in two lists, and only means need a third one."""
    vectors, lists = np.array([[3], [2], [1]], np.float32), np.array([0, 1, 2])
    queries = Queries(np.ones((20, 1), np.float32), np.repeat([1, -1], 10), np.repeat([0, 1], 10))
    order = np.array([[0, 2, 1]] * 10 + [[0, 1, 2]] * 10)
    assert tune(vectors, lists, order, queries, 0.9) == Tuned(3, 2, 1.0)
    order[10:] = [0, 2, 1]
    assert tune(vectors, lists, order, queries, 0.9) == Tuned(3, 3, 1.0)


def test_a_query_looks_into_a_part_of_the_lists_at_least():
    vectors, lists = np.arange(64, 0, -1, dtype=np.float32)[:, None], np.zeros(64, int)
    queries, order = Queries(np.ones((9, 1), np.float32), np.full(9, -1), np.ones(9)), np.tile(np.arange(64), (9, 1))
    assert tune(vectors, lists, order, queries, 0.9) == Tuned(64, 2, 1.0)


def test_adding_removing_and_copying_keep_what_was_tuned(monkeypatch):
    rng = np.random.default_rng(7)
    index = build(gaussian(rng, 3000), settings=MANY)
    assert index.tuned.probes < 100
    monkeypatch.setattr(faiss_index, "tune", None)  # would fail if it were called
    larger = add(index, gaussian(rng, 10), np.arange(3000, 3010))
    smaller = remove(index, np.arange(10))
    assert index.tuned == larger.tuned == smaller.tuned == copy.deepcopy(index).tuned
    assert build(index.vectors, settings=MANY, tuned=Tuned(100, 7, 0.5)).tuned.probes == 7


def test_a_catalogue_that_grows_into_lists_is_tuned_then():
    rng = np.random.default_rng(8)
    index = build(gaussian(rng, 900), settings=IndexSettings(exact_below=1000))
    larger = add(index, gaussian(rng, 200), np.arange(900, 1100))
    assert index.tuned is None and larger.tuned.recall >= 0.99
    assert remove(larger, np.arange(200)).tuned is None
    assert build(larger.vectors, settings=larger.settings, tuned=Tuned(5, 1, 0.1)).tuned == larger.tuned  # of other lists


@pytest.mark.parametrize("n", [1, 2, 3, 40, 101, 250])
@pytest.mark.parametrize("probes", [None, 1])
def test_small_catalogues_are_tuned_as_well(n, probes):
    rng = np.random.default_rng(9)
    index = build(gaussian(rng, n, 4), settings=IndexSettings(exact_below=1, lists=min(n, 3), probes=probes))
    assert 1 <= index.tuned.probes <= index.tuned.lists and 0 <= index.tuned.recall <= 1
    assert probes == 1 or index.tuned.recall >= 0.99


@pytest.mark.parametrize("recall", [0, -0.5, 1.01, float("nan"), "much", None, True])
def test_a_recall_out_of_range_is_named(recall):
    with pytest.raises(DataError, match=r"IndexSettings.recall is .*; expected a number above 0, at most 1"):
        build(np.eye(3), settings=IndexSettings(recall=recall))


@pytest.mark.parametrize("probes", [0, -1, 2.5, "all"])
def test_a_number_of_probes_out_of_range_is_named(probes):
    with pytest.raises(DataError, match=r"IndexSettings.probes is .*; expected"):
        build(np.eye(3), settings=IndexSettings(probes=probes))


def test_queries_are_items_and_means_of_items():
    vectors = np.eye(8, dtype=np.float32)
    queries = sample_queries(vectors, 0)
    items, means = queries.vectors[queries.own >= 0], queries.vectors[queries.own < 0]
    np.testing.assert_array_equal(items, vectors[queries.own[queries.own >= 0]])
    np.testing.assert_allclose(means.sum(axis=1), 1, rtol=1e-6)
    assert len(np.unique(queries.own)) == 9 and len(means) == tuning.QUERIES
