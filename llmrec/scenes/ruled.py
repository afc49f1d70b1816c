"""Answers of a scene that is read by its texts, under the rules of a shop.

Every item of the scene has a score, and lists are filled within the rules. Where a recommender reads the scene, its own answers
keep to the rules.

Axis convention: `T` tasks, `N` items of the catalogue.
"""

from __future__ import annotations

import numpy as np

from llmrec.rules.applied import CatalogueRules
from llmrec.rules.filling import Filling, Pool, Rows

POOL = 256  # items at a time, the best ones first, among which diversity is weighed


def filled(score: np.ndarray, vectors: np.ndarray, rules: CatalogueRules, k: int, label: str) -> list[Rows]:
    """The rows of each task, best first by scores and factors, within the rules.

    score: float32 (T, N), log probabilities up to a constant for each row; -inf for what must not be shown. vectors:
    float32 (N, d) of unit length. label: the `source` of items that are not pinned.
    """
    value = score if rules.log_factor is None else score + rules.log_factor
    pins = np.array([item for place, item in rules.pins if place <= k], np.int64)

    def pool(mine: np.ndarray, item: np.ndarray) -> Pool:
        return Pool(item, mine[item], [label] * len(item), mine[item], vectors[item] if rules.diversity else None)

    answers = []
    for mine, may in zip(value, np.isfinite(score), strict=True):
        filling = Filling(rules, k)
        filling.pin(pool(mine, pins[may[pins]]))
        best = np.argsort(-mine, kind="stable")
        best = best[may[best]]
        for first in range(0, len(best), POOL):
            if filling.next is None:
                break
            filling.fill(pool(mine, best[first : first + POOL]))
        answers.append(filling.ranked())
    return answers
