"""What a dot product does not see: how often, how lately, how cheap, what with, for each candidate of each task.

Axis convention: `T` tasks, `C` candidates of all tasks as a flat list (as in `Candidates`), `N` items, `F` features.
All counts come from training users and from the task's own support; nothing from a query.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from llmrec.data.dataset import Dataset
from llmrec.data.tasks import Tasks, sample_windows
from llmrec.evaluation.counts import basket_items, support_counts
from llmrec.evaluation.item_item import Markov, fit_markov
from llmrec.evaluation.text_match import fit_tfidf
from llmrec.index.candidates import Candidates, neighbours

FEATURES = (
    "times",  # log(1 + baskets of the support that hold the item)
    "had",  # 1 when the support holds it
    "recency",  # 1 / (1 + baskets since it was last there), 0 when never
    "popularity",  # log of the share of training baskets that hold it
    "repurchase",  # logit of how often training users who had it took it again soon
    "together",  # log(1 + similarity by co-occurrence to the support)
    "together_lately",  # the same with .8 of the weight for each basket back
    "wording",  # log(1 + similarity of its title and category to the support's, by TF-IDF), lately
    "follows",  # log of the chance to come soon after the last three baskets, over that of any item
    "follows_wide",  # the same after the last ten
    "place",  # log of how often others took it at this point of their history
    "lately",  # the same among those who were there at about the same time
    "price",  # log price, centred over the catalogue
    "price_gap",  # its distance from the support's mean log price
    "known",  # log(1 + baskets known)
    "events",  # log(1 + events known)
)


PLACES = np.array([1, 2, 3, 5, 10, 20, 50, 100])  # baskets had, at which `place` and `lately` are counted
LATELY = 0.8  # weight of a basket against the one after it
TASKS = 256  # whose words are compared at a time
DATES = 8  # parts of the training period for `lately`, with as many baskets in each


@dataclass(frozen=True)
class Counts:
    """What was counted over training users.

    popularity: float32 (N,), baskets that hold the item. baskets: how many baskets there were.
    repurchase: float32 (N,), logit of the chance to be taken again within the horizon, shrunk to the mean.
    together: csr float32 (N, N), similarity by co-occurrence.
    log_price: float32 (N,), centred; 0 where unknown.
    words: csr float64 (N, V), TF-IDF of titles and categories, rows of length 1.
    near, wide: what comes soon after the last three, and the last ten, baskets.
    place: float32 (len(PLACES), N), log share of an item in the baskets that follow so many baskets.
    lately: float32 (DATES, len(PLACES), N), the same by date. dates: float64 (DATES,), the middle of each part, in seconds.
    """

    popularity: np.ndarray
    baskets: int
    repurchase: np.ndarray
    together: sparse.csr_array
    log_price: np.ndarray
    words: sparse.csr_array
    near: Markov
    wide: Markov
    place: np.ndarray
    lately: np.ndarray
    dates: np.ndarray

    @cached_property
    def by_word(self) -> sparse.csr_array:
        """`words` turned round, (V, N): turning it takes longer than one user's answer."""
        return self.words.T.tocsr()


def count(dataset: Dataset, users: np.ndarray, horizon: int, rng: np.random.Generator) -> Counts:
    """Count over `users` (int indices of training users)."""
    part = dataset.take(users)
    place, lately, dates = _places(part, horizon)
    return Counts(
        popularity=basket_items(part).sum(0).astype(np.float32),
        baskets=len(part.basket_start) - 1,
        repurchase=_repurchase(part, horizon, rng),
        together=neighbours(dataset, users),
        log_price=_prices(part),
        words=fit_tfidf(dataset, _titles(dataset), log=True).document,
        near=fit_markov(dataset, users, last=3, horizon=horizon, decay=LATELY),
        wide=fit_markov(dataset, users, last=10, horizon=horizon, decay=LATELY),
        place=place,
        lately=lately,
        dates=dates,
    )


def features(tasks: Tasks, found: Candidates, counts: Counts) -> np.ndarray:
    """float32 (C, F), columns as in FEATURES."""
    n, data = tasks.dataset.n_items, tasks.dataset
    length = tasks.split - tasks.start
    owner = np.repeat(np.arange(len(tasks)), length)
    row = np.repeat(tasks.start - np.concatenate([[0], np.cumsum(length)[:-1]]), length) + np.arange(length.sum())
    last = data.basket[tasks.split - 1] - data.basket[tasks.start]
    cell = owner * n + data.item[row]
    basket = data.basket[row] - data.basket[tasks.start][owner]
    # One number per (task, item) of the support, at the places `cells`; a candidate finds its own by bisection.
    visits = np.unique(np.stack([cell, basket]), axis=1)
    cells, first, times = np.unique(visits[0], return_index=True, return_counts=True)
    latest = np.maximum.reduceat(visits[1], first) if len(first) else visits[1]
    wanted = found.task.astype(np.int64) * n + found.item
    place = np.minimum(np.searchsorted(cells, wanted), max(len(cells) - 1, 0))
    had = cells[place] == wanted if len(cells) else np.zeros(len(wanted), bool)
    count_in = sparse.csr_array((np.log1p(times), (cells // n, cells % n)), shape=(len(tasks), n))
    together = sparse.csr_array(count_in @ counts.together)
    late = sparse.csr_array(support_counts(tasks, LATELY) @ counts.together)
    price = counts.log_price
    level = np.bincount(owner, price[data.item[row]], len(tasks)) / np.maximum(length, 1)
    columns = {
        "times": np.where(had, np.log1p(times[place]), 0.0),
        "had": had,
        "recency": had / (1.0 + np.where(had, last[found.task] - latest[place], 0.0)),
        "popularity": np.log((counts.popularity[found.item] + 0.5) / (counts.baskets + 1.0)),
        "repurchase": np.where(had, counts.repurchase[found.item], 0.0),
        "together": np.log1p(_cells(together, found)),
        "together_lately": np.log1p(_cells(late, found)),
        "wording": np.log1p(_wording(counts, tasks, found)),
        "follows": _follows(counts.near, tasks, found),
        "follows_wide": _follows(counts.wide, tasks, found),
        "place": counts.place[_nearest_place(tasks)[found.task], found.item],
        "lately": _lately(counts, tasks, found),
        "price": price[found.item],
        "price_gap": np.abs(price[found.item] - level[found.task]),
        "known": np.log1p(last + 1)[found.task],
        "events": np.log1p(length)[found.task],
    }
    return np.stack([columns[name] for name in FEATURES], 1).astype(np.float32)


def _follows(markov: Markov, tasks: Tasks, found: Candidates) -> np.ndarray:
    """log((chance + mean chance) / mean chance), (C,): 0 for what never follows."""
    history = support_counts(tasks, markov.decay, markov.last)
    given = history @ markov.taken + (np.diff(history.indptr) == 0)
    chance = _cells(sparse.csr_array(history @ markov.follows), found) + given[found.task] * markov.base[found.item]
    return np.log1p(chance / max(markov.base.mean(), 1e-12))


def _titles(dataset: Dataset) -> list[str]:
    names = [name for name in ("title", "category") if name in dataset.catalogue.table.column_names]
    columns = [dataset.catalogue.column(name) for name in names]
    return [" ".join(str(value) for value in values if value is not None) for values in zip(*columns, strict=True)]


def _wording(counts: Counts, tasks: Tasks, found: Candidates) -> np.ndarray:
    """Similarity (C,) of each candidate's words to those of the support, an item's own left out where the support holds it."""
    support = support_counts(tasks, LATELY)
    value = np.empty(len(found.item), np.float32)
    for first in range(0, len(tasks), TASKS):  # in parts: nearly every item shares some word with a support
        stop = min(first + TASKS, len(tasks))
        part = slice(found.start[first], found.start[stop])
        dense = (support[first:stop] @ counts.words @ counts.by_word).toarray()
        value[part] = dense[found.task[part] - first, found.item[part]]
    return np.maximum(value - _cells(support, found), 0.0)


def _nearest_place(tasks: Tasks) -> np.ndarray:
    """int64 (T,): row of PLACES, counted from the user's very first basket, for the query's first one."""
    had = tasks.dataset.basket[tasks.split - 1] + 1
    return np.searchsorted(PLACES, had, side="right") - 1


def _lately(counts: Counts, tasks: Tasks, found: Candidates) -> np.ndarray:
    """`Counts.lately` (C,) at the time of each support's last event, between the two nearest dates in proportion."""
    at = np.interp(tasks.dataset.time[tasks.split - 1], counts.dates, np.arange(DATES))
    low = np.minimum(at.astype(np.int64), DATES - 2)
    part, task, place = (at - low)[found.task], low[found.task], _nearest_place(tasks)[found.task]
    return (1 - part) * counts.lately[task, place, found.item] + part * counts.lately[task + 1, place, found.item]


def _places(part: Dataset, horizon: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`place`, `lately` and `dates` of Counts: what the training users took in the `horizon` baskets after so many.

    A table that few baskets fill is smoothed by the one above it: all dates, and then all places.
    """
    baskets, ordinal, time = basket_items(part), part.basket[part.basket_start[:-1]], part.time[part.basket_start[:-1]]
    overall = np.asarray(baskets.sum(0)) + 0.5
    overall = overall / overall.sum()
    edges = np.quantile(time, np.linspace(0, 1, 2 * DATES + 1)) if len(time) else np.zeros(2 * DATES + 1)
    dates = edges[1::2]
    date = np.searchsorted(edges[2:-1:2], time, side="right")
    place = np.empty((len(PLACES), part.n_items), np.float32)
    lately = np.empty((DATES, len(PLACES), part.n_items), np.float32)
    for row, had in enumerate(PLACES):
        here = (ordinal >= had) & (ordinal < had + horizon)
        every = _smoothed(baskets.T @ here.astype(np.float64), overall)
        place[row] = np.log(every)
        for number in range(DATES):
            lately[number, row] = np.log(_smoothed(baskets.T @ (here & (date == number)).astype(np.float64), every))
    return place, lately, dates


def _smoothed(count: np.ndarray, toward: np.ndarray) -> np.ndarray:
    weight = 0.1 * count.sum() + 10.0
    return (count + weight * toward) / (count.sum() + weight)


def _cells(table: sparse.csr_array, found: Candidates) -> np.ndarray:
    """Entries (C,) of a sparse (T, N) table at the candidates."""
    table.sort_indices()
    n = table.shape[1]
    keys = np.repeat(np.arange(table.shape[0], dtype=np.int64), np.diff(table.indptr)) * n + table.indices
    wanted = found.task.astype(np.int64) * n + found.item
    if not len(keys):
        return np.zeros(len(wanted), np.float32)
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, table.data[place], 0.0)


def _repurchase(part: Dataset, horizon: int, rng: np.random.Generator) -> np.ndarray:
    """Over windows of one basket drawn from training users: of those that hold an item, how many have it in their query too."""
    n = part.n_items
    if not (part.n_baskets > horizon).any():
        return np.zeros(n, np.float32)
    tasks = sample_windows(part, np.arange(part.n_users), (1, 1), horizon, 20_000, rng)
    had = _pairs(part, tasks.start, tasks.split)
    again = np.intersect1d(had, _pairs(part, tasks.split, tasks.stop), assume_unique=True)
    chances, hits = np.bincount(had % n, minlength=n), np.bincount(again % n, minlength=n)
    mean = (hits.sum() + 1.0) / (chances.sum() + 2.0)
    rate = (hits + 20.0 * mean) / (chances + 20.0)
    return np.log(rate / (1 - rate)).astype(np.float32)


def _pairs(data: Dataset, begin: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Distinct task * N + item over the event ranges begin:end, ascending."""
    count = end - begin
    row = np.repeat(begin - np.concatenate([[0], np.cumsum(count)[:-1]]), count) + np.arange(count.sum())
    return np.unique(np.repeat(np.arange(len(begin)), count) * data.n_items + data.item[row])


def _prices(part: Dataset) -> np.ndarray:
    price = part.attributes.get("price")
    if price is None:
        return np.zeros(part.n_items, np.float32)
    there = np.isfinite(price)
    total = np.bincount(part.item[there], np.log1p(np.maximum(price[there], 0)), part.n_items)
    times = np.bincount(part.item[there], minlength=part.n_items)
    if not there.any():
        return np.zeros(part.n_items, np.float32)
    mean = total.sum() / times.sum()
    return np.where(times > 0, total / np.maximum(times, 1) - mean, 0.0).astype(np.float32)
