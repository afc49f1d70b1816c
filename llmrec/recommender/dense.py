"""Scores of the whole catalogue, for evaluation alone: metrics such as AUC need every item. No answer is made from them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from llmrec.data.tasks import Tasks
from llmrec.encoder.users import Read, batches
from llmrec.index.candidates import Candidates
from llmrec.ranking.two_stage import Over, Retrieval, ranked_candidates


def ranked_scores(
    read: Read,
    retrieval: Retrieval,
    over: Over,
    tasks: Tasks,
    allowed: np.ndarray | None = None,
    rerank: Callable[[Tasks, Candidates, np.ndarray], np.ndarray] | None = None,
) -> np.ndarray:
    """Scores float32 (T, N) that order the catalogue as an answer does: candidates by a ranker, all other items after them.

    over: the ranker, from item statistics and a way to read, such as `Rankers.over`. allowed: bool (N,), items that may be
        candidates; None for all. rerank: the scores (C,) of the candidates after a third stage; None without one.
    Beside the table a batch of tasks is held at a time. Where the index is approximate, an answer that reaches beyond the
    candidates may go on with other items than this table.
    """
    out = np.empty((len(tasks), tasks.dataset.n_items), np.float32)
    first = 0
    for part in batches(tasks):
        reading, found, value = ranked_candidates(read, retrieval, over, part, allowed)
        value = value if rerank is None else rerank(part, found, value)
        out[first : first + len(part)] = ranked(found, value, reading.table())
        first += len(part)
    return out


def ranked(found: Candidates, value: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Scores float32 (T, N) of all items: candidates by `value` (C,), all others below them in the order of `scores`."""
    floor = np.zeros(len(scores), np.float32)
    np.minimum.at(floor, found.task, value)
    out = scores - scores.max(1, keepdims=True) - 1.0 + floor[:, None]
    out[found.task, found.item] = value
    return out.astype(np.float32)
