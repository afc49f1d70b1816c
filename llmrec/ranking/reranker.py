"""A third stage: another ranker, such as a language model, moves the first candidates of an answer among themselves.

Their new score is that of the chain plus a learned weight times the other ranker's, standardised over them. They stay ahead of
all other candidates.

Axis convention: `T` tasks, `C` candidates of all tasks one after another, `F` first candidates of all tasks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from llmrec.data.tasks import Tasks
from llmrec.index.candidates import Candidates
from llmrec.ranking.rankers import CandidateRanker, checked_scores

TOP = 20  # candidates of an answer that it scores
ALIKE = 1e-6  # standard deviation below which scores say nothing


@dataclass(frozen=True, eq=False)
class Reranker:
    """ranker: the other ranker. weight: of its standardised scores; unseen_weight: the same in answers that leave out the items
    of the history. With 0 it is not asked. top: how many candidates of each task it scores."""

    ranker: CandidateRanker
    weight: float
    unseen_weight: float
    top: int = TOP

    def rerank(self, tasks: Tasks, found: Candidates, value: np.ndarray, filter_viewed: bool) -> np.ndarray:
        """Scores float32 (C,) from those of the chain. Raises DataError as `checked_scores`."""
        weight = self.unseen_weight if filter_viewed else self.weight
        if not weight:
            return value
        place, first = first_candidates(found, value, self.top)
        scores = checked_scores(self.ranker, replace(tasks, stop=tasks.split), first)  # it never sees the query
        return moved(value, place, first, standardised(first, scores), weight)


def first_candidates(found: Candidates, value: np.ndarray, top: int) -> tuple[np.ndarray, Candidates]:
    """The `top` candidates of each task with the highest scores `value` (C,), fewer where there are fewer: their places, int64
    (F,), and themselves. Among equals the lower item goes first, as in answers."""
    best = np.lexsort((found.item, -value, found.task))
    kept = np.arange(len(best)) - found.start[found.task[best]] < top
    place = np.sort(best[kept])
    start = np.concatenate([[0], np.cumsum(np.minimum(np.diff(found.start), top))]).astype(np.int64)
    return place, Candidates(start, found.item[place], found.source[place])


def standardised(first: Candidates, scores: np.ndarray) -> np.ndarray:
    """float64 (F,): scores less their mean within each task, over their standard deviation there; 0 where all are alike."""
    count = np.maximum(np.diff(first.start), 1)
    task, n = first.task, len(first)
    around = scores.astype(np.float64) - (np.bincount(task, scores, n) / count)[task]
    spread = np.sqrt(np.bincount(task, around**2, n) / count)[task]
    return np.where(spread > ALIKE, around / np.maximum(spread, ALIKE), 0.0)


def moved(value: np.ndarray, place: np.ndarray, first: Candidates, standard: np.ndarray, weight: float) -> np.ndarray:
    """float32 (C,): the scores `value` (C,) with those of the first candidates moved by `weight` times `standard` (F,), and
    lifted together where the last of them would fall below what it was; above it where any moves, for what is not asked about
    may have the same score."""
    old = value[place].astype(np.float32)
    new = old + weight * standard
    floor, lowest, moves = np.full(len(first), np.inf, np.float32), np.full(len(first), np.inf), np.zeros(len(first), bool)
    np.minimum.at(floor, first.task, old)
    np.minimum.at(lowest, first.task, new)
    np.logical_or.at(moves, first.task, new != old)
    floor = np.where(moves, np.nextafter(floor, np.float32(np.inf)), floor)
    out = value.astype(np.float32)
    lift = np.maximum(floor[first.task] - lowest[first.task], 0.0)
    out[place] = new + lift
    return out
