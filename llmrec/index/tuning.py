"""How many inverted lists a query has to look into for the recall that was promised.

Recall is counted by score: a hit is an item that scores at least as much as the exact 100th, so among equals it does not matter
which are found. An item is found if its list is looked into; so one exact answer for each query gives the recall of any number
of lists.

Queries are of up to three kinds, and each kind has to reach the recall, by two standard errors. Vectors of the catalogue: the
item itself does not count, for a vector always finds itself. Means of two to five random items: their neighbours are spread
over more lists. User vectors, where the caller has some: they may be unlike any item, and then need many more lists.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llmrec.index.exact import multiply

DEPTH = 100  # how many of a query's best items are counted
QUERIES = 200  # of each kind
MIXED = 5  # the most items whose mean is a query
MARGIN = 2.0  # standard errors by which the queries have to exceed the promise
TIES = 16  # items fetched beyond the best 100, in case they score the same
LEAST = 32  # a query looks into one of so many lists at least, for the sake of queries unlike those tuned on


@dataclass(frozen=True)
class Tuned:
    """How an approximate index is searched, and what that finds.

    lists: inverted lists of the index.
    probes: how many of them a query looks into; all of them make the search exact.
    recall: fraction of the best 100 that is found, counted by score, for the kind of queries that finds less.
    """

    lists: int
    probes: int
    recall: float

    def __str__(self) -> str:
        if self.probes == self.lists:
            return f"each query looks into all {self.lists:,} lists, an exact search"
        return f"each query looks into {self.probes:,} of {self.lists:,} lists, recall@{DEPTH} {self.recall:.3f}"


@dataclass(frozen=True, eq=False)
class Queries:
    """Queries to tune on.

    vectors: float32 (m, d).
    own: int64 (m,), the row that a query was made of and that does not count; -1 for the others.
    kind: int (m,), 0 for rows, 1 for means, 2 for the caller's.
    """

    vectors: np.ndarray
    own: np.ndarray
    kind: np.ndarray


def sample_queries(vectors: np.ndarray, seed: int, asked: np.ndarray | None = None) -> Queries:
    """Up to 200 rows of float32 (n, d), then 200 means of a few rows, the same for the same seed; then `asked`, float32 (a, d),
    queries of the caller."""
    rng = np.random.default_rng(seed)
    own = rng.choice(len(vectors), min(QUERIES, len(vectors)), replace=False)
    several = np.arange(MIXED) < rng.integers(2, MIXED + 1, (QUERIES, 1))
    weight = (several / several.sum(axis=1, keepdims=True)).astype(np.float32)
    means = np.einsum("qs,qsd->qd", weight, vectors[rng.integers(0, len(vectors), (QUERIES, MIXED))])
    theirs = np.zeros((0, vectors.shape[1]), np.float32) if asked is None else asked
    kind = np.repeat([0, 1, 2], [len(own), QUERIES, len(theirs)])
    none = np.full(QUERIES + len(theirs), -1)
    return Queries(np.concatenate([vectors[own], means, theirs]), np.concatenate([own, none]), kind)


def recalls(vectors: np.ndarray, list_of: np.ndarray, order: np.ndarray, queries: Queries) -> np.ndarray:
    """Recall (m, L) of each query when it looks into its first 1, 2, ..., L lists.

    vectors: float32 (n, d), n from 2 on. list_of: int (n,), the list of each. order: int (m, L), each query's lists, in the
    order in which it looks into them.
    """
    m, lists = order.shape
    depth = min(DEPTH, len(vectors) - 1)
    scores, rows = multiply(vectors, None, queries.vectors, min(depth + 1 + TIES, len(vectors)))
    scores = np.where(rows == queries.own[:, None], np.float32(-np.inf), scores)
    last = np.sort(scores, axis=1)[:, -depth]
    lengths = [np.sqrt(np.vecdot(some, some)) for some in (vectors, queries.vectors)]
    rounding = (vectors.shape[1] + 2) * np.finfo(np.float32).eps * lengths[0].max() * lengths[1]
    place = np.empty((m, lists), np.int64)
    np.put_along_axis(place, order, np.arange(lists)[None], axis=1)
    hit = scores >= (last - rounding)[:, None]
    query, at = np.nonzero(hit)
    counts = np.bincount(query * lists + place[query, list_of[rows[query, at]]], minlength=m * lists).reshape(m, lists)
    return np.minimum(np.cumsum(counts, axis=1), depth) / depth


def tune(vectors: np.ndarray, list_of: np.ndarray, order: np.ndarray, queries: Queries, recall: float) -> Tuned:
    """The fewest lists with which every kind of queries reaches `recall`, by the margin, and at least one of LEAST; arrays as
    in `recalls`."""
    found = recalls(vectors, list_of, order, queries)
    kinds = _kinds(found, queries)
    sure = np.min([part.mean(axis=0) - MARGIN * part.std(axis=0) / len(part) ** 0.5 for part in kinds], axis=0)
    enough = np.flatnonzero(sure >= recall)
    probes = max(int(enough[0]) + 1, order.shape[1] // LEAST) if len(enough) else order.shape[1]
    return Tuned(order.shape[1], probes, _worse(kinds, probes))


def measure(vectors: np.ndarray, list_of: np.ndarray, order: np.ndarray, queries: Queries, probes: int) -> Tuned:
    """What a given number of lists finds; arrays as in `recalls`."""
    found = recalls(vectors, list_of, order, queries)
    return Tuned(order.shape[1], probes, _worse(_kinds(found, queries), probes))


def _kinds(found: np.ndarray, queries: Queries) -> list[np.ndarray]:
    return [found[queries.kind == kind] for kind in np.unique(queries.kind)]


def _worse(kinds: list[np.ndarray], probes: int) -> float:
    return min(float(part[:, probes - 1].mean()) for part in kinds)
