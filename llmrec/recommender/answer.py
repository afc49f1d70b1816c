"""Recommendations for histories, as a pure function of the state."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from llmrec.data.tasks import Tasks
from llmrec.encoder.users import batches
from llmrec.index.candidates import names
from llmrec.ranking.two_stage import candidate_scores, retrieve
from llmrec.recommender.pipeline import adapted, choices, read_with
from llmrec.recommender.state import State

FALLBACK = "popular (no history)"
BACKFILL = "rest of the catalogue"


@dataclass(frozen=True)
class Answer:
    """Rows of a recommendation: which asker (int64 position), item (internal index), score, rank from 1, source, and the
    gradient steps that the asker's adapter took."""

    asker: np.ndarray
    item: np.ndarray
    score: np.ndarray
    rank: np.ndarray
    source: list[str]
    steps: np.ndarray


def answer(state: State, tasks: Tasks, k: int, filter_viewed: bool, allowed: np.ndarray | None, steps: int | None) -> Answer:
    """The k best items for each task, fewer only where no more are allowed.

    First the candidates as the rankers order them, then all other items in the transformer's order: what comes first does not
    depend on k. Of a support longer than the prompt the last events are read, and all are counted.

    allowed: bool (N,), items that may be recommended; None for all. steps: inner steps on each support, 0 for the
        initialisation; None for as many as the gate says.
    """
    parts, first = [], 0
    for part in batches(tasks):
        found = _answer(state, part, k, filter_viewed, allowed, steps)
        parts.append(replace(found, asker=found.asker + first))
        first += len(part)
    return joined(parts)


def fallback(state: State, askers: np.ndarray, k: int, allowed: np.ndarray | None) -> Answer:
    """The k most popular items for askers without history, labelled as such."""
    popularity = state.retrieval.popularity
    may = np.arange(len(popularity)) if allowed is None else np.flatnonzero(allowed)
    best = may[np.argsort(-popularity[may], kind="stable")][:k]
    n, m = len(askers), len(best)
    score = np.tile(popularity[best], n).astype(np.float32)
    return Answer(
        np.repeat(askers, m),
        np.tile(best, n),
        score,
        np.tile(np.arange(1, m + 1), n),
        [FALLBACK] * (n * m),
        np.zeros(n * m, np.int64),
    )


def joined(parts: list[Answer]) -> Answer:
    """Answers one after the other."""

    def column(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name) for part in parts]) if parts else np.zeros(0, np.int64)

    source = [source for part in parts for source in part.source]
    return Answer(column("asker"), column("item"), column("score"), column("rank"), source, column("steps"))


def _answer(state: State, tasks: Tasks, k: int, filter_viewed: bool, allowed: np.ndarray | None, steps: int | None) -> Answer:
    model, items, init, gate = state.model, state.items, state.init, state.gate
    made, adapter = adapted(model, items, tasks, state.settings, init, steps, gate)
    took = np.array([c.steps for c in choices(init, gate, tasks)]) if steps is None else np.full(len(tasks), steps)
    vectors, scores = read_with(model, items, made, adapter)
    sources = replace(state.retrieval.sources, repeats=not filter_viewed)
    found = retrieve(state.retrieval, tasks, vectors, sources, allowed)
    value = candidate_scores(state.rankers, tasks, found, state.retrieval.counts, scores)
    best = np.lexsort((found.item, -value, found.task))
    rank = np.arange(len(best)) - found.start[found.task[best]] + 1
    keep = rank <= k
    best, rank = best[keep], rank[keep]
    asker = found.task[best].astype(np.int64)
    ranked = Answer(asker, found.item[best], value[best], rank, names(found.source[best]), took[asker])
    short = np.flatnonzero(np.diff(found.start) < k).tolist()
    rest = (_rest(tasks, ranked, scores, task, k, filter_viewed, allowed, int(took[task])) for task in short)
    return joined([ranked, *rest])


def _rest(
    tasks: Tasks,
    ranked: Answer,
    scores: np.ndarray,
    task: int,
    k: int,
    filter_viewed: bool,
    allowed: np.ndarray | None,
    steps: int,
) -> Answer:
    """Items that no source brought, in the transformer's order, for a task that has fewer than k candidates."""
    may = np.ones(scores.shape[1], bool) if allowed is None else allowed.copy()
    mine = ranked.asker == task
    may[ranked.item[mine]] = False
    if filter_viewed:
        may[tasks.dataset.item[tasks.support(task)]] = False
    left = np.flatnonzero(may)
    left = left[np.argsort(-scores[task, left], kind="stable")][: k - mine.sum()]
    # Below everything that was ranked, as `ranking.two_stage.ranked` puts them, so that scores fall with the rank.
    value = scores[task, left] - scores[task].max() - 1.0 + ranked.score[mine].min(initial=0.0)
    rank = mine.sum() + 1 + np.arange(len(left))
    asker = np.full(len(left), task, np.int64)
    return Answer(asker, left, value.astype(np.float32), rank, [BACKFILL] * len(left), np.full(len(left), steps))
