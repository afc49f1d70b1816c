"""Candidates drawn by popularity beside what was taken: choices to learn from, and the sampled tests of papers.

A sampled test says less than a full ranking (Krichene and Rendle, On sampled metrics for item recommendation, KDD 2020): use it
where a ranker is too slow for all items.
"""

from __future__ import annotations

import numpy as np

from llmrec.data.tasks import Tasks
from llmrec.errors import DataError
from llmrec.index.candidates import POPULAR, Candidates


def drawn_candidates(tasks: Tasks, popularity: np.ndarray, count: int, rng: np.random.Generator) -> Candidates:
    """Of each of T tasks one item that its query took, drawn, and `count` others that are neither in its support nor in its
    query, drawn without replacement in proportion to `popularity` (N,). A task that took nothing has no candidates.

    Raises DataError where fewer than `count` others can be drawn.
    """
    items, lengths = [], []
    for task, relevant in enumerate(tasks.relevant()):
        lengths.append(0)
        if not len(relevant):
            continue
        chance = popularity.astype(np.float64)
        chance[tasks.dataset.item[tasks.start[task] : tasks.stop[task]]] = 0
        if count > np.count_nonzero(chance):
            raise DataError(
                f"count: expected at most {np.count_nonzero(chance)}, the items that task {task} may draw, got {count}; draw "
                "fewer, or give a popularity above 0 to more"
            )
        others = rng.choice(len(chance), count, replace=False, p=chance / chance.sum())
        items.append(np.sort(np.append(others, rng.choice(relevant))))
        lengths[-1] = count + 1
    start = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    found = np.concatenate([np.zeros(0, np.int64), *items]).astype(np.int32)
    return Candidates(start, found, np.full(len(found), POPULAR, np.uint8))
