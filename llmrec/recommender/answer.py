"""From histories to answers: a pure function of the state."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import numpy as np

from llmrec.data.tasks import Tasks
from llmrec.encoder.users import chunks
from llmrec.errors import ShortAnswerWarning
from llmrec.index.candidates import names
from llmrec.ranking.stage import candidate_scores, retrieve
from llmrec.recommender.parts import adapted, read_with
from llmrec.recommender.state import State

FALLBACK = "popular (no history)"
REST = "rest of the catalogue"


@dataclass(frozen=True)
class Answer:
    """Rows of a recommendation: which asker (int64 position), item (internal index), score, rank from 1, source."""

    asker: np.ndarray
    item: np.ndarray
    score: np.ndarray
    rank: np.ndarray
    source: list[str]


def everything_known(state_histories, users: np.ndarray) -> Tasks:
    """The whole history of each user (int indices, each with at least one event) as support, with an empty query."""
    start, stop = state_histories.start[users], state_histories.start[users + 1]
    return Tasks(state_histories, start, stop, stop)


def answer(state: State, tasks: Tasks, k: int, filter_viewed: bool, allowed: np.ndarray | None, adapt: bool) -> Answer:
    """Exactly k items for each task, or a ShortAnswerWarning that says why there are fewer.

    allowed: bool (N,), items that may be recommended; None for all. adapt: take the learned inner steps on each support.
    Raises nothing for long histories: of a support longer than the prompt the last events are read, all are counted.
    """
    parts, first = [], 0
    for part in chunks(tasks):
        parts.append(_answer(state, part, k, filter_viewed, allowed, adapt, first))
        first += len(part)
    return joined(parts)


def fallback(state: State, askers: np.ndarray, k: int, allowed: np.ndarray | None) -> Answer:
    """The k most popular items for askers without history, labelled as such."""
    popularity = state.retrieval.counts.popularity
    may = np.arange(len(popularity)) if allowed is None else np.flatnonzero(allowed)
    best = may[np.argsort(-popularity[may], kind="stable")][:k]
    if len(best) < k and len(askers):
        _warn(k, len(best), "no more items are allowed", len(askers))
    n, m = len(askers), len(best)
    ranks = np.tile(np.arange(1, m + 1), n)
    return Answer(np.repeat(askers, m), np.tile(best, n), np.tile(popularity[best], n).astype(np.float32), ranks, [FALLBACK] * (n * m))


def _answer(
    state: State, tasks: Tasks, k: int, filter_viewed: bool, allowed: np.ndarray | None, adapt: bool, first: int
) -> Answer:
    made, adapter = adapted(state.model, state.items, tasks, state.settings, state.init if adapt else None)
    vectors, scores = read_with(state.model, state.items, made, adapter)
    sources = replace(_wide(state.retrieval.sources, k), repeats=not filter_viewed)
    found = retrieve(state.retrieval, tasks, vectors, sources, allowed)
    value = candidate_scores(state.rankers, tasks, found, state.retrieval.counts, scores)
    best = np.lexsort((found.item, -value, found.task))
    rank = np.arange(len(best)) - found.start[found.task[best]] + 1
    keep = rank <= k
    best, rank = best[keep], rank[keep]
    chosen = Answer(found.task[best].astype(np.int64), found.item[best], value[best], rank, names(found.source[best]))
    short = np.flatnonzero(np.bincount(chosen.asker, minlength=len(tasks)) < k)
    filled = _fill(tasks, chosen, scores, short, k, filter_viewed, allowed) if len(short) else chosen
    return replace(filled, asker=filled.asker + first)


def _wide(sources, k: int):
    """Sources that bring enough to choose k from."""
    return replace(sources, **{name: max(getattr(sources, name), 2 * k) for name in ("text_k", "knn_k", "popular_k")})


def _fill(
    tasks: Tasks, chosen: Answer, scores: np.ndarray, short: np.ndarray, k: int, filter_viewed: bool, allowed: np.ndarray | None
) -> Answer:
    """Items that no source brought, in the transformer's order, for the tasks that have fewer than k."""
    extra = []
    for task in short:
        may = np.ones(scores.shape[1], bool) if allowed is None else allowed.copy()
        mine = chosen.asker == task
        may[chosen.item[mine]] = False
        if filter_viewed:
            may[tasks.dataset.item[tasks.support(task)]] = False
        left = np.flatnonzero(may)
        left = left[np.argsort(-scores[task, left], kind="stable")][: k - mine.sum()]
        # Below everything that was ranked, in the same units, so that scores fall with the rank.
        base = chosen.score[mine].min(initial=0.0) - 1.0
        value = base + scores[task, left] - scores[task, left].max(initial=-np.inf)
        extra.append(
            Answer(np.full(len(left), task), left, value, mine.sum() + 1 + np.arange(len(left)), [REST] * len(left))
        )
        if mine.sum() + len(left) < k:
            reason = "no more items are allowed" + (" that the user has not had" if filter_viewed else "")
            _warn(k, int(mine.sum()) + len(left), reason, 1)
    joined = joined([chosen, *extra])
    order = np.lexsort((joined.rank, joined.asker))
    return Answer(
        joined.asker[order], joined.item[order], joined.score[order], joined.rank[order], [joined.source[i] for i in order]
    )


def joined(parts: list[Answer]) -> Answer:
    """Answers one after the other."""
    def column(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name) for part in parts]) if parts else np.zeros(0, np.int64)

    return Answer(
        column("asker"), column("item"), column("score"), column("rank"), [source for part in parts for source in part.source]
    )


def _warn(k: int, got: int, reason: str, users: int) -> None:
    who = "1 user gets" if users == 1 else f"{users} users get"
    warnings.warn(f"{who} {got} items where k = {k}: {reason}", ShortAnswerWarning, stacklevel=4)
