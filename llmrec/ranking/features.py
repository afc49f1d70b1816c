"""Ranking features of each candidate of each task: frequency, recency, price and co-purchases.

Axis convention: `T` tasks, `C` candidates of all tasks as a flat list (as in `Candidates`), `N` items, `F` features.
All counts come from training users and from the task's own support; nothing from a query.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from llmrec.data.cells import cells, product
from llmrec.data.tasks import Tasks, expand_ranges
from llmrec.index.candidates import Candidates
from llmrec.models.counts import support_counts
from llmrec.models.item_item import Markov
from llmrec.ranking import text_cca
from llmrec.ranking.statistics import DATES, DECAY, POSITIONS, ItemStatistics

FEATURES = (
    "purchase_count",  # log(1 + baskets of the support that hold the item)
    "purchased",  # 1 when the support holds it
    "recency",  # 1 / (1 + baskets since it was last bought), 0 when never
    "popularity",  # log of the share of training baskets that hold it, by sample weight
    "repurchase_rate",  # logit of how often training users who had it took it again soon
    "item_knn",  # log(1 + similarity by co-occurrence to the support)
    "item_knn_decayed",  # the same with .8 of the weight for each basket back
    "ease",  # log of its EASE score, given the support, 0.001 at least
    "ease_decayed",  # the same with .8 of the weight for each basket back
    "tfidf",  # log(1 + similarity of its title and category to the support's, by TF-IDF), weighed .9 a basket back
    "text_cca",  # how well its text goes with what is taken after such texts as the support's
    "markov_short",  # log of the chance to come soon after the last three baskets, over that of any item
    "markov_long",  # the same after the last ten
    "position_popularity",  # log of how often others took it at this point of their history
    "recent_position_popularity",  # the same among those who were there at about the same time
    "price",  # log price, centred over the catalogue
    "price_gap",  # its distance from the support's mean log price
    "n_baskets",  # log(1 + baskets known)
    "n_events",  # log(1 + events known)
)

# The blend alone may see these. Next to no task of a training user is about an item that the other half of them did not have
# (15 of 6,000 of electronics): of what says something of such items only the ranker over counts would learn to distrust it.
FOR_BLEND = (
    "text_knn",  # for a cold item: log(1 + 100 x text similarity to the support and to its co-purchases)
)

TASKS = 256  # compared at a time, at most
CELLS = 1 << 22  # of a dense table that is made at a time, at most
LEAST = 1e-3  # of what EASE says: below it is noise
LEAST_TEXT_KNN = 1e-2  # of what similarities carried over by text come to


def features(tasks: Tasks, found: Candidates, counts: ItemStatistics) -> np.ndarray:
    """float32 (C, F), columns as in FEATURES."""
    asked, tasks = tasks, tasks.counted
    n, data = tasks.dataset.n_items, tasks.dataset
    length = tasks.split - tasks.start
    owner, row = expand_ranges(tasks.start, tasks.split)
    begin, last = _first_and_last_basket(tasks)
    last = last - begin
    cell = owner * n + data.item[row]
    basket = data.basket[row] - begin[owner]
    # One number per (task, item) of the support, at the places `known`; a candidate finds its own by bisection.
    visits = np.unique(np.stack([cell, basket]), axis=1)
    known, first, times = np.unique(visits[0], return_index=True, return_counts=True)
    latest = np.maximum.reduceat(visits[1], first) if len(first) else visits[1]
    wanted = found.task.astype(np.int64) * n + found.item
    place = np.minimum(np.searchsorted(known, wanted), max(len(known) - 1, 0))
    had = known[place] == wanted if len(known) else np.zeros(len(wanted), bool)
    count_in = sparse.csr_array((np.log1p(times), (known // n, known % n)), shape=(len(tasks), n))
    if not len(known):  # no event of any support counts
        times = latest = np.zeros(1, np.int64)
    together = product(count_in, counts.cooccurrence)
    late = product(support_counts(tasks, DECAY), counts.cooccurrence)
    price = counts.log_price
    level = np.bincount(owner, price[data.item[row]], len(tasks)) / np.maximum(length, 1)
    columns = {
        "purchase_count": np.where(had, np.log1p(times[place]), 0.0),
        "purchased": had,
        "recency": had / (1.0 + np.where(had, last[found.task] - latest[place], 0.0)),
        "popularity": np.log((counts.popularity[found.item] + 0.5) / (counts.baskets + 1.0)),
        "repurchase_rate": np.where(had, counts.repurchase[found.item], 0.0),
        "item_knn": np.log1p(_cells(together, found)),
        "item_knn_decayed": np.log1p(_cells(late, found)),
        "ease": _ease(counts, count_in, found),
        "ease_decayed": _ease(counts, support_counts(tasks, DECAY), found),
        "tfidf": np.log1p(_tfidf(counts, tasks, found)),
        "text_cca": _text_cca(counts, tasks, found),
        "markov_short": _markov(counts.markov_short, tasks, found),
        "markov_long": _markov(counts.markov_long, tasks, found),
        "position_popularity": counts.position_popularity[_nearest_position(tasks)[found.task], found.item],
        "recent_position_popularity": _recent_position_popularity(counts, tasks, asked, found),
        "price": price[found.item],
        "price_gap": np.abs(price[found.item] - level[found.task]),
        "n_baskets": np.log1p(last + 1)[found.task],
        "n_events": np.log1p(length)[found.task],
    }
    return np.stack([columns[name] for name in FEATURES], 1).astype(np.float32)


def features_for_blend(tasks: Tasks, found: Candidates, counts: ItemStatistics) -> np.ndarray:
    """float32 (C, 1), columns as in FOR_BLEND; 0 for purchased items, and where `ItemStatistics.text_knn` is empty.

    text_knn(i) = log(1 + 100 sum_j carry(j, i) (held(j) + sum_h held(h) cooccurrence(h, j))), where held(h) decays by .8 a
    basket back: as the control `attribute kNN` of the benchmarks does with similarities of its own.
    """
    value = np.zeros(len(found.item))
    if counts.text_knn.nnz:
        held = support_counts(tasks, DECAY)
        value = _cells(product(held + product(held, counts.cooccurrence), counts.text_knn), found)
    return np.log1p(value / LEAST_TEXT_KNN).astype(np.float32)[:, None]


def _markov(markov: Markov, tasks: Tasks, found: Candidates) -> np.ndarray:
    """log((chance + mean chance) / mean chance), (C,): 0 for what never follows."""
    history = support_counts(tasks, markov.decay, markov.last)
    given = history @ markov.exit_rate + (np.diff(history.indptr) == 0)
    chance = _cells(product(history, markov.follows), found) + given[found.task] * markov.prior[found.item]
    return np.log1p(chance / max(markov.mean_prior, 1e-12))


def _ease(counts: ItemStatistics, history: sparse.csr_array, found: Candidates) -> np.ndarray:
    """log of the sum (C,) over the history's items of what each says of the candidate by `ItemStatistics.ease`."""
    value = np.zeros(len(found.item), np.float32)
    for first in range(0, history.shape[0] if counts.ease.nnz else 0, TASKS):  # in parts: nearly every item is spoken of
        stop = min(first + TASKS, history.shape[0])
        part = slice(found.start[first], found.start[stop])
        dense = (history[first:stop].astype(np.float32) @ counts.ease).toarray()
        value[part] = dense[found.task[part] - first, found.item[part]]
    return np.log(np.maximum(value, 0) + LEAST)


def _tfidf(counts: ItemStatistics, tasks: Tasks, found: Candidates) -> np.ndarray:
    """Similarity (C,) of each candidate's words to those of the support, an item's own left out where the support holds it."""
    support = support_counts(tasks, text_cca.DECAY)
    read, words, value = product(support, counts.words), counts.words, np.empty(len(found.item))
    some = max(1, min(TASKS, CELLS // max(words.shape[1], 1)))
    for first in range(0, len(tasks), some):
        stop = min(first + some, len(tasks))
        part = slice(found.start[first], found.start[stop])
        begin, end = words.indptr[found.item[part]], words.indptr[found.item[part] + 1]
        owner, place = expand_ranges(begin, end)
        told = read[first:stop].toarray()[found.task[part][owner] - first, words.indices[place]] * words.data[place]
        value[part] = np.bincount(owner, told, len(begin))
    return np.maximum(value.astype(np.float32) - _cells(support, found), 0.0)


def _text_cca(counts: ItemStatistics, tasks: Tasks, found: Candidates) -> np.ndarray:
    """(C,)"""
    value, histories = np.empty(len(found.item), np.float32), counts.flow.histories(tasks)
    some = max(1, CELLS // max(histories.shape[1], 1))
    for first in range(0, len(value), some):
        part = slice(first, first + some)
        value[part] = np.einsum("cr,cr->c", histories[found.task[part]], counts.flow.answer[found.item[part]])
    return value


def _nearest_position(tasks: Tasks) -> np.ndarray:
    """int64 (T,): row of POSITIONS, counted from the user's very first basket, for the query's first one."""
    had = _first_and_last_basket(tasks)[1] + 1
    return np.maximum(np.searchsorted(POSITIONS, had, side="right") - 1, 0)


def _first_and_last_basket(tasks: Tasks) -> tuple[np.ndarray, np.ndarray]:
    """int64 (T,) each: ordinals of the first and the last basket of each support; 0 and -1 for an empty one."""
    first, last, some = np.zeros(len(tasks), np.int64), np.full(len(tasks), -1), tasks.split > tasks.start
    first[some], last[some] = tasks.dataset.basket[tasks.start[some]], tasks.dataset.basket[tasks.split[some] - 1]
    return first, last


def _recent_position_popularity(counts: ItemStatistics, tasks: Tasks, asked: Tasks, found: Candidates) -> np.ndarray:
    """`recent_position_popularity` (C,) at the time of the last event of each support of `asked`, between the two nearest dates
    in proportion. tasks: the same with only the events that count."""
    at = np.interp(asked.dataset.time[asked.split - 1], counts.dates, np.arange(DATES))
    low = np.minimum(at.astype(np.int64), DATES - 2)
    part, task, place = (at - low)[found.task], low[found.task], _nearest_position(tasks)[found.task]
    return (1 - part) * counts.recent_position_popularity[task, place, found.item] + part * counts.recent_position_popularity[
        task + 1, place, found.item
    ]


def _cells(table: sparse.csr_array, found: Candidates) -> np.ndarray:
    """Entries (C,) of a sparse (T, N) table at the candidates."""
    return cells(table, found.task, found.item)
