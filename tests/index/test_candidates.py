"""Laws of the candidates, in worlds small enough to know every answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from scipy import sparse

from llmrec.data.dataset import Catalogue, Dataset, EventWeights
from llmrec.data.ids import Ids
from llmrec.errors import DataError
from llmrec.index import candidates as candidates_module
from llmrec.index.candidates import (
    POPULAR,
    REPEAT,
    TEXT,
    TOGETHER,
    Sources,
    by_popularity,
    candidates,
    first_allowed,
    names,
    neighbours,
    recall,
)
from llmrec.index.faiss_index import build

NONE = Sources(text_k=0, knn_k=0, popular_k=0, repeats=False)
EACH = {
    "repeat": replace(NONE, repeats=True),
    "co-occurrence": replace(NONE, knn_k=5),
    "text": replace(NONE, text_k=6),
    "popular": replace(NONE, popular_k=4),
}


def dataset(histories: list[list[int]], n_items: int) -> Dataset:
    item = np.array([item for history in histories for item in history], np.int32)
    start = np.concatenate([[0], np.cumsum([len(history) for history in histories])]).astype(np.int64)
    basket = np.concatenate([np.arange(len(history)) for history in histories]).astype(np.int32)
    catalogue = Catalogue(Ids(range(n_items)), pa.table({"title": [str(item) for item in range(n_items)]}))
    return Dataset(Ids(range(len(histories))), catalogue, start, item, np.zeros(len(item)), basket, {})


def world(seed: int, tasks: int = 25, items: int = 60, d: int = 5):
    """Random small integers everywhere: ties in every source."""
    rng = np.random.default_rng(seed)
    together = rng.integers(0, 3, (items, items)) * (rng.random((items, items)) < 0.2) * ~np.eye(items, dtype=bool)
    support = rng.integers(1, 4, (tasks, items)) * (rng.random((tasks, items)) < 0.1)
    support[0] = 0  # a task that knows nothing
    return {
        "user_vectors": rng.integers(-2, 3, (tasks, d)).astype(np.float32),
        "index": build(rng.integers(-2, 3, (items, d)).astype(np.float32)),
        "support": sparse.csr_array(support.astype(np.float32)),
        "together": sparse.csr_array(together.astype(np.float32)),
        "popular": most_popular(rng.integers(1, 4, items) * (rng.random(items) < 0.12)),
    }


def most_popular(popularity: np.ndarray) -> np.ndarray:
    """Items with any popularity, by definition: the most popular first, the lower item among equals."""
    return np.array(sorted(np.flatnonzero(popularity).tolist(), key=lambda item: (-popularity[item], item)), np.int64)


def expected(world, task, sources, may):
    """The definition of every source, one task at a time."""
    support = world["support"].toarray()[task]
    items = np.arange(len(support))
    if not sources.repeats:
        may = may & (support == 0)

    def best(scores, k, floor):
        order = np.lexsort((items, -scores))
        return {int(item) for item in [item for item in order if may[item] and scores[item] > floor][:k]}

    return {
        REPEAT: {int(item) for item in items if support[item] and may[item]} if sources.repeats else set(),
        TOGETHER: best(support @ world["together"].toarray(), sources.knn_k, 0),
        TEXT: best(world["index"].vectors @ world["user_vectors"][task], sources.text_k, -np.inf),
        POPULAR: {int(item) for item in [item for item in world["popular"] if may[item]][: sources.popular_k]},
    }


def masks(rng, tasks, items):
    return {
        "all": None,
        "shared": rng.random(items) < 0.4,
        "own": rng.random((tasks, items)) < 0.4,
        "nothing": np.zeros(items, bool),
    }


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("mask", ["all", "shared", "own", "nothing"])
@pytest.mark.parametrize("repeats", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_candidates_are_the_definition(monkeypatch, seed, repeats, mask, whole):
    monkeypatch.setattr(candidates_module, "whole_pays", lambda *sizes: whole)
    planted, sources = world(seed), Sources(text_k=6, knn_k=5, popular_k=4, repeats=repeats)
    tasks, items = planted["support"].shape
    allowed = masks(np.random.default_rng(seed), tasks, items)[mask]
    answer = candidates(**planted, sources=sources, allowed=allowed)
    assert answer.item.dtype == np.int32 and answer.source.dtype == np.uint8 and len(answer) == tasks
    for task in range(tasks):
        may = np.ones(items, bool) if allowed is None else allowed if allowed.ndim == 1 else allowed[task]
        wanted = expected(planted, task, sources, may)
        part = slice(answer.start[task], answer.start[task + 1])
        assert answer.of(task).tolist() == sorted(set().union(*wanted.values()))
        for item, source in zip(answer.item[part].tolist(), answer.source[part].tolist(), strict=True):
            assert source == sum(bit for bit, brought in wanted.items() if item in brought)


@pytest.mark.parametrize("repeats", [True, False])
def test_the_union_is_the_union_of_each(repeats):
    planted = world(9)
    each = [candidates(**planted, sources=replace(sources, repeats=repeats)) for sources in EACH.values()]
    whole = candidates(**planted, sources=Sources(text_k=6, knn_k=5, popular_k=4, repeats=repeats))
    together = [set(zip(found.task.tolist(), found.item.tolist(), strict=True)) for found in [*each, whole]]
    assert set().union(*together[:-1]) == together[-1]
    assert all(part < together[-1] for part in together[:-1])


def test_a_task_is_answered_the_same_beside_others_and_alone():
    planted, sources = world(11), Sources(text_k=6, knn_k=5, popular_k=4, repeats=False)
    whole = candidates(**planted, sources=sources)
    for task in (0, 7, 24):
        rows = {"user_vectors": planted["user_vectors"][[task]], "support": planted["support"][[task]]}
        assert candidates(**{**planted, **rows}, sources=sources).of(0).tolist() == whole.of(task).tolist()


def test_a_source_that_is_off_needs_nothing():
    planted = world(12)
    bare = candidates(None, None, planted["support"], None, None, EACH["repeat"])
    np.testing.assert_array_equal(bare.item, planted["support"].indices)
    assert len(candidates(None, None, planted["support"], None, None, NONE).item) == 0
    none = candidates(
        planted["user_vectors"][:0], planted["index"], planted["support"][:0], planted["together"], np.arange(60), Sources()
    )
    assert len(none) == 0 and none.padded().shape == (0, 0)
    assert recall(none, [])["all"].shape == (0,)


def test_a_zero_in_the_support_is_nothing_and_a_repeated_entry_adds_up():
    support = sparse.csr_array((np.array([1.0, 0, 2, 1]), np.array([4, 2, 0, 4]), np.array([0, 4])), shape=(1, 6))
    together = sparse.csr_array(
        np.array([[0, 1, 0, 0, 0, 0], [0] * 6, [0, 0, 0, 9, 0, 0], [0] * 6, [0, 0, 0, 0, 0, 1.5], [0] * 6])
    )
    found = candidates(None, None, support, together, None, replace(NONE, knn_k=1, repeats=True))
    assert found.of(0).tolist() == [0, 4, 5] and found.source.tolist() == [REPEAT, REPEAT, TOGETHER]
    assert support.nnz == 4  # the caller's table is left as it was


def test_padded_holds_each_task_in_its_row():
    answer = candidates(**world(13), sources=Sources(3, 3, 3))
    table = answer.padded()
    for task in range(len(answer)):
        row = table[task]
        assert row[row >= 0].tolist() == answer.of(task).tolist() and (row[len(answer.of(task)) :] == -1).all()


def test_recall_of_everything_is_one_and_of_each_source_what_it_brings():
    planted = world(14)
    rng = np.random.default_rng(0)
    relevant = [np.sort(rng.permutation(60)[: rng.integers(0, 9)]) for _ in range(25)]
    everything = recall(candidates(**planted, sources=Sources(text_k=60, knn_k=0, popular_k=0)), relevant)
    some = np.array([len(items) > 0 for items in relevant])
    assert not some.all()
    np.testing.assert_array_equal(everything["all"], np.where(some, 1.0, np.nan))
    answer = candidates(**planted, sources=Sources(text_k=6, knn_k=5, popular_k=4))
    got = recall(answer, relevant)
    assert list(got) == ["all", "repeat", "co-occurrence", "text", "popular"]
    for task in np.flatnonzero(some):
        wanted = expected(planted, task, Sources(6, 5, 4), np.ones(60, bool))
        for name, bit in zip(list(got)[1:], (REPEAT, TOGETHER, TEXT, POPULAR), strict=True):
            assert got[name][task] == len(wanted[bit] & set(relevant[task])) / len(relevant[task])
        assert got["all"][task] == len(set().union(*wanted.values()) & set(relevant[task])) / len(relevant[task])
    with pytest.raises(DataError, match="relevant: expected one array for each of 25"):
        recall(answer, relevant[:3])


def test_names():
    assert names(np.array([POPULAR, REPEAT | TEXT, TOGETHER, 15], np.uint8)) == [
        "popular",
        "repeat+text",
        "co-occurrence",
        "repeat+co-occurrence+text+popular",
    ]


@pytest.mark.parametrize("shrink", [0.0, 3.0])
@pytest.mark.parametrize("k", [1, 4, 100])
def test_neighbours_are_the_definition(k, shrink, monkeypatch):
    monkeypatch.setattr("llmrec.index.candidates.ROWS", 7)
    rng = np.random.default_rng(20)
    histories = [rng.integers(0, 28, rng.integers(1, 15)).tolist() for _ in range(50)]
    users = np.arange(0, 50, 2)
    bought = np.zeros((25, 30))
    for row, user in enumerate(users):
        bought[row, histories[user]] = 1
    both, count = bought.T @ bought, bought.sum(axis=0)
    similar = both / np.maximum(np.sqrt(np.outer(count, count)) + shrink, 1e-9)
    np.fill_diagonal(similar, 0)
    got = neighbours(dataset(histories, 30), users, k, shrink)
    assert got.shape == (30, 30) and got.dtype == np.float32
    for item in range(30):
        order = np.lexsort((np.arange(30), -similar[item].astype(np.float32)))
        best = sorted(other for other in order[:k] if similar[item, other] > 0)
        part = slice(got.indptr[item], got.indptr[item + 1])
        assert got.indices[part].tolist() == best
        np.testing.assert_allclose(got.data[part], similar[item, best], rtol=1e-6)


@pytest.mark.parametrize("shrink", [0.0, 3.0])
def test_neighbours_are_the_cosine_of_what_events_weigh(shrink):
    """An event without a weight weighs 1; of several with an item the largest weight is taken, and 0 is none."""
    rng = np.random.default_rng(22)
    histories = [rng.integers(0, 28, rng.integers(1, 15)).tolist() for _ in range(50)]
    bare, users = dataset(histories, 30), np.arange(0, 50, 2)
    weight = rng.choice(np.array([0.0, 0.2, 1.0, 4.0, np.nan], np.float32), bare.n_events)
    data = replace(bare, attributes={"weight": weight}, event_weights=EventWeights(scale=2.0))
    bought = np.zeros((50, 30))
    for user, item, value in zip(data.user, data.item, weight, strict=True):
        bought[user, item] = max(bought[user, item], 1.0 if np.isnan(value) else value / 2.0)
    bought = bought[users]
    square = (bought**2).sum(axis=0)
    similar = bought.T @ bought / np.maximum(np.sqrt(np.outer(square, square)) + shrink, 1e-9)
    np.fill_diagonal(similar, 0)
    np.testing.assert_allclose(neighbours(data, users, 100, shrink).toarray(), similar, rtol=1e-6)
    ones = replace(bare, attributes={"weight": np.full(bare.n_events, 2.0, np.float32)}, event_weights=EventWeights(scale=2.0))
    whole, plain = neighbours(ones, users, 4, shrink), neighbours(bare, users, 4, shrink)
    assert whole.dtype == np.float32 and (whole != plain).nnz == 0


def test_neighbours_find_planted_sets_and_ignore_other_users():
    rng = np.random.default_rng(21)
    sets = np.arange(2600).reshape(-1, 4)  # more items than are counted at a time
    train = [rng.permutation(row).tolist() for row in np.repeat(sets, 3, axis=0)]
    test = [rng.permutation(2600)[:50].tolist() for _ in range(20)]
    world = dataset(train + test, 2600)
    got = neighbours(world, np.arange(len(train)), k=10, shrink=0)
    for row in (0, 255, 256, 649):
        for item in sets[row]:
            assert got[[item]].indices.tolist() == [other for other in sets[row] if other != item]
    np.testing.assert_allclose(got.data, 1, rtol=1e-6)
    known = sparse.csr_array((np.ones(650), (np.arange(650), sets[:, 0])), shape=(650, 2600))
    found = candidates(None, None, known, got, None, replace(NONE, knn_k=5))
    assert (recall(found, list(sets[:, 1:]))["co-occurrence"] == 1).all() and len(found.item) == 3 * 650


def test_neighbours_of_nobody_are_none():
    assert neighbours(dataset([[0, 1], [1, 2]], 3), np.zeros(0, np.int64)).nnz == 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"index": None}, "expected both for text candidates"),
        ({"user_vectors": np.ones((3, 5))}, "expected 25 vectors"),
        ({"together": None}, r"together: expected shape \(60, 60\), got None"),
        ({"together": sparse.csr_array((9, 9))}, r"together: expected shape \(60, 60\), got \(9, 9\)"),
        ({"popular": None}, "popular: expected at most 60 items as int .*, got None"),
        ({"popular": np.ones(7)}, r"popular: expected at most 60 items as int .*, got float64 \(7,\)"),
        ({"popular": np.arange(61)}, r"popular: expected at most 60 items as int .*, got int64 \(61,\)"),
        ({"allowed": np.ones(59, bool)}, "allowed: expected bool"),
        ({"allowed": np.ones(60, np.int64)}, "allowed: expected bool"),
        ({"sources": Sources(text_k=-1)}, "counts from 0 on"),
    ],
)
def test_what_does_not_fit_is_named(change, says):
    with pytest.raises(DataError, match=says):
        candidates(**{**world(1), "sources": Sources(), **change})


def test_the_order_of_popularity_is_the_lower_item_first_among_equals():
    popularity = np.random.default_rng(0).integers(0, 4, 60).astype(np.float32)
    order = by_popularity(popularity)
    assert np.array_equal(order[: np.count_nonzero(popularity)], most_popular(popularity)) and len(set(order.tolist())) == 60
    with pytest.raises(DataError, match="popularity: expected finite"):
        by_popularity(np.full(60, np.nan))


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
def test_the_first_allowed_of_an_order_are_found_without_reading_all_of_it(share):
    rng = np.random.default_rng(3)
    order, allowed = rng.permutation(1000), rng.random(1000) < share
    for count in (0, 1, 7, 500, 2000):
        assert first_allowed(order, count, allowed).tolist() == [item for item in order if allowed[item]][:count]
        assert np.array_equal(first_allowed(order, count, None), order[:count])


def test_neighbours_refuse_what_makes_no_sense():
    for k, shrink in ((0, 1.0), (5, -1.0), (5, float("nan"))):
        with pytest.raises(DataError, match="k >= 1 and shrink >= 0"):
            neighbours(dataset([[0, 1]], 2), np.array([0]), k, shrink)


@pytest.mark.parametrize("repeats", [True, False])
def test_what_was_seen_is_left_out_where_repeats_are_and_brings_nothing(repeats):
    """Beside the support each task has seen two more items, such as those that a user disliked."""
    planted, sources = world(5), Sources(text_k=60, knn_k=60, popular_k=60, repeats=repeats)
    support = planted["support"].toarray()
    seen, rng = support > 0, np.random.default_rng(0)
    for row in seen:
        row[rng.choice(np.flatnonzero(~row), 2, replace=False)] = True
    found = candidates(**planted, sources=sources, seen=sparse.csr_array(seen.astype(np.float32)))
    without = candidates(**planted, sources=sources)
    if repeats:
        assert np.array_equal(found.item, without.item) and np.array_equal(found.source, without.source)
        return
    for task in range(len(found)):
        assert found.of(task).tolist() == [item for item in without.of(task) if not seen[task, item]]
    assert len(found.item) < len(without.item)
