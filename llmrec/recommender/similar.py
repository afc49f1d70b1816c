"""Similar items, as a pure function of the state."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from llmrec.data.requests import as_ids, find_items, id_column, warn_if_short, with_titles
from llmrec.index.forks import check_process
from llmrec.recommender.ruled import CHUNK, LARGEST_LOG
from llmrec.recommender.state import State
from llmrec.rules.answers import FOR_ITEMS, both, passing, pins_shown, warn_of_rules
from llmrec.rules.applied import CatalogueRules
from llmrec.rules.filling import Filling, Pool, Rows, flat
from llmrec.rules.rules import Rules

NEAR = 256  # nearest items that are ordered by rules, before the rest comes
BLOCK = "block is not used: it is about single users, and similar items are the same for everybody; recommend uses it"


def similar(state: State, items: Iterable[Any], k: int, titles: bool, rules: Rules | None = None) -> pa.Table:
    """The k items nearest to each of `items` by the cosine of their vectors, as `Recommender.similar_items` answers; no rows
    where no other item is offered. Warnings point to the line that called the caller."""
    asked = as_ids(items, "items")
    index = find_items(state.catalogue, asked)
    check_process()
    applied = None if rules is None else state.known_rules.over(rules)
    allowed = state.offered if applied is None else both(state.offered, applied.allowed)
    if applied is not None and applied.reranks:
        row, near, score, rank, _ = flat(_filled(state, index, k, applied, allowed))
    else:
        row, near, score, rank = _nearest(state, index, k, allowed)
    if applied is not None:
        kept, rank = passing(row, near, rank, allowed, None)
        row, near, score = row[kept], near[kept], score[kept]
        more = [BLOCK] if applied.blocks else []
        shown = pins_shown(row, near, applied)
        warn_of_rules(state.catalogue, applied, k, asked, shown, stacklevel=4, one="item", why=FOR_ITEMS, more=more)
        short = applied.shortage(blocked=False)
        warn_if_short(row, asked, k, False, False, short, stacklevel=4, hidden=state.n_hidden, one="item")
    ids = state.catalogue.ids
    known = id_column(ids.take(index).values, ids)
    table = {
        "item_id": known.take(pa.array(row)),
        "similar_item_id": pa.array(ids.take(near).values, known.type),
        "score": score,
        "rank": rank,
    }
    answer = pa.table(table)
    return with_titles(answer, state.catalogue, near) if titles else answer


def _nearest(
    state: State, index: np.ndarray, k: int, allowed: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The row in `index`, item, cosine and rank of the k nearest of the allowed items to each of `index`."""
    most = min(k, len(state.catalogue) - 1)
    score, found = np.zeros((len(index), 0), np.float32), np.zeros((len(index), 0), np.int64)
    if most:
        nearest = state.moved_index
        score, found = nearest.search(nearest.vectors(index), most, allowed, [np.array([i]) for i in index])
    row, place = np.nonzero(found >= 0)
    return row, found[row, place], score[row, place], place + 1


def _filled(state: State, index: np.ndarray, k: int, rules: CatalogueRules, allowed: np.ndarray | None) -> list[Rows]:
    """The rows of each item of `index`, within the rules: pinned items; then, by cosine and factors, the nearest items and the
    nearest ones with high factors; and where these are fewer than k, the rest of the catalogue."""
    nearest, n = state.moved_index, len(state.catalogue)
    queries, itself = nearest.vectors(index), [np.array([item]) for item in index]
    pins = np.zeros(n, bool)
    pins[[item for place, item in rules.pins if place <= k]] = True
    brought = nearest.search(queries, max(1, int(pins.sum())), both(pins, allowed), itself)
    masks = [allowed, *(both(tier, allowed) for tier in rules.tiers)]
    found = [nearest.search(queries, min(NEAR, n), mask, itself) for mask in masks]
    answers = []
    for row, item in enumerate(index.tolist()):
        filling = Filling(rules, k)
        filling.pin(_pool(state, rules, brought[0][row], brought[1][row]))
        near, place = np.unique(np.concatenate([part[1][row] for part in found]), return_index=True)
        score = np.concatenate([part[0][row] for part in found])[place]
        for pool in _pools(state, rules, queries[row : row + 1], item, score, near, allowed, filling):
            filling.fill(pool)
        answers.append(filling.ranked())
    return answers


def _pools(
    state: State,
    rules: CatalogueRules,
    query: np.ndarray,
    item: int,
    score: np.ndarray,
    near: np.ndarray,
    allowed: np.ndarray | None,
    filling: Filling,
) -> Iterator[Pool]:
    """The items `near` with the cosines `score`, then the rest of the catalogue while places are free; scores fall from one
    pool to the next."""
    index, barred, last = state.moved_index, np.array([item]), np.inf
    while (near >= 0).any():
        pool = _pool(state, rules, score, near, last)
        yield pool
        last, barred = float(pool.score[-1]), np.concatenate([barred, pool.item])
        if filling.next is None:
            return
        score, near = (part[0] for part in index.search(query, min(CHUNK, len(index)), filling.open(allowed), [barred]))


def _pool(state: State, rules: CatalogueRules, score: np.ndarray, near: np.ndarray, most: float = np.inf) -> Pool:
    """The items `near`, int64 (P,), -1 for none, with the cosines `score`, best first. A cosine is multiplied by the item's
    factors, one below 0 divided by them. most: no score is shown above it."""
    cosine, item = score[near >= 0].astype(np.float64), near[near >= 0]
    log_factor = np.zeros(len(item)) if rules.log_factor is None else rules.log_factor[item].astype(np.float64)
    value = cosine * np.exp(np.minimum(np.sign(cosine) * log_factor, LARGEST_LOG))
    best = np.lexsort((item, -log_factor, -value))
    item, value = item[best], value[best]
    vectors = state.moved_index.vectors(item) if rules.diversity else None
    return Pool(item, np.minimum(value, most), [""] * len(item), value, vectors)
