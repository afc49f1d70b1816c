"""Neighbours: what training users with the nearest user vectors took next, mixed into what the base says.

Their continuations are what the user's own prompt does not hold. Nothing is trained; the share of the mixture is for the gate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from llmrec.data.tasks import Tasks
from llmrec.index.faiss_index import Index, build, search
from studies.adaptation.bank import Base, Lists, events, read, scores
from studies.adaptation.cores import Place

NEAREST, SHARPNESS = 200, 10.0
SHARES = (0.1, 0.25, 0.5)
ROWS = 512


@dataclass(frozen=True)
class Moments:
    """Moments of training users: an index of their user vectors, of length 1, and what followed each, float32 (M, N) sparse,
    rows summing to 1."""

    index: Index
    after: sparse.csr_array


def moments(base: Base, tasks: Tasks) -> Moments:
    """The tasks' supports as moments, their queries as what followed."""
    vectors = read(base, tasks)[0].numpy()
    after = events(tasks, tasks.split, tasks.stop)
    return Moments(build(_unit(vectors)), _chances(after, tasks.dataset.n_items))


def mixed(found: Moments, place: Place, share: float, nearest: int = NEAREST) -> np.ndarray:
    """float32 (T, N): log of (1 - share) * what the base expects + share * what followed at the nearest moments.

    A moment weighs exp(`SHARPNESS` * cosine).
    """
    query, parts = place.bank.query, []
    every = np.arange(len(query))
    for first in range(0, len(query), ROWS):
        some = query.take(every[first : first + ROWS])
        logits = scores(place.bank.matrix, some).numpy()
        cosine, ids = search(found.index, _unit(some.vector.numpy()), min(nearest, len(found.index)))
        weight = _softmax(SHARPNESS * cosine.astype(np.float64)).astype(np.float32)
        start = np.arange(len(ids) + 1) * ids.shape[1]
        near = sparse.csr_array((weight.ravel(), ids.ravel(), start), shape=(len(ids), len(found.index)))
        chance = (1 - share) * _softmax(logits) + share * (near @ found.after).toarray()
        gone = some.extra.value < -1.0
        chance[some.extra.owner[gone], some.extra.item[gone]] = 0.0
        parts.append(np.log(np.maximum(chance, 1e-30)).astype(np.float32))
    return np.concatenate(parts)


def _chances(items: Lists, n_items: int) -> sparse.csr_array:
    weight = 1 / np.maximum(items.length, 1)[items.owner]
    return sparse.csr_array((weight.astype(np.float32), items.item, items.start), shape=(len(items), n_items))


def _softmax(values: np.ndarray) -> np.ndarray:
    raised = np.exp(values - values.max(1, keepdims=True))
    return raised / raised.sum(1, keepdims=True)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
