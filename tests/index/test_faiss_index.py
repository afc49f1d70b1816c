"""Laws of the index. Vectors of small integers make every score exact in float32 and ties frequent: the answers are known."""

from __future__ import annotations

import builtins
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.errors import DataError, MissingExtraError, UnknownItemError
from llmrec.index import faiss_index
from llmrec.index.faiss_index import Index, IndexSettings, add, build, remove, search, usable

LISTS = IndexSettings(exact_below=1, lists=8, probes=8)  # every list is looked into: has to be exact
FEW = IndexSettings(exact_below=1, lists=16, probes=2)


def brute(vectors, ids, queries, k, allowed=None, excluded=None):
    """The definition, in float64, one query at a time."""
    scores, items = np.full((len(queries), k), -np.inf), np.full((len(queries), k), -1)
    for row, query in enumerate(np.asarray(queries, np.float64)):
        may = np.ones(len(ids), bool)
        if allowed is not None:
            may &= (allowed if allowed.ndim == 1 else allowed[row])[ids]
        if excluded is not None:
            may &= ~np.isin(ids, excluded[row])
        score, item = (np.asarray(vectors, np.float64) @ query)[may], ids[may]
        order = np.lexsort((item, -score))[:k]
        scores[row, : len(order)], items[row, : len(order)] = score[order], item[order]
    return scores, items


def integers(rng, n, d, high=2):
    return rng.integers(-high, high + 1, (n, d)).astype(np.float32)


def same(answer, expected):
    np.testing.assert_array_equal(answer[1], expected[1])
    np.testing.assert_array_equal(answer[0], expected[0])


def check(seed, n, d, m, mask, density, seen, kind, k):
    """A search of a world drawn from `seed` against the definition."""
    rng = np.random.default_rng(seed)
    ids = rng.permutation(2 * n)[:n]
    vectors, queries = integers(rng, n, d), integers(rng, m, d)
    allowed = {"none": None, "shared": rng.random(2 * n) < density, "own": rng.random((m, 2 * n)) < density}[mask]
    excluded = [rng.integers(-5, 2 * n + 5, rng.integers(0, seen + 1)) for _ in range(m)] if seen else None
    kind = kind if kind.exact_below > 1 else IndexSettings(1, min(n, kind.lists), kind.probes)
    index = build(vectors, ids, kind)
    scores, items = search(index, queries, k, allowed, excluded)
    expected = brute(vectors, ids, queries, k, allowed, excluded)
    assert scores.dtype == np.float32 and items.dtype == np.int64
    if index.exact or kind.probes >= kind.lists:
        same((scores, items), expected)
        return
    # Approximate: as many as there are, distinct, none that is filtered, each with its true score, and in order.
    np.testing.assert_array_equal(items < 0, expected[1] < 0)
    everything = brute(vectors, ids, queries, n, allowed, excluded)
    for row in range(m):
        true = dict(zip(everything[1][row].tolist(), everything[0][row].tolist(), strict=True))
        got = items[row][items[row] >= 0].tolist()
        assert [true[item] for item in got] == scores[row][: len(got)].tolist()
        assert sorted(set(got), key=lambda item: (-true[item], item)) == got


@pytest.mark.parametrize("seen", [0, 30])
@pytest.mark.parametrize("mask", ["none", "shared", "own"])
@pytest.mark.parametrize("m", [2, 21])
@pytest.mark.parametrize("kind", [IndexSettings(), LISTS, FEW], ids=["flat", "lists", "few"])
def test_search_is_brute_force(kind, m, mask, seen):
    check(5, 120, 6, m, mask, 0.5, seen, kind, 25)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 150),
    d=st.integers(1, 9),
    m=st.sampled_from([0, 1, 3, 15, 16, 40]),
    mask=st.sampled_from(["none", "shared", "own"]),
    density=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    seen=st.integers(0, 30),
    kind=st.sampled_from([IndexSettings(), LISTS, FEW]),
    data=st.data(),
)
def test_search_is_brute_force_for_any_size(seed, n, d, m, mask, density, seen, kind, data):
    check(seed, n, d, m, mask, density, seen, kind, data.draw(st.integers(1, n)))


def test_near_ties_go_by_the_score_that_is_reported():
    rng = np.random.default_rng(9)
    row = rng.normal(size=48)
    vectors = np.array([rng.permutation(row) for _ in range(600)], np.float32)  # equal sums, but for rounding
    queries = np.ones((40, 48), np.float32)
    scores = np.array([np.vecdot(vector, queries[0]) for vector in vectors])
    assert len(np.unique(scores)) > 5
    order = np.lexsort((np.arange(600), -scores))
    for kind in (IndexSettings(), LISTS):
        index = build(vectors, settings=kind)
        for part in (queries, queries[:1]):
            for k in (1, 50):
                same(search(index, part, k), ([scores[order[:k]]] * len(part), [order[:k]] * len(part)))


@pytest.mark.parametrize(
    "excluded", [list(range(60, 80)), [-1] * 20 + list(range(60, 80))], ids=["some fetched", "all fetched"]
)
def test_near_ties_are_settled_behind_exclusions_too(excluded):
    rng = np.random.default_rng(10)
    row = rng.normal(size=48)
    row *= np.sign(row.sum())
    vectors = np.array([rng.permutation(row) * (1 if at < 60 else 0.1) for at in range(80)], np.float32)
    queries = np.ones((40, 48), np.float32)
    scores = np.array([np.vecdot(vector, queries[0]) for vector in vectors[:60]])
    order = np.lexsort((np.arange(60), -scores))[:10]
    index = build(vectors)
    for part in (queries, queries[:1]):
        same(
            search(index, part, 10, None, [np.array(excluded)] * len(part)), ([scores[order]] * len(part), [order] * len(part))
        )


@pytest.mark.parametrize("kind", [IndexSettings(), LISTS], ids=["flat", "lists"])
def test_the_best_k_begin_the_best_k_plus_one_and_do_not_depend_on_the_batch(kind):
    rng = np.random.default_rng(1)
    texts = rng.normal(size=(90, 33)).astype(np.float32)
    vectors = texts[rng.integers(0, 90, 700)]  # many products share a text: ties everywhere
    queries = rng.normal(size=(64, 33)).astype(np.float32)
    excluded = [rng.integers(0, 700, rng.integers(0, 60)) for _ in queries]
    index = build(vectors, settings=kind)
    whole = search(index, queries, 100, None, excluded)
    for k in (1, 2, 7, 8, 9, 50, 99):
        answer = search(index, queries, k, None, excluded)
        same(answer, (whole[0][:, :k], whole[1][:, :k]))
    for part in (slice(0, 1), slice(5, 12), slice(30, 60)):
        same(search(index, queries[part], 100, None, excluded[part]), (whole[0][part], whole[1][part]))


def test_equal_scores_come_in_catalogue_order():
    index = build(np.ones((300, 4), np.float32), np.arange(300)[::-1])
    assert search(index, np.ones((25, 4), np.float32), 7)[1].tolist() == [list(range(7))] * 25


@pytest.mark.parametrize("kind", [IndexSettings(), LISTS, FEW], ids=["flat", "lists", "few"])
def test_adding_and_removing_again_changes_nothing(kind):
    rng = np.random.default_rng(2)
    vectors, queries = integers(rng, 400, 6), integers(rng, 30, 6)
    more, ids = integers(rng, 50, 6), np.arange(1000, 1050)
    index = build(vectors, np.arange(400) * 2, kind)
    before = search(index, queries, 40)
    larger = add(index, more, ids)
    same(search(index, queries, 40), before)  # the snapshot itself never changes
    if kind is not FEW:
        same(search(larger, queries, 40), brute(np.vstack([vectors, more]), np.append(index.ids, ids), queries, 40))
    assert set(search(larger, more * 100, 1)[1].ravel()) & set(ids)
    same(search(remove(larger, ids), queries, 40), before)
    before_odd = search(larger, queries, 40)
    odd = remove(larger, index.ids[::3])
    same(search(larger, queries, 40), before_odd)
    assert not np.isin(search(odd, queries, len(odd))[1], index.ids[::3]).any()
    back = add(odd, vectors[::3], index.ids[::3])
    same(search(remove(back, ids), queries, 40), before)
    np.testing.assert_array_equal(remove(back, ids).vectors, vectors)


def test_an_index_grows_into_lists_and_shrinks_back():
    rng = np.random.default_rng(3)
    vectors, queries = integers(rng, 300, 5), integers(rng, 9, 5)
    index = build(vectors[:200], settings=IndexSettings(exact_below=250, lists=4, probes=4))
    larger = add(index, vectors[200:], np.arange(200, 300))
    assert index.exact and not larger.exact and remove(larger, np.arange(200, 300)).exact
    same(search(larger, queries, 20), brute(vectors, np.arange(300), queries, 20))
    same(search(remove(larger, np.arange(100)), queries, 20), brute(vectors[100:], np.arange(100, 300), queries, 20))


def test_more_probes_find_no_less():
    rng = np.random.default_rng(4)
    centres = rng.normal(size=(40, 24))
    vectors = (centres[rng.integers(0, 40, 4000)] + 0.7 * rng.normal(size=(4000, 24))).astype(np.float32)
    queries = (centres + 0.7 * rng.normal(size=(40, 24))).astype(np.float32)
    truth, found = search(build(vectors), queries, 20)[1], []
    for probes in (1, 4, 16, 64):
        items = search(build(vectors, settings=IndexSettings(1, 64, probes)), queries, 20)[1]
        found.append(np.mean([len(np.intersect1d(a, b)) / 20 for a, b in zip(items, truth, strict=True)]))
    assert found == sorted(found) and found[0] < found[2] and found[-1] == 1


@pytest.mark.parametrize("kind", [IndexSettings(), FEW], ids=["flat", "lists"])
def test_threads_agree(kind):
    rng = np.random.default_rng(5)
    vectors, queries = integers(rng, 900, 16), integers(rng, 12, 16)
    masks = [rng.random(900) < density for density in (0.05, 0.3, 0.9, 1.0)]
    index = build(vectors, settings=kind)
    alone, answers = [search(index, queries, 30, mask) for mask in masks], {}
    start = threading.Barrier(4)

    def work(place):
        start.wait()
        answers[place] = [search(index, queries, 30, masks[place]) for _ in range(8)]

    threads = [threading.Thread(target=work, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for place in range(4):
        for answer in answers[place]:
            same(answer, alone[place])


def test_a_mask_that_leaves_little_is_answered_from_every_list():
    rng = np.random.default_rng(6)
    vectors, queries = integers(rng, 1000, 8), integers(rng, 30, 8)
    index, allowed = build(vectors, settings=IndexSettings(1, 25, 1)), np.zeros(1000, bool)
    allowed[rng.permutation(1000)[:20]] = True
    same(search(index, queries, 20, allowed), brute(vectors, np.arange(1000), queries, 20, allowed))


def test_the_vectors_outlive_the_index_and_cannot_be_written():
    rng = np.random.default_rng(7)
    vectors = integers(rng, 5000, 32)
    kept = [build(vectors, settings=kind).vectors for kind in (IndexSettings(), LISTS)]
    build(integers(rng, 5000, 32))  # would reuse memory that was freed
    for copy in kept:
        np.testing.assert_array_equal(copy, vectors)
        with pytest.raises(ValueError, match="read-only"):
            copy[0, 0] = 1


def test_the_index_does_not_follow_the_callers_array():
    rng = np.random.default_rng(8)
    for kind in (IndexSettings(), LISTS):
        vectors, queries = integers(rng, 200, 4), integers(rng, 5, 4)
        index, before = build(vectors, settings=kind), brute(vectors, np.arange(200), queries, 9)
        vectors[:] = 0
        same(search(index, queries, 9), before)


@pytest.fixture
def ten() -> Index:
    return build(np.eye(10, 3, dtype=np.float32))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda i: build(np.zeros((0, 3))), "at least one item"),
        (lambda i: build(np.zeros(3)), r"vectors: expected shape \(rows, d\)"),
        (lambda i: build([[1, 2], [np.nan, 1], [1, np.inf]]), "vectors: rows 1, 2"),
        (lambda i: build([[1e300, 1]]), "vectors: rows 0"),
        (lambda i: build([[1e30, 1]]), "scale them down"),
        (lambda i: build(np.eye(3), [0, 0, -1]), "ids: -1, 0"),
        (lambda i: build(np.eye(3), [0, 1]), "ids: expected 3 integers"),
        (lambda i: build(np.eye(3), [0.0, 1.0, 2.0]), "ids: expected 3 integers"),
        (lambda i: add(i, np.eye(3), [9, 10, 11]), "ids: 9 are in the index"),
        (lambda i: add(i, np.eye(2), [10, 11]), r"expected shape \(rows, 3\)"),
        (lambda i: remove(i, np.arange(10)), "at least one item"),
        (lambda i: search(i, np.eye(2), 1), r"queries: expected shape \(rows, 3\)"),
        (lambda i: search(i, [[0, np.nan, 0]], 1), "queries: rows 0"),
        (lambda i: search(build([[1e15, 0]]), [[1e24, 0]], 1), "scale vectors and queries down"),
        (lambda i: search(i, np.eye(3), 11), "k: expected 1 to 10"),
        (lambda i: search(i, np.eye(3), 0), "k: expected 1 to 10"),
        (lambda i: search(i, np.eye(3), 1, np.arange(10)), "allowed: expected bool"),
        (lambda i: search(i, np.eye(3), 1, np.ones((2, 10), bool)), "allowed: expected bool"),
        (lambda i: search(i, np.eye(3), 1, np.ones(9, bool)), "allowed: expected more than 9"),
        (lambda i: search(i, np.eye(3), 1, None, [[1]]), "excluded: expected one array for each of 3"),
    ],
)
def test_what_cannot_be_used_is_named(ten, call, says):
    with pytest.raises(DataError, match=says):
        call(ten)


def test_an_item_that_is_not_there_cannot_be_removed(ten):
    with pytest.raises(UnknownItemError, match="ids: 10, 99 are not in the index"):
        remove(ten, np.array([1, 99, 10]))


def test_without_faiss_the_message_names_the_extra(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.split(".")[0] == "faiss":
            raise ModuleNotFoundError("No module named 'faiss'")
        return real(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, "faiss", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"pip install 'llmrec\[cpu\]'"):
        build(np.eye(3))


@pytest.fixture
def two_gpus(monkeypatch):
    """faiss as if built for GPUs, with two of them: (number, width) of each search there."""
    faiss, asked = pytest.importorskip("faiss"), []

    class Resources:
        def setTempMemory(self, size):
            self.size = size

    class Gpu:
        def __init__(self, number, engine):
            self.number, self.engine = number, faiss.clone_index(engine)
            if hasattr(engine, "nprobe"):
                self.nprobe = engine.nprobe

        def search(self, queries, width):
            asked.append((self.number, width))
            if hasattr(self, "nprobe"):
                assert self.nprobe <= min(self.engine.nlist, 2048)
                self.engine.nprobe = self.nprobe
            assert width <= 2048  # more is an error on a GPU
            return self.engine.search(queries, width)

    monkeypatch.setattr(faiss, "StandardGpuResources", Resources, raising=False)
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 2, raising=False)
    monkeypatch.setattr(faiss, "index_cpu_to_gpu", lambda resources, number, engine: Gpu(number, engine), raising=False)
    return asked


@pytest.mark.parametrize(
    "kind", [IndexSettings(), LISTS, IndexSettings(1, 16, 99)], ids=["flat", "lists", "more than there are"]
)
def test_a_gpu_fetches_and_the_answer_is_the_cpus(two_gpus, kind):
    rng = np.random.default_rng(13)
    vectors, queries = rng.normal(size=(3000, 8)).astype(np.float32), rng.normal(size=(20, 8)).astype(np.float32)
    here, there = build(vectors, settings=kind), build(vectors, settings=replace(kind, device="cuda:1"))
    excluded = [rng.integers(0, 3000, 30) for _ in queries]
    for part in (queries, queries[:1]):
        same(search(there, part, 10, None, excluded[: len(part)]), search(here, part, 10, None, excluded[: len(part)]))
    assert {number for number, _ in two_gpus} == {1}
    asked = len(two_gpus)
    same(search(there, queries, 2500), search(here, queries, 2500))  # wider than a GPU can
    same(search(there, queries, 5, np.arange(3000) % 2 == 0), search(here, queries, 5, np.arange(3000) % 2 == 0))
    assert len(two_gpus) == asked
    later = remove(add(there, 3 * vectors[:2], np.array([3000, 3001])), np.array([0]))
    same(
        search(later, queries, 10),
        search(remove(add(here, 3 * vectors[:2], np.array([3000, 3001])), np.array([0])), queries, 10),
    )
    assert len(two_gpus) > asked


def test_a_recall_that_a_gpu_cannot_reach_is_reached_on_the_cpu(two_gpus, monkeypatch):
    vectors = np.random.default_rng(14).normal(size=(2000, 24)).astype(np.float32)
    there = IndexSettings(exact_below=1, lists=100, device="cuda")
    assert build(vectors, settings=there).card is not None
    monkeypatch.setattr(faiss_index, "GPU_WIDTH", 20)
    tuned, given = build(vectors, settings=there), build(vectors, settings=replace(there, probes=90))
    assert tuned.tuned.probes > 20 and tuned.card is None and tuned.tuned.recall >= 0.99
    assert given.tuned.probes == 20 and given.card is not None and given.tuned.recall < 0.99


@pytest.mark.parametrize("device", ["cuda:2", "cuda:x", "gpu", "", "cuda2"])
def test_a_gpu_that_is_not_there_is_refused(two_gpus, device):
    with pytest.raises(DataError, match="IndexSettings.device: expected 'cpu' or a GPU faiss finds"):
        build(np.eye(3), settings=IndexSettings(device=device))
    assert not usable(device)
    assert usable("cpu") and usable("cuda") and usable("cuda:1")


def test_a_gpu_needs_the_build_for_gpus():
    if hasattr(pytest.importorskip("faiss"), "StandardGpuResources"):
        pytest.skip("faiss is built for GPUs here")
    with pytest.raises(MissingExtraError, match=r"llmrec\[gpu\]"):
        build(np.eye(3), settings=IndexSettings(device="cuda"))
