"""Retrieve, then rank: from user vectors to scored candidates, for a batch of tasks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llmrec.data.tasks import Tasks
from llmrec.evaluation.counts import support_counts
from llmrec.index.candidates import Candidates, Sources, candidates
from llmrec.index.flat import Index
from llmrec.ranking.features import Counts, features
from llmrec.ranking.ranker import Ranker, Ranking, rank


@dataclass(frozen=True)
class Retrieval:
    """What candidates are taken from.

    index: over `Items.search_matrix`, so that `[u, 1]` is its query. counts: of training users. sources: how many from where.
    """

    index: Index
    counts: Counts
    sources: Sources


def retrieve(retrieval: Retrieval, tasks: Tasks, vectors: np.ndarray, sources: Sources, allowed: np.ndarray | None) -> Candidates:
    """Candidates of T tasks from user vectors (T, d); `allowed` is bool (N,) or None for all items."""
    query = np.concatenate([vectors, np.ones((len(vectors), 1), np.float32)], 1)
    counts = retrieval.counts
    return candidates(query, retrieval.index, support_counts(tasks), counts.together, counts.popularity, sources, allowed)


def ranker_inputs(tasks: Tasks, found: Candidates, counts: Counts, scores: np.ndarray) -> np.ndarray:
    """float32 (C, 1 + F): the transformer's score of each candidate, out of scores (T, N), then its features."""
    return np.concatenate([scores[found.task, found.item][:, None], features(tasks, found, counts)], 1)


def ranking(tasks: Tasks, found: Candidates, inputs: np.ndarray) -> Ranking:
    """What a ranker learns from: the candidates of T tasks, and which of them are in the queries."""
    width = int(np.diff(found.start).max(initial=1))
    column = np.arange(len(found.item)) - np.repeat(found.start[:-1], np.diff(found.start))
    padded = np.zeros((len(tasks), width, inputs.shape[1]), np.float32)
    filled = np.zeros((len(tasks), width), bool)
    padded[found.task, column], filled[found.task, column] = inputs, True
    n = tasks.dataset.n_items
    wanted = np.concatenate([t * n + items.astype(np.int64) for t, items in enumerate(tasks.relevant())])
    right = np.isin(found.task.astype(np.int64) * n + found.item, wanted)
    return Ranking(padded, filled, column[right], found.task[right].astype(np.int64))


def ranked(ranker: Ranker, found: Candidates, inputs: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Scores float32 (T, N): candidates by the ranker, above all others, which stay in the order of `scores`."""
    below = scores - scores.max(1, keepdims=True)
    of_candidates = rank(ranker, inputs)
    floor = np.full(len(scores), np.inf, np.float32)
    np.minimum.at(floor, found.task, of_candidates)
    out = below - 1.0 + np.where(np.isfinite(floor), floor, 0.0)[:, None]
    out[found.task, found.item] = of_candidates
    return out.astype(np.float32)
