"""The first items of a scene's answers, moved by a ranker of one's own, such as a language model.

Where a recommender reads the scene, these are the first candidates of its answer, see `ranked.answer_scene`; where texts do,
the first items of the scene.

Axis convention: `T` tasks, `N` items of the catalogue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from llmrec.data.tasks import Tasks
from llmrec.index.candidates import Candidates
from llmrec.scenes.opening import Scene
from llmrec.scenes.shelf import Shelf

if TYPE_CHECKING:
    from llmrec.ranking.reranker import Reranker


def answered(scene: Scene, tasks: Tasks, filter_viewed: bool) -> np.ndarray:
    """Scores float32 (T, N) that order the scene's items as its answers do; those of other items, and with `filter_viewed` of
    items of the history, say nothing."""
    if not isinstance(scene.shelf, Shelf):
        from llmrec.scenes.ranked import answered_scores  # brings in torch, which a scene read by its texts does without

        return answered_scores(scene, tasks, filter_viewed)
    return reranked(scene.reranker, tasks, shown_scores(scene, tasks, filter_viewed), filter_viewed)


def shown_scores(scene: Scene, tasks: Tasks, filter_viewed: bool) -> np.ndarray:
    """float32 (T, N): scores by texts; -inf for what is not shown."""
    score = scene.scores(tasks.counted)
    for task in range(len(tasks) if filter_viewed else 0):
        score[task, tasks.dataset.item[tasks.support(task)]] = -np.inf
    return score


def reranked(reranker: Reranker | None, tasks: Tasks, score: np.ndarray, filter_viewed: bool) -> np.ndarray:
    """`score`, float32 (T, N), -inf for what is not shown, with the first items of each task moved; where a history is empty,
    the ranker is not asked."""
    some = np.flatnonzero(tasks.split > tasks.start)
    if reranker is None or not len(some):
        return score
    first, value = first_items(score[some], reranker.top)
    score = score.copy()
    score[some[first.task], first.item] = reranker.rerank(tasks.take(some), first, value, filter_viewed)
    return score


def first_items(score: np.ndarray, top: int) -> tuple[Candidates, np.ndarray]:
    """The `top` items of each row of `score`, float32 (T, N), fewer where fewer are above -inf, and their scores. Among equals
    the lower item goes first."""
    best = np.argsort(-score, axis=1, kind="stable")[:, :top]
    best.sort(axis=1)
    value = np.take_along_axis(score, best, 1)
    there = np.isfinite(value)
    start = np.concatenate([[0], np.cumsum(there.sum(1))])
    return Candidates(start, best[there].astype(np.int32), np.zeros(start[-1], np.uint8)), value[there]
