"""Answers under the rules of a shop: more candidates where rules ask for them, lists filled within the rules, a last check."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from llmrec.data.ids import Ids
from llmrec.data.tasks import Tasks
from llmrec.encoder.users import PromptReading
from llmrec.index.candidates import Candidates, first_allowed, names, united
from llmrec.index.faiss_index import search
from llmrec.ranking.two_stage import search_queries
from llmrec.recommender.state import State
from llmrec.rules.answers import both, passing, row_of
from llmrec.rules.applied import CatalogueRules
from llmrec.rules.filling import Filling, Pool, Rows

if TYPE_CHECKING:
    from llmrec.recommender.answer import Answer, Request

LARGEST_LOG = 60.0  # of a factor on popularity or on a cosine, whose product is told as float32
POPULAR = 256  # popular items that are ordered by rules for users without a history, before the rest comes
CHUNK = 128  # items fetched at a time where the candidates are used up


def prepared(state: State, asked: Ids, request: Request) -> Request:
    """The request with its rules applied to the catalogue, and with what they leave out for everybody and for single users."""
    applied = request.applied
    if applied is None:
        if request.rules is None:
            return request
        applied = state.known_rules.over(request.rules)
    return replace(request, applied=applied, allowed=both(request.allowed, applied.allowed), barred=applied.barred(asked))


def widened(tasks: Tasks, request: Request, bring: Callable[[np.ndarray | None], Candidates]) -> Candidates:
    """What `bring` finds among the allowed items, and under rules also among those with high factors, and the pinned ones.

    bring: bool (N,) or None -> candidates of the tasks among those items.
    """
    rules, allowed = request.applied, request.allowed
    found = bring(allowed)
    if rules is None or not rules.reranks:
        return found
    parts = [found]
    for tier in rules.tiers:
        parts.append(bring(tier if allowed is rules.allowed else both(tier, allowed)))
    if rules.pins:
        parts.append(_pinned(tasks, rules, request))
    return united(parts, tasks.dataset.n_items) if len(parts) > 1 else found


def _pinned(tasks: Tasks, rules: CatalogueRules, request: Request) -> Candidates:
    """The pinned items that each task may get, brought by no source."""
    pins = np.array([item for place, item in rules.pins if place <= request.k], np.int64)
    pins = pins if request.allowed is None else pins[request.allowed[pins]]
    may = np.ones((len(tasks), len(pins)), bool)
    for task, barred in enumerate(_left_out(tasks, request)):
        may[task] = ~np.isin(pins, barred)
    row, column = np.nonzero(may)
    start = np.concatenate([[0], np.cumsum(may.sum(1))]).astype(np.int64)
    return Candidates(start, pins[column].astype(np.int32), np.zeros(len(row), np.uint8))


def _left_out(tasks: Tasks, request: Request) -> Iterator[np.ndarray]:
    """What each task must not get although it is allowed: blocked items, and with `filter_viewed` those of the history."""
    for task in range(len(tasks)):
        blocked = row_of(request.barred, task)
        if request.filter_viewed:
            blocked = np.concatenate([blocked, tasks.dataset.item[tasks.support(task)]])
        yield blocked


def filled(
    state: State, tasks: Tasks, reading: PromptReading, found: Candidates, value: np.ndarray, request: Request, label: str
) -> list[Rows]:
    """The rows of each task: its candidates by their scores `value` (C,) and factors, within the rules, and where these leave
    fewer than k the rest of the catalogue in the transformer's order, by the factors. label: the `source` of the rest."""
    rules, source = request.applied, names(found.source)
    assert rules is not None
    factor = 0.0 if rules.log_factor is None else rules.log_factor[found.item]
    score, answers = value + factor, []
    for task, barred in enumerate(_left_out(tasks, request)):
        first, stop = int(found.start[task]), int(found.start[task + 1])
        filling, mine = Filling(rules, request.k), score[first:stop]
        best = first + np.lexsort((found.item[first:stop], -mine))
        item = found.item[best]
        pool = Pool(item, score[best], [source[row] for row in best], score[best], _vectors(state, rules, item))
        filling.pin(pool)
        filling.fill(pool)
        query = search_queries(reading.vectors[task : task + 1])
        floor = min(0.0, float(mine.min(initial=0.0)))
        for more in _rest(state, rules, query, request, np.concatenate([barred, item]), filling, floor, label):
            filling.fill(more)
        answers.append(filling.ranked())
    return answers


def _rest(
    state: State,
    rules: CatalogueRules,
    query: np.ndarray,
    request: Request,
    barred: np.ndarray,
    filling: Filling,
    floor: float,
    label: str,
) -> Iterator[Pool]:
    """Pools of the items that no source brought, while there are any and places are free; scores lie below `floor`."""
    index, top, last = state.retrieval.index, None, floor - 1.0
    while filling.next is not None:
        score, item = (
            part[0] for part in search(index, query, min(CHUNK, len(index)), filling.open(request.allowed), [barred])
        )
        score, item = score[item >= 0], item[item >= 0]
        if not len(item):
            return
        top = score[0] if top is None else top
        value = score - top + floor - 1.0
        value = value if rules.log_factor is None else value + rules.log_factor[item]
        best = np.lexsort((item, -value))
        shown = np.minimum(value[best], last)  # scores fall from one pool to the next
        last = float(shown[-1])
        yield Pool(item[best], shown, [label] * len(item), value[best], _vectors(state, rules, item[best]))
        barred = np.concatenate([barred, item])


def _vectors(state: State, rules: CatalogueRules, item: np.ndarray) -> np.ndarray | None:
    """float32 (P, d): the vectors of items at length 1, for diversity; None where rules ask for none."""
    if not rules.diversity:
        return None
    vectors = state.items.vectors[torch.from_numpy(item.astype(np.int64))].cpu().numpy()
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def popular(state: State, askers: np.ndarray, request: Request, label: str) -> list[Rows]:
    """The rows of each asker without a history: the most popular items, their popularity times the factors."""
    rules, known = request.applied, dict[bytes, Rows]()
    assert rules is not None
    answers = []
    for asker in askers.tolist():
        barred = row_of(request.barred, asker)
        key = barred.tobytes()
        if key not in known:  # most users have nothing blocked, and get one list
            filling = Filling(rules, request.k)
            for place, pool in enumerate(_by_popularity(state, rules, request, barred, label, filling)):
                if place == 0:
                    filling.pin(pool)
                filling.fill(pool)
            known[key] = filling.ranked()
        answers.append(known[key])
    return answers


def _by_popularity(
    state: State, rules: CatalogueRules, request: Request, barred: np.ndarray, label: str, filling: Filling
) -> Iterator[Pool]:
    """The most popular items, those of high factors and the pinned ones as the first pool; then the rest while places are
    free."""
    order, popularity, allowed = state.retrieval.popularity_order, state.retrieval.popularity, request.allowed
    count, last = POPULAR + len(barred), np.inf
    pins = np.array([item for place, item in rules.pins if place <= request.k], np.int64)
    parts = [first_allowed(order, count, allowed), pins if allowed is None else pins[allowed[pins]]]
    parts += [first_allowed(order, count, both(tier, allowed)) for tier in rules.tiers]
    item, begin = np.unique(np.concatenate(parts)), 0
    taken = np.union1d(item, barred)
    item = item[~np.isin(item, barred)]
    while True:
        log_factor = np.zeros(len(item)) if rules.log_factor is None else rules.log_factor[item].astype(np.float64)
        value = popularity[item] * np.exp(np.minimum(log_factor, LARGEST_LOG))
        best = np.lexsort((item, -log_factor, -value))
        shown = np.minimum(value[best], last)
        last = float(shown.min(initial=last))
        relevance = np.log(popularity[item] + 0.5) + log_factor
        yield Pool(item[best], shown, [label] * len(item), relevance[best], _vectors(state, rules, item[best]))
        item = np.zeros(0, np.int64)
        while not len(item) and filling.next is not None and begin < len(order):
            item, mask = order[begin : begin + CHUNK * 8], filling.open(allowed)
            begin += CHUNK * 8
            item = item if mask is None else item[mask[item]]
            item = item[~np.isin(item, taken)]
        if not len(item):
            return


def checked(found: Answer, request: Request) -> Answer:
    """The answer without any row that a filter or a block leaves out, see `passing`."""
    kept, rank = passing(found.asker, found.item, found.rank, request.allowed, request.barred)
    return replace(found.take(kept), rank=rank)
