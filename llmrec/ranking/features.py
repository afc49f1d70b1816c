"""Ranking features of each candidate of each task: frequency, recency, price and co-purchases.

Axis convention: `T` tasks, `C` candidates of all tasks as a flat list (as in `Candidates`), `N` items, `F` features.
All counts come from training users and from the task's own support; nothing from a query.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from llmrec.data.cells import cells, product, product_at
from llmrec.data.tasks import Tasks, expand_ranges
from llmrec.index.candidates import Candidates
from llmrec.models.counts import Purchases, purchases, support_counts
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
    "by_group",  # log ratio of how often the user's groups took it to everybody, added up over the attributes that are known
)

CELLS = 1 << 22  # of a dense table that is made at a time, at most
LEAST = 1e-3  # of what EASE says: below it is noise
LEAST_TEXT_KNN = 1e-2  # of what similarities carried over by text come to


def features(tasks: Tasks, found: Candidates, counts: ItemStatistics) -> np.ndarray:
    """float32 (C, F), columns as in FEATURES."""
    asked, tasks = tasks, tasks.counted
    held = purchases(tasks)
    owner = np.repeat(np.arange(len(tasks)), np.diff(held.start))
    pair, had = _pair_of(held, owner, found)
    times = np.bincount(held.pair, minlength=len(owner) + 1)  # one more for a candidate that is in no support
    back = np.zeros(len(times), np.int64)
    back[:-1] = held.back[np.flatnonzero(np.diff(held.pair, prepend=-1))]  # the least of each pair comes first
    every, late = np.log1p(times[:-1]), held.weights(DECAY)
    together, together_late = np.log1p(_products(held, (every, late), counts.cooccurrence, found))
    ease, ease_late = np.log(np.maximum(_products(held, (every, late), counts.ease, found), 0) + LEAST)
    begin, last = _first_and_last_basket(tasks)
    length, price = tasks.split - tasks.start, counts.log_price
    event_owner, event = expand_ranges(tasks.start, tasks.split)
    level = np.bincount(event_owner, price[tasks.dataset.item[event]], len(tasks)) / np.maximum(length, 1)
    columns = {
        "purchase_count": np.where(had, np.log1p(times[pair]), 0.0),
        "purchased": had,
        "recency": had / (1.0 + back[pair]),
        "popularity": np.log((counts.popularity[found.item] + 0.5) / (counts.baskets + 1.0)),
        "repurchase_rate": np.where(had, counts.repurchase[found.item], 0.0),
        "item_knn": together,
        "item_knn_decayed": together_late,
        "ease": ease,
        "ease_decayed": ease_late,
        "tfidf": np.log1p(_tfidf(counts, held, pair, found)),
        "text_cca": _text_cca(counts, tasks, found),
        "markov_short": _markov(counts.markov_short, held, owner, found),
        "markov_long": _markov(counts.markov_long, held, owner, found),
        "position_popularity": counts.position_popularity[_nearest_position(tasks)[found.task], found.item],
        "recent_position_popularity": _recent_position_popularity(counts, tasks, asked, found),
        "price": price[found.item],
        "price_gap": np.abs(price[found.item] - level[found.task]),
        "n_baskets": np.log1p(last - begin + 1)[found.task],
        "n_events": np.log1p(length)[found.task],
    }
    return np.stack([columns[name] for name in FEATURES], 1).astype(np.float32)


def features_for_blend(tasks: Tasks, found: Candidates, counts: ItemStatistics) -> np.ndarray:
    """float32 (C, 2), columns as in FOR_BLEND.

    The first is 0 for purchased items, and where `ItemStatistics.text_knn` is empty, the second where no attribute is known.

    text_knn(i) = log(1 + 100 s(i)), see `text_similarity`.
    """
    value = np.zeros(len(found.item))
    if counts.text_knn.nnz:
        value = cells(text_similarity(tasks, counts), found.task, found.item)
    groups = counts.groups
    lift = np.zeros(len(found.item)) if groups is None else groups.lift_at(tasks, found, groups.lift)
    return np.stack([np.log1p(value / LEAST_TEXT_KNN), lift], 1).astype(np.float32)


def text_similarity(tasks: Tasks, counts: ItemStatistics) -> sparse.csr_array:
    """csr (T, N), of cold items: s(i) = sum_j carry(j, i) (held(j) + sum_h held(h) cooccurrence(h, j)), where held(h) decays by
    .8 a basket back: as the control `attribute kNN` of the benchmarks does with similarities of its own."""
    held = support_counts(tasks, DECAY)
    return product(held + product(held, counts.cooccurrence), counts.text_knn)


def _pair_of(held: Purchases, owner: np.ndarray, found: Candidates) -> tuple[np.ndarray, np.ndarray]:
    """int64 (C,): the pair of `held` that each candidate is, H where the support does not hold it; and bool (C,), whether it
    does. owner: int64 (H,), the task of each pair."""
    n = held.shape[1]
    wanted = found.task.astype(np.int64) * n + found.item
    pair = np.searchsorted(owner * n + held.item, wanted)
    known = np.append(owner * n + held.item, -1)
    had = known[pair] == wanted
    return np.where(had, pair, len(owner)), had


def _products(held: Purchases, weights: Sequence[np.ndarray], table: sparse.csr_array, found: Candidates) -> np.ndarray:
    """float64 (W, C): for each of W weights (H,) of the pairs, the sum over the support of weight times the entry of `table`
    from the pair's item to the candidate."""
    return product_at(held.start, held.item, np.stack(weights), table, found.start, found.item)


def _markov(markov: Markov, held: Purchases, owner: np.ndarray, found: Candidates) -> np.ndarray:
    """log((chance + mean chance) / mean chance), (C,): 0 for what never follows."""
    weights, tasks = held.weights(markov.decay, markov.last), len(held.start) - 1
    given = np.bincount(owner, weights * markov.exit_rate[held.item], tasks) + (np.bincount(owner, weights, tasks) == 0)
    chance = _products(held, (weights,), markov.follows, found)[0] + given[found.task] * markov.prior[found.item]
    return np.log1p(chance / max(markov.mean_prior, 1e-12))


def _tfidf(counts: ItemStatistics, held: Purchases, pair: np.ndarray, found: Candidates) -> np.ndarray:
    """Similarity (C,) of each candidate's words to those of the support, an item's own left out where the support holds it.

    pair: int64 (C,), see `_pair_of`."""
    words, weights, value = counts.words, held.weights(text_cca.DECAY), np.zeros(len(found.item))
    begin, end, tasks = words.indptr[:-1], words.indptr[1:], len(found)
    owner, place = expand_ranges(begin[held.item], end[held.item])
    read, which = np.unique(words.indices[place], return_inverse=True)
    reader = np.repeat(np.arange(tasks), np.diff(held.start))[owner]
    first_read, weight = np.searchsorted(reader, np.arange(tasks + 1)), weights[owner] * words.data[place]
    some = max(1, CELLS // max(len(read), 1))
    for first in range(0, tasks if len(read) else 0, some):
        stop = min(first + some, tasks)
        mine, part = slice(first_read[first], first_read[stop]), slice(found.start[first], found.start[stop])
        told = np.bincount((reader[mine] - first) * len(read) + which[mine], weight[mine], (stop - first) * len(read))
        owner, place = expand_ranges(begin[found.item[part]], end[found.item[part]])
        word = words.indices[place]
        at = np.minimum(np.searchsorted(read, word), len(read) - 1)
        hit = np.flatnonzero(read[at] == word)
        at, owner, place = at[hit], owner[hit], place[hit]
        row = found.task[part][owner].astype(np.int64) - first
        value[part] = np.bincount(owner, told[row * len(read) + at] * words.data[place], part.stop - part.start)
    return np.maximum(value - np.append(weights, 0.0)[pair], 0.0)


def _text_cca(counts: ItemStatistics, tasks: Tasks, found: Candidates) -> np.ndarray:
    """(C,); zeros where nothing was learned from texts."""
    if not counts.flow.answer.shape[1]:
        return np.zeros(len(found.item), np.float32)
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
