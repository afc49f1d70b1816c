"""Nearest items by inner product: the one place that imports faiss.

An `Index` is a snapshot that never changes: `add` and `remove` return a new one, and the caller swaps it in. faiss on a CPU
allows searches side by side but none beside a write, so any number of threads may search one snapshot. Never fork a process
that has searched: faiss's threads do not survive it, see `forks.py`. An index is derived from its vectors and quickly rebuilt,
so it is never saved.

Order. Results come by score descending; equal scores by internal item index ascending, which is catalogue order. faiss's own
scores differ in the last bits with the size of the batch, and among equal scores (two products with one text) it keeps the one
that comes first. So faiss only fetches: a few more than asked for, scored again one pair at a time, and fetched wider whenever
what was left out could still belong. The answer to a query hence does not depend on the queries beside it, and the best k begin
the best k + 1.

Kinds. Below `exact_below` items every item is compared (`IndexFlatIP`). Above, inverted lists (`IndexIVFFlat`) compare those of
`probes` lists: approximate, many times faster. A graph (HNSW) cannot remove items.
A query whose lists hold fewer than k of what the filters leave is answered exactly; only there may a larger k change the first.

Lists. A vector is in the list with the nearest centre, and a query looks into the lists whose centres, means of their vectors,
score highest. So lists of popular items, whose vectors are long, come first. Centres of length 1 would not tell them: of a
million items the best 100 for a user were found after half of the lists, and so after two of 2,000.

Recall. How many lists a query looks into is tuned by `build` to find `recall` of the best 100 (`tuning.py`): few where vectors
form groups, most lists where they have no structure, and all if need be, which is exact. `Index.tuned` says what came out.
Where one filter for all queries leaves a part of the items, they look into as many more lists: the best 100 of a tenth are
among the best 1,000. Queries unlike those tuned on, more than 100 hits and filters of single queries may find less.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from llmrec.data.numbers import check_number, check_whole
from llmrec.errors import DataError, MissingExtraError, UnknownItemError
from llmrec.index.exact import best_of, multiply, scan, score
from llmrec.index.filters import Filter, item_ids, matrix, some
from llmrec.index.tuning import Queries, Tuned, measure, sample_queries, tune

SPARE = 16  # fetched beyond what is asked for, to tell near ties at the edge apart
MANY = 16  # from this many queries on a product of matrices beats faiss's scan, which reads every vector for every query
GPU_WIDTH = 2048  # the most neighbours that faiss returns on a GPU, and the most lists that it looks into there
GPU_SCRATCH = 1 << 26  # bytes that each index sets aside there, beside a transformer; by itself faiss would take 1.5 GB


@dataclass(frozen=True)
class IndexSettings:
    """How to search.

    exact_below: catalogues smaller than this are searched exactly.
    lists: inverted lists of larger ones; None is twice the square root of the number of items.
    probes: how many of the lists a query looks into. None tunes it when the index is built, to keep the promise `recall`; a
        number is taken as it is (on a GPU 2,048 at most), and its recall is measured.
    seed: of the k-means that makes the lists, and of the queries to tune on.
    device: "cuda" (the first GPU) or "cuda:1" fetches there where no filter is shared and few enough are wanted (needs
        `llmrec[gpu]`). None is the CPU, but for a recommender the GPU that it runs on itself, if faiss can use it.
    recall: fraction of the exact best 100 that an approximate search finds on average, counted by score; above 0, and 1 at
        most, which makes every search exact. Where that takes more than 2,048 lists, no search runs on a GPU.
    """

    exact_below: int = 200_000
    lists: int | None = None
    probes: int | None = None
    seed: int = 0
    device: str | None = None
    recall: float = 0.99


@dataclass(frozen=True, eq=False)
class Index:
    """A snapshot of items that can be searched; made by `build`, `add` and `remove`.

    ids: int64 (n,), internal item indices, ascending.
    vectors: float32 (n, d), row by row those items' vectors; read-only.
    settings: how it was built.
    engine: the faiss index on the CPU.
    card: the same on a GPU, or None.
    tuned: how many lists a query looks into and what that finds; None where there are no lists.
    """

    ids: np.ndarray
    vectors: np.ndarray
    settings: IndexSettings
    engine: Any
    card: _Card | None = None
    tuned: Tuned | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def exact(self) -> bool:
        """Whether every item is compared."""
        return len(self) < self.settings.exact_below

    def __reduce__(self) -> tuple[Any, ...]:
        return build, (np.array(self.vectors), self.ids, self.settings, self.tuned)  # a copy is built anew, as after loading

    @cached_property
    def reach(self) -> float:
        """The length of the longest vector."""
        return float(_lengths(self.vectors).max())


def build(
    vectors: np.ndarray,
    ids: np.ndarray | None = None,
    settings: IndexSettings = IndexSettings(),
    tuned: Tuned | None = None,
    asked: np.ndarray | None = None,
) -> Index:
    """An index of `vectors` (float32 (n, d)), which are copied.

    ids: int64 (n,), distinct internal item indices; None is 0, 1, ..., n - 1.
    tuned: the `Index.tuned` of an earlier index with the same vectors and settings, so as not to tune again. Where the number
        of lists has changed it is not used.
    asked: float32 (a, d), queries such as will be asked, user vectors for one: an approximate index keeps its recall for these
        as well. Without them it is tuned on the vectors alone.
    Raises DataError: no items, wrong shapes, values that are not finite, ids negative or given twice, a GPU that is not there,
    a recall or a number of probes out of range. Raises MissingExtraError without faiss, and for a GPU with the faiss for CPUs.
    """
    check_number("IndexSettings.recall", settings.recall, 0, most=1, above=True)
    if settings.probes is not None:
        check_whole("IndexSettings.probes", settings.probes, 1)
    vectors = matrix(vectors, "vectors")
    ids = np.arange(len(vectors)) if ids is None else item_ids(ids, len(vectors))
    if len(vectors) == 0:
        raise DataError("vectors: expected at least one item, got none; an empty catalogue has nothing to search")
    _check_lengths(vectors)
    order = np.argsort(ids)
    if not np.array_equal(order, np.arange(len(order))):
        ids, vectors = ids[order], vectors[order]
    faiss, dimension = _faiss(), vectors.shape[1]
    if len(ids) < settings.exact_below:
        engine = faiss.IndexFlatIP(dimension)
        engine.add(vectors)
        vectors, tuned = np.asarray(_Storage(engine, faiss)), None  # no second copy
    else:
        lists = settings.lists or max(1, min(int(2 * len(ids) ** 0.5), len(ids) // 39))  # faiss wants 39 vectors a list
        centres = _centres(vectors, lists, settings.seed)
        quantizer = faiss.IndexFlatIP(dimension)
        quantizer.add(centres)
        engine = faiss.IndexIVFFlat(quantizer, dimension, lists, faiss.METRIC_INNER_PRODUCT)
        list_of = _into_lists(engine, centres, vectors, ids)
        vectors = vectors.copy()
        vectors.flags.writeable = False
        if tuned is None or tuned.lists != lists:
            queries = sample_queries(vectors, settings.seed, None if asked is None else matrix(asked, "asked", dimension))
            tuned = _tune(engine, list_of, vectors, settings, queries)
    return _index(ids, vectors, settings, engine, tuned)


def usable(device: str) -> bool:
    """Whether faiss can search on "cpu" (always), "cuda" (the first GPU), "cuda:1", ...; MissingExtraError without faiss."""
    kind, _, number = device.partition(":")
    if kind != "cuda":
        return device == "cpu"
    faiss, number = _faiss(), number or "0"
    return hasattr(faiss, "StandardGpuResources") and number.isdecimal() and int(number) < faiss.get_num_gpus()


def threads() -> int:
    """How many threads faiss searches with; MissingExtraError without faiss."""
    return int(_faiss().omp_get_max_threads())


def gpu_number(device: str | None) -> int | None:
    """Number of the GPU that `IndexSettings.device` names, None for the CPU. Raises as `build` does."""
    if device is None or device == "cpu":
        return None
    if device.startswith("cuda") and not hasattr(_faiss(), "StandardGpuResources"):
        raise MissingExtraError(
            f"faiss: expected a build for GPUs for device={device!r}, got one for CPUs; "
            "pip uninstall faiss-cpu, then pip install 'llmrec[gpu]', or use device='cpu'"
        )
    if not usable(device):
        raise DataError(f"IndexSettings.device: expected 'cpu' or a GPU faiss finds as 'cuda' or 'cuda:1', got {device!r}")
    return int(device.partition(":")[2] or 0)


def add(index: Index, vectors: np.ndarray, ids: np.ndarray) -> Index:
    """A new index that also holds `vectors` (float32 (n, d)) under `ids` (int64 (n,)); to replace an item, remove it first.

    Inverted lists keep their centres, and queries look into as many as before: after the catalogue has changed beyond
    recognition, `build` anew, which tunes again.
    Raises DataError: as `build`, another d, ids that the index already holds.
    """
    vectors = matrix(vectors, "vectors", index.vectors.shape[1])
    ids = item_ids(ids, len(vectors))
    held = ids[np.isin(ids, index.ids)]
    if len(held):
        raise DataError(f"ids: {some(held)} are in the index already; remove them first")
    _check_lengths(vectors)
    joined = np.concatenate([index.ids, ids])
    order = np.argsort(joined)
    merged = np.concatenate([index.vectors, vectors])[order]
    if index.exact:
        return build(merged, joined[order], index.settings)
    engine = _faiss().clone_index(index.engine)
    _into_lists(engine, engine.quantizer.reconstruct_n(0, engine.nlist), vectors, ids)
    merged.flags.writeable = False
    return _index(joined[order], merged, index.settings, engine, index.tuned)


def remove(index: Index, ids: np.ndarray) -> Index:
    """A new index without `ids` (int64); queries look into as many lists as before.

    Raises UnknownItemError for ids it does not hold, DataError if none is left.
    """
    ids = np.unique(np.asarray(ids, np.int64))
    absent = ids[~np.isin(ids, index.ids)]
    if len(absent):
        raise UnknownItemError(f"ids: {some(absent)} are not in the index; remove only what was added")
    keep = ~np.isin(index.ids, ids)
    if index.exact or keep.sum() < index.settings.exact_below:
        return build(index.vectors[keep], index.ids[keep], index.settings)
    engine = _faiss().clone_index(index.engine)
    engine.remove_ids(ids)
    vectors = index.vectors[keep]
    vectors.flags.writeable = False
    return _index(index.ids[keep], vectors, index.settings, engine, index.tuned)


def search(
    index: Index,
    queries: np.ndarray,
    k: int,
    allowed: np.ndarray | None = None,
    excluded: Sequence[np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The k best items of each query.

    queries: float32 (m, d).
    k: 1 .. len(index).
    allowed: bool (n_items,) for all queries, or (m, n_items) for each; indexed by internal item index. None allows every item.
    excluded: per query an int array of items that it must not get, as those already seen.
    Returns scores float32 (m, k) and items int64 (m, k), best first; -inf and -1 where the filters leave fewer than k.
    Raises DataError: shapes that do not fit, values that are not finite, k out of range, a mask that is not bool or too short.
    """
    queries = matrix(queries, "queries", index.vectors.shape[1])
    if not 1 <= k <= len(index):
        raise DataError(f"k: expected 1 to {len(index)}, the number of items in the index, got {k}; use min(k, len(index))")
    barred = Filter(index.ids, len(queries), allowed, excluded)
    lengths = _lengths(queries)
    if not np.isfinite(index.reach * lengths).all():
        raise DataError("queries: inner products exceed float32; scale vectors and queries down, to length 1 say")
    scores, items = np.full((len(queries), k), -np.inf, np.float32), np.full((len(queries), k), -1, np.int64)
    if barred.count == 0:
        return scores, items
    # How far two float32 sums of d products may be apart; what faiss scored this near the edge might belong to the best k.
    doubt = (index.vectors.shape[1] + 2) * np.finfo(np.float32).eps * index.reach * lengths
    todo, wide, all_rows = np.arange(len(queries)), k + SPARE, barred.count
    while len(todo):
        width = min(wide + barred.allowance, all_rows)
        if index.exact and wide > k + SPARE and width > all_rows // 16:
            break  # one by one costs less than ever wider fetches
        rough, rows = _fetch(index, queries[todo], width, barred)
        drop = barred.drops(todo, rows)
        order = np.argsort(drop, axis=1, kind="stable")[:, :wide]  # the first that pass, as faiss ranks them
        passed = width - np.count_nonzero(drop, axis=1)
        ended = (rows[:, -1] < 0) | (width == all_rows)  # faiss gave all that it could
        edge = np.where(passed > wide, rough[np.arange(len(todo)), order[:, -1]], rough[:, -1])
        held = np.where(np.take_along_axis(drop, order, axis=1), -1, np.take_along_axis(rows, order, axis=1))
        best, found = best_of(score(index.vectors, queries[todo], held), held, k)
        settled = (ended & (passed <= wide)) | (best[:, -1] > edge + doubt[todo])
        for at in np.flatnonzero(settled & (found[:, -1] < 0) & (rows[:, -1] < 0)):  # the lists looked into held too few
            best[at], found[at] = scan(index.vectors, queries[todo[at]], barred.of(int(todo[at])), k)
        scores[todo[settled]], items[todo[settled]] = best[settled], found[settled]
        todo, wide = todo[~settled], 4 * wide
    for query in todo:
        scores[query], items[query] = scan(index.vectors, queries[query], barred.of(int(query)), k)
    return scores, np.where(items < 0, -1, index.ids[items])


def _fetch(index: Index, queries: np.ndarray, width: int, barred: Filter) -> tuple[np.ndarray, np.ndarray]:
    """faiss's own scores (m, width), descending, and rows (m, width), -1 where there are no more."""
    faiss = _faiss()
    if index.card is not None and barred.whole and width <= GPU_WIDTH:
        scores, labels = index.card.search(queries, width)
    elif index.exact and len(queries) >= MANY:
        return multiply(index.vectors, None if barred.whole else barred.rows, queries, width)
    else:
        wanted: dict[str, Any] = {}
        if not barred.whole:
            mask = np.zeros(int(len(index) if index.exact else index.ids[-1] + 1), bool)
            mask[barred.rows if index.exact else index.ids[barred.rows]] = True
            wanted["sel"] = faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little"))
        if index.tuned is None:
            params = faiss.SearchParameters(**wanted)
        else:  # as a parameter of the search, not a state of the index that another thread could change
            params = faiss.SearchParametersIVF(nprobe=_probes(index, index.tuned, barred), **wanted)
        scores, labels = index.engine.search(queries, width, params=params)
    if not index.exact:  # inverted lists know items, not rows
        labels = np.where(labels < 0, -1, np.searchsorted(index.ids, labels))
    return scores, labels


def _probes(index: Index, tuned: Tuned, barred: Filter) -> int:
    """How many lists each query looks into; where a mask of each query's own would say, that of another must not."""
    if index.settings.probes is not None or barred.own is not None:
        return tuned.probes
    return min(tuned.lists, -(-tuned.probes * len(index) // barred.count))


class _Storage:
    """faiss's own memory as a read-only NumPy array that keeps the faiss index alive."""

    def __init__(self, engine: Any, faiss: Any):
        self.engine = engine
        view = faiss.rev_swig_ptr(engine.get_xb(), engine.ntotal * engine.d).reshape(engine.ntotal, engine.d)
        self.__array_interface__ = {**view.__array_interface__, "data": (view.ctypes.data, True)}


class _Card:
    """An index on a GPU; faiss allows one search at a time there."""

    def __init__(self, engine: Any, gpu: int, probes: int, faiss: Any):
        self.resources, self.lock = faiss.StandardGpuResources(), threading.Lock()
        self.resources.setTempMemory(GPU_SCRATCH)
        self.engine = faiss.index_cpu_to_gpu(self.resources, gpu, engine)
        if hasattr(self.engine, "nprobe"):
            self.engine.nprobe = min(probes, engine.nlist, GPU_WIDTH)

    def search(self, queries: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
        with self.lock:
            return self.engine.search(queries, width)


def _index(ids: np.ndarray, vectors: np.ndarray, settings: IndexSettings, engine: Any, tuned: Tuned | None) -> Index:
    gpu, probes = gpu_number(settings.device), 0 if tuned is None else tuned.probes
    broken = settings.probes is None and probes > GPU_WIDTH  # a GPU would look into too few lists
    card = None if gpu is None or broken else _Card(engine, gpu, probes, _faiss())
    return Index(ids, vectors, settings, engine, card, tuned)


def _centres(vectors: np.ndarray, lists: int, seed: int) -> np.ndarray:
    """float32 (lists, d): centres of the lists, by k-means."""
    faiss, d = _faiss(), vectors.shape[1]
    parameters = faiss.ClusteringParameters()
    parameters.seed, parameters.niter = seed, 10
    parameters.min_points_per_centroid, parameters.max_points_per_centroid = 1, 64
    means = faiss.Clustering(d, lists, parameters)
    means.train(vectors, faiss.IndexFlatL2(d))
    return faiss.vector_to_array(means.centroids).reshape(lists, d)


def _into_lists(engine: Any, centres: np.ndarray, vectors: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Put vectors (n, d) under their ids into the list with the nearest of the centres; int64 (n,), the list of each."""
    faiss = _faiss()
    nearest = faiss.IndexFlatL2(engine.d)
    nearest.add(centres)
    list_of = nearest.search(vectors, 1)[1][:, 0]
    engine.add_core(len(ids), faiss.swig_ptr(vectors), faiss.swig_ptr(ids), faiss.swig_ptr(list_of))
    return list_of


def _tune(engine: Any, list_of: np.ndarray, vectors: np.ndarray, settings: IndexSettings, queries: Queries) -> Tuned:
    """Choose the number of lists that a query looks into, or measure the given one. list_of: int64 (n,), of each vector."""
    lists, probes = engine.nlist, settings.probes
    if probes is not None:
        probes = min(probes, lists, lists if gpu_number(settings.device) is None else GPU_WIDTH)
    if len(vectors) == 1 or probes == lists or (probes is None and settings.recall == 1):
        return Tuned(lists, lists if probes is None else probes, 1.0)
    order = engine.quantizer.search(queries.vectors, lists)[1]
    if probes is None:
        return tune(vectors, list_of, order, queries, settings.recall)
    return measure(vectors, list_of, order, queries, probes)


def _check_lengths(vectors: np.ndarray) -> None:
    if not np.isfinite(_lengths(vectors)).all():
        raise DataError("vectors: their lengths exceed float32; scale them down, to length 1 say")


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise MissingExtraError(
            "faiss is not installed: pip install 'llmrec[cpu]', or 'llmrec[gpu]' where there is a GPU"
        ) from error
    return faiss


def _lengths(vectors: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.sqrt(np.vecdot(vectors, vectors))
