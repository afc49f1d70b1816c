"""Recommendations for histories, as a pure function of the state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from scipy import sparse

from llmrec.data.attributes import Attributes
from llmrec.data.dataset import Catalogue, Dataset
from llmrec.data.ids import Ids
from llmrec.data.requests import answer_table, with_titles
from llmrec.data.tasks import Tasks, full_histories, without_history
from llmrec.encoder.threads import threads_for
from llmrec.encoder.users import PromptReading, batches
from llmrec.errors import DataError
from llmrec.index.candidates import Candidates, first_allowed, names
from llmrec.index.faiss_index import Index, search
from llmrec.meta.gate import Choice
from llmrec.ranking.rankers import AttributeRanker, CandidateRanker, TransformerRanker, already_read, checked_scores
from llmrec.ranking.reranker import Reranker
from llmrec.ranking.two_stage import retrieve, retrieve_by_attributes, search_queries
from llmrec.recommender import ruled
from llmrec.recommender.predicting import beliefs_of, log_likes
from llmrec.recommender.state import State
from llmrec.recommender.user_adapter import UserAdapter
from llmrec.rules.applied import CatalogueRules
from llmrec.rules.filling import PINNED, Rows, flat
from llmrec.rules.rules import Rules

FALLBACK = "popular (no history)"
BY_ATTRIBUTES = "attributes (no history)"
BACKFILL = "rest of the catalogue"


@dataclass(frozen=True)
class Answer:
    """Rows of a recommendation: which asker (int64 position), item (internal index), score, rank from 1, source, and the
    steps that the asker's adapter took."""

    asker: np.ndarray
    item: np.ndarray
    score: np.ndarray
    rank: np.ndarray
    source: list[str]
    steps: np.ndarray

    def take(self, rows: np.ndarray) -> Answer:
        """Some of the rows, in the order given."""
        asker, item, score, rank, steps = (part[rows] for part in (self.asker, self.item, self.score, self.rank, self.steps))
        return Answer(asker, item, score, rank, [self.source[row] for row in rows], steps)


@dataclass(frozen=True)
class Request:
    """What is asked for, beside the histories.

    k: items for each user. filter_viewed: leave out items of the history. allowed: bool (N,), items that may be recommended;
    None for all. Of these an answer gives what is offered, see `State.offered`. steps: inner steps on each support, 0 for the
    initialisation; None for as many as the gate says. ranker: orders the candidates in place of all fitted rankers. context:
    one row, what is known of the request; None for nothing. adapter: reads every history, in place of one that is adapted to
    it; `steps` then says nothing. rules: of the shop. avoid_disliked: whether the order also goes by how likely
    candidates are liked. reranker: moves the first candidates then, in place of that of the state; None for that, and beside
    `ranker` for none.
    `answer_everybody` fills in the rest. applied: the rules over the catalogue; a scene gives them, applied to its own table of
    items. barred: csr bool (A, N), items that single askers must not get; None for none.
    """

    k: int = 10
    filter_viewed: bool = True
    allowed: np.ndarray | None = None
    steps: int | None = None
    ranker: CandidateRanker | None = None
    context: Attributes | None = None
    rules: Rules | None = None
    applied: CatalogueRules | None = None
    barred: sparse.csr_array | None = None
    adapter: UserAdapter | None = None
    avoid_disliked: bool = False
    reranker: Reranker | None = None

    def of(self, askers: np.ndarray) -> Request:
        """The request of some of the askers, in the order given."""
        return self if self.barred is None else replace(self, barred=self.barred[askers])


def answer_everybody(state: State, known: Dataset, asked: Ids, attributes: Attributes | None, request: Request) -> Answer:
    """Items for each of the users asked for: by history where there is one, else by attributes, else popular items.

    known: histories of some of them. attributes: of all of them, row by row; None of a model that was fitted without.
    """
    return answer_under_rules(state, known, asked, attributes, request)[0]


def answer_under_rules(
    state: State, known: Dataset, asked: Ids, attributes: Attributes | None, request: Request
) -> tuple[Answer, Request]:
    """As `answer_everybody`, and the request with its rules applied."""
    if request.avoid_disliked:
        beliefs_of(state, "recommend(avoid_disliked=True)")
    request = ruled.prepared(state, asked, _offered(state, request))
    return ruled.checked(_answer_everybody(state, known, asked, attributes, request), request), request


def _answer_everybody(state: State, known: Dataset, asked: Ids, attributes: Attributes | None, request: Request) -> Answer:
    here, tasks = with_history(known, asked, attributes)
    rest = np.setdiff1d(np.arange(len(asked)), here)
    found = answer(state, tasks, request.of(here))
    found = replace(found, asker=here[found.asker])
    if attributes is None:
        return joined([found, fallback(state, rest, request)])
    some = attributes.take(rest).some
    told, untold = rest[some], rest[~some]
    others = answer_by_attributes(state, without_history(known, attributes.take(told)), request.of(told))
    return joined([found, replace(others, asker=told[others.asker]), fallback(state, untold, request)])


def with_history(known: Dataset, asked: Ids, attributes: Attributes | None) -> tuple[np.ndarray, Tasks]:
    """Positions int64 (T,) of those asked for who have a history in `known`, ascending, and a task for each of them; arguments
    as of `answer_everybody`."""
    place = known.users.find(asked.values)
    here = np.flatnonzero(place >= 0)
    here = here[np.diff(known.start)[place[here]] > 0]
    tasks = full_histories(known, place[here])
    return here, tasks if attributes is None else replace(tasks, user_attributes=attributes.take(here))


def answer(state: State, tasks: Tasks, request: Request) -> Answer:
    """The k best items for each task, fewer only where no more are allowed.

    First the candidates as the rankers order them, then other items in the transformer's order, as the index finds them: what
    comes first does not depend on k. Of a support longer than the prompt the last events are read, and all are counted.

    Raises DataError for scores of `request.ranker` that have another shape or are not finite.
    """
    request = _offered(state, request)
    parts, first = [], 0
    for part in batches(with_context(tasks, request)):
        found = _answer(state, part, request.of(np.arange(first, first + len(part))))
        parts.append(replace(found, asker=found.asker + first))
        first += len(part)
    return joined(parts)


def with_context(tasks: Tasks, request: Request) -> Tasks:
    """The tasks with what is known of the request, the same for all of them."""
    return tasks if request.context is None else replace(tasks, context=request.context.take(np.zeros(len(tasks))))


def _offered(state: State, request: Request) -> Request:
    """The request without what is hidden or removed."""
    return request if state.offered is None else replace(request, allowed=state.allowing(request.allowed))


def fallback(state: State, askers: np.ndarray, request: Request) -> Answer:
    """The k most popular items for askers without history, labelled as such."""
    request = _offered(state, request)
    if request.barred is not None or (request.applied is not None and request.applied.reranks):
        return _of_rows(ruled.popular(state, askers, request, FALLBACK), askers, np.zeros(len(askers), np.int64))
    retrieval = state.retrieval
    best = first_allowed(retrieval.popularity_order, request.k, request.allowed)
    n, m = len(askers), len(best)
    score = np.tile(retrieval.popularity[best], n).astype(np.float32)
    return Answer(
        np.repeat(askers, m),
        np.tile(best, n),
        score,
        np.tile(np.arange(1, m + 1), n),
        [FALLBACK] * (n * m),
        np.zeros(n * m, np.int64),
    )


def _of_rows(rows: list[Rows], askers: np.ndarray, took: np.ndarray) -> Answer:
    """Rows of each asker as an answer; took: int64, inner steps of each."""
    asker, item, score, rank, source = flat(rows)
    return Answer(askers[asker], item, score, rank, source, took[asker])


def joined(parts: list[Answer]) -> Answer:
    """Answers one after the other."""

    def column(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name) for part in parts]) if parts else np.zeros(0, np.int64)

    source = [source for part in parts for source in part.source]
    return Answer(column("asker"), column("item"), column("score"), column("rank"), source, column("steps"))


def answer_by_attributes(state: State, tasks: Tasks, request: Request) -> Answer:
    """The k best items for tasks without support, of whose users attributes are known, labelled as such.

    Nothing is adapted, for there is nothing to adapt to. `request.ranker` does not order these answers, nor the fallback.
    """
    request = _offered(state, request)
    parts, first = [], 0
    for part in batches(with_context(tasks, request)):
        mine = request.of(np.arange(first, first + len(part)))
        with threads_for(state.adapting.largest_product(part, [])):
            reading, found, value = scored_by_attributes(state, part, mine.allowed, mine)
        ranked = _best(state, part, reading, found, value, mine, np.zeros(len(part), np.int64))
        source = [source if source in (BACKFILL, PINNED) else BY_ATTRIBUTES for source in ranked.source]
        parts.append(replace(ranked, asker=ranked.asker + first, source=source))
        first += len(part)
    return joined(parts)


def scored_by_attributes(
    state: State, tasks: Tasks, allowed: np.ndarray | None, request: Request | None = None
) -> tuple[PromptReading, Candidates, np.ndarray]:
    """What is read of tasks without support, their candidates, and the scores float32 (C,) of these. request: whose rules may
    ask for more candidates, and bar some.

    Raises DataError for a model that was fitted without attributes of users.
    """
    reading = state.adapting.base.read(tasks)
    ranker = attribute_ranker(state, tasks, reading)
    mine = Request(allowed=allowed) if request is None else request

    def bring(allowed: np.ndarray | None) -> Candidates:
        return retrieve_by_attributes(state.retrieval, tasks, reading.vectors, allowed, mine.barred)

    found = ruled.widened(tasks, mine, bring)
    return reading, found, checked_scores(ranker, tasks, found)


def attribute_ranker(state: State, tasks: Tasks, reading: PromptReading) -> AttributeRanker:
    """The ranker of tasks without support, which were read. Raises DataError for a model that was fitted without attributes."""
    weights, groups = state.by_attributes, state.retrieval.counts.groups
    if weights is None or groups is None:
        raise DataError("tasks: expected known events, got none: this model was fitted without attributes of users")
    return AttributeRanker(weights, groups, TransformerRanker(already_read(tasks, reading)))


def _answer(state: State, tasks: Tasks, request: Request) -> Answer:
    ready = request.adapter
    how = state.adapting.choices(tasks, request.steps) if ready is None else [ready.choice] * len(tasks)
    took = np.array([choice.steps for choice in how])
    with threads_for(state.adapting.largest_product(tasks, how)):
        reading = read_histories(state, tasks, how) if ready is None else ready.read(state.adapting, tasks)
        sources = replace(state.retrieval.sources, repeats=not request.filter_viewed)

        def bring(allowed: np.ndarray | None) -> Candidates:
            return retrieve(state.retrieval, tasks, reading.vectors, sources, allowed, request.barred)

        found = ruled.widened(tasks, request, bring)
        fitted = state.rankers_for(request.filter_viewed).over(state.retrieval.counts, already_read(tasks, reading))
        value = checked_scores(fitted if request.ranker is None else request.ranker, tasks, found)
    if request.avoid_disliked:
        value = value + log_likes(state, tasks, found)
    reranker = request.reranker or (state.reranker if request.ranker is None else None)
    if reranker is not None:
        value = reranker.rerank(tasks, found, value, request.filter_viewed)
    return _best(state, tasks, reading, found, value, request, took)


def read_histories(state: State, tasks: Tasks, how: Sequence[Choice]) -> PromptReading:
    """The supports of T tasks, adapted by a choice each; that of one task from memory where it was read before."""

    def read() -> PromptReading:
        return state.adapting.read(tasks, how)

    return state.remembered.read(tasks, how[0], read) if len(tasks) == 1 else read()


def _best(
    state: State,
    tasks: Tasks,
    reading: PromptReading,
    found: Candidates,
    value: np.ndarray,
    request: Request,
    took: np.ndarray,
) -> Answer:
    """The k best of the candidates by their scores `value` (C,), and the rest of the catalogue where there are fewer. took:
    int64 (T,), inner steps of each task."""
    if request.applied is not None and request.applied.reranks:
        rows = ruled.filled(state, tasks, reading, found, value, request, BACKFILL)
        return _of_rows(rows, np.arange(len(tasks)), took)
    best = np.lexsort((found.item, -value, found.task))
    rank = np.arange(len(best)) - found.start[found.task[best]] + 1
    keep = rank <= request.k
    best, rank = best[keep], rank[keep]
    asker = found.task[best].astype(np.int64)
    ranked = Answer(asker, found.item[best], value[best], rank, names(found.source[best]), took[asker])
    short = np.flatnonzero(np.diff(found.start) < request.k)
    if not len(short):
        return ranked
    barred = [found.of(task) for task in short.tolist()]
    if request.filter_viewed:
        viewed = (tasks.dataset.item[tasks.support(task)] for task in short.tolist())
        barred = [np.concatenate(pair) for pair in zip(barred, viewed, strict=True)]
    if request.barred is not None:
        blocked = (request.barred[[task]].indices for task in short.tolist())
        barred = [np.concatenate(pair) for pair in zip(barred, blocked, strict=True)]
    return joined([ranked, _rest(state.retrieval.index, reading, ranked, short, request, barred, took)])


def _rest(
    index: Index,
    reading: PromptReading,
    ranked: Answer,
    short: np.ndarray,
    request: Request,
    barred: list[np.ndarray],
    took: np.ndarray,
) -> Answer:
    """Items that no source brought, in the transformer's order, for the tasks `short`, which have fewer than k candidates.

    barred: int arrays, what each of these tasks must not get. No item that is left has a repeat term, for items of the support
        are candidates or barred; so the index, which has no repeat terms, gives the transformer's order.
    """
    had = np.bincount(ranked.asker, minlength=len(took))[short]
    floor = np.zeros(len(took), np.float32)
    np.minimum.at(floor, ranked.asker, ranked.score)
    scores, items = _nearest(index, search_queries(reading.vectors[short]), request.k - had, request.allowed, barred)
    row, place = np.nonzero((items >= 0) & (np.arange(items.shape[1]) < (request.k - had)[:, None]))
    task = short[row]
    # Below everything that was ranked, as `dense.ranked` puts them, so that scores fall with the rank.
    value = scores[row, place] - np.maximum(_highest(index, reading, short), scores[:, 0])[row] - 1.0 + floor[task]
    source = [BACKFILL] * len(row)
    return Answer(task, items[row, place], value.astype(np.float32), had[row] + 1 + place, source, took[task])


def _nearest(
    index: Index, queries: np.ndarray, wanted: np.ndarray, allowed: np.ndarray | None, barred: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """`search` with a k for each query, `wanted` int (m,), -inf and -1 beyond it. Queries with one k are searched together, so
    that what an approximate index finds for a query does not depend on the k of another."""
    widest = min(int(wanted.max()), len(index))
    scores, items = np.full((len(queries), widest), -np.inf, np.float32), np.full((len(queries), widest), -1, np.int64)
    for count in np.unique(wanted):
        rows, width = np.flatnonzero(wanted == count), min(int(count), len(index))
        found = search(index, queries[rows], width, allowed, [barred[row] for row in rows])
        scores[rows, :width], items[rows, :width] = found
    return scores, items


def _highest(index: Index, reading: PromptReading, short: np.ndarray) -> np.ndarray:
    """float32 (len(short),): the transformer's highest score of any item for these tasks, repeat terms included."""
    repeats = reading.repeats[short]
    repeated = np.split(repeats.indices, repeats.indptr[1:-1])
    highest = search(index, search_queries(reading.vectors[short]), 1, None, repeated)[0][:, 0]
    row = np.repeat(np.arange(len(short)), np.diff(repeats.indptr))
    np.maximum.at(highest, row, reading.scores(short[row], repeats.indices))
    return highest


def as_table(found: Answer, asked: Ids, catalogue: Catalogue, titles: bool) -> pa.Table:
    """The answer as a table, users in the order in which they asked, best first. titles: with the column `title`."""
    found = found.take(np.lexsort((found.rank, found.asker)))
    table = answer_table(asked, catalogue, found.asker, found.item, found.score, found.rank, found.source)
    table = table.append_column("steps", pa.array(found.steps.astype(np.int64)))
    return with_titles(table, catalogue, found.item) if titles else table
