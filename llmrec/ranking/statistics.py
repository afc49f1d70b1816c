"""Item statistics over training users: popularity, repurchase, transitions between items, prices and words.

Axis convention: `N` items, `V` words. Nothing is counted over a query of a validation or test user.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from llmrec.data.dataset import Catalogue, Dataset
from llmrec.data.tasks import expand_ranges, sample_windows
from llmrec.index.candidates import neighbours
from llmrec.models.counts import basket_items, basket_of_events, largest_weights
from llmrec.models.item_item import Markov, ease_weights, fit_markov, interactions
from llmrec.models.text_match import fit_tfidf
from llmrec.ranking.cold_items import alike, carry
from llmrec.ranking.first_buyers import FirstBuyers
from llmrec.ranking.groups import Groups, fit_groups
from llmrec.ranking.text_cca import Flow, fit_flow, item_features

POSITIONS = np.array([1, 2, 3, 5, 10, 20, 50, 100])  # baskets known, at which popularity by position is counted
DECAY = 0.8  # weight of a basket against the one after it
RIDGE = 5.0  # of `ease`, times the number of users that an item has on average
EASE_WEIGHTS_PER_ITEM = 300  # weights kept per column of `ease`, at least; in a small catalogue as many as EASE_WEIGHTS allow
EASE_WEIGHTS = 3_000_000  # 24 MB. With 300 of 3,416 films a long history loses 4%, with 880 nothing
TEXT_NEIGHBOURS = 50  # warm neighbours of a cold item
TEXT_POWER = 1.0  # exponent that sharpens the weight of the most similar ones
EASE_MAX_ITEMS = 8_000  # `ease` is learned for so many of the most purchased items: time grows with the cube of their number
_COLUMNS = 1024  # looked through at a time
DATES = 8  # parts of the training period for `recent_position_popularity`, with as many baskets in each


@dataclass(frozen=True)
class Texts:
    """What is read of the catalogue, once, for every count over it; it depends on no user.

    words: csr float64 (N, V), TF-IDF of titles and categories, rows of length 1 (0 for an item without a word that tells
    anything). features: float32 (N, F), rows of length 1, what `flow` maps and `carry` compares; F = 0 where all that
        is asked for has been had: there they tell nothing beside what is counted, and `flow` takes as long as all else.
    """

    words: sparse.csr_array
    features: np.ndarray


@dataclass(frozen=True)
class ItemStatistics:
    """Item statistics over training users; only `words` comes from the catalogue. Of events that count 0, such as dislikes,
    only the price is read.

    Sample weights apply in popularity (in all and by position), repurchase, cooccurrence, EASE and Markov, see `models.counts`:
    a basket counts an item with the largest weight of its events with it. They do not apply in `baskets`, prices, texts and
    `flow`.

    popularity: float32 (N,), baskets that hold the item, by their weights. baskets: how many baskets there were.
    repurchase: float32 (N,), logit of the chance to be taken again within the horizon, shrunk to the mean. An event that
        counts .1 is a tenth of a repurchase, and none is more than one; every basket that holds the item is a full chance.
    cooccurrence: csr float32 (N, N), similarity by co-occurrence.
    ease: csr float32 (N, N), EASE weights from the row's item to the column's, the largest of each column; between the
        EASE_MAX_ITEMS most purchased items.
    log_price: float32 (N,), centred; 0 where unknown.
    words: as of `Texts`.
    text_knn: csr float32 (N, N), from warm items (rows) to cold items (columns): text similarity to the TEXT_NEIGHBOURS
        nearest warm items. Empty where `Texts` has no features, and where there are no cold items.
    flow: which texts are taken after which.
    markov_short, markov_long: transitions to the next baskets from the last three, and the last ten, baskets.
    position_popularity: float32 (len(POSITIONS), N), log share of an item in the baskets that follow so many baskets.
    recent_position_popularity: float32 (DATES, len(POSITIONS), N), the same by date. dates: float64 (DATES,), the middle of
        each part, in seconds.
    groups: counts by attributes of the users; None without attributes.
    buyers: counts of first buyers of cold items, the only part that `observe` changes; None where no weights were learned.
    """

    popularity: np.ndarray
    baskets: int
    repurchase: np.ndarray
    cooccurrence: sparse.csr_array
    ease: sparse.csr_array
    log_price: np.ndarray
    words: sparse.csr_array
    text_knn: sparse.csr_array
    flow: Flow
    markov_short: Markov
    markov_long: Markov
    position_popularity: np.ndarray
    recent_position_popularity: np.ndarray
    dates: np.ndarray
    groups: Groups | None = None
    buyers: FirstBuyers | None = None


def fit_statistics(dataset: Dataset, users: np.ndarray, horizon: int, texts: Texts, rng: np.random.Generator) -> ItemStatistics:
    """Count over `users` (int indices of training users).

    horizon: baskets after which something still counts as soon. texts: of the catalogue, see `read_texts`.
    """
    whole = dataset.take(users)
    part = whole.counted
    place, lately, dates = _position_popularity(part, horizon)
    return ItemStatistics(
        popularity=basket_items(part).sum(0).astype(np.float32),
        baskets=len(part.basket_start) - 1,
        repurchase=_repurchase(part, horizon, rng),
        cooccurrence=neighbours(dataset, users),
        ease=_ease(dataset, users),
        log_price=_prices(whole),
        words=texts.words,
        text_knn=text_neighbours(dataset, users, texts.features),
        flow=fit_flow(dataset, users, texts.features, rng),
        markov_short=fit_markov(dataset, users, last=3, horizon=horizon, decay=DECAY),
        markov_long=fit_markov(dataset, users, last=10, horizon=horizon, decay=DECAY),
        position_popularity=place,
        recent_position_popularity=lately,
        dates=dates,
        groups=None if part.user_attributes is None else fit_groups(part, part.user_attributes, horizon),
    )


def with_baskets(popularity: np.ndarray, later: Dataset) -> np.ndarray:
    """`popularity` float64 (N,) and the baskets of `later` that hold each item, by their weights, as
    `ItemStatistics.popularity` counts them; a new array."""
    part, found = later.counted, popularity.copy()
    key, weight = largest_weights(basket_of_events(part) * part.n_items + part.item, part.sample_weight)
    np.add.at(found, key % part.n_items, weight)
    return found


def extent(dataset: Dataset) -> str:
    """How many items are counted, for a stage's line, and how many of them by EASE where they are many."""
    many = f"; the {EASE_MAX_ITEMS:,} most purchased of them by EASE" if dataset.n_items > EASE_MAX_ITEMS else ""
    return f"{dataset.n_items:,} items{many}"


def read_texts(dataset: Dataset) -> Texts:
    """The words of a catalogue; of which texts follow which nothing is learned from them, see `with_vectors`."""
    words = fit_tfidf(dataset, read_words(dataset.catalogue), log=True).document
    return Texts(words, np.zeros((dataset.n_items, 0), np.float32))


def read_words(catalogue: Catalogue) -> list[str]:
    """The texts, N of them, whose words `ItemStatistics.words` compares: title and category."""
    names = [name for name in ("title", "category") if name in catalogue.table.column_names]
    columns = [catalogue.column(name) for name in names]
    return [" ".join(str(value) for value in values if value is not None) for values in zip(*columns, strict=True)]


def with_vectors(texts: Texts, text: np.ndarray, rng: np.random.Generator) -> Texts:
    """The same with what `flow` is learned from and `carry` compares. text: float32 (N, d), vectors by the encoder."""
    return Texts(texts.words, item_features(text, texts.words, rng))


def _ease(dataset: Dataset, users: np.ndarray) -> sparse.csr_array:
    """EASE over the most purchased items, with a ridge in proportion to how often they are had; each column keeps its largest
    weights."""
    n = dataset.n_items
    matrix = interactions(dataset, users, log=False)
    had = np.asarray(matrix.power(2).sum(0)).ravel()  # by what their events count; ties go to the lower item
    items = np.sort(np.argsort(-had, kind="stable")[:EASE_MAX_ITEMS])
    if not had.any():
        return sparse.csr_array((n, n), dtype=np.float32)
    some = len(items)
    weight = ease_weights(matrix[:, items], RIDGE * float(had[items].sum()) / some, exact=False)
    weight[np.diag_indices_from(weight)] = 0
    most = max(EASE_WEIGHTS_PER_ITEM, EASE_WEIGHTS // some)
    for first in range(0, some, _COLUMNS) if some > most else ():  # a copy of a part at a time
        size = np.abs(weight[:, first : first + _COLUMNS])
        least = np.partition(size, some - most, axis=0)[some - most]
        weight[:, first : first + _COLUMNS][size < least] = 0
    kept = sparse.coo_array(weight)
    return sparse.csr_array((kept.data, (items[kept.row], items[kept.col])), shape=(n, n))


def text_neighbours(dataset: Dataset, users: np.ndarray, text: np.ndarray) -> sparse.csr_array:
    """`ItemStatistics.text_knn` of cold items, those that no event of `users` is with, from text features (N, F)."""
    n, warm = dataset.n_items, len(np.unique(dataset.take(users).item))
    if not text.shape[1] or not warm:
        return sparse.csr_array((n, n), dtype=np.float32)
    return carry(alike(dataset, users, text, min(TEXT_NEIGHBOURS, warm)), TEXT_NEIGHBOURS, TEXT_POWER).astype(np.float32)


def _position_popularity(part: Dataset, horizon: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`position_popularity`, `recent_position_popularity` and `dates`: what training users took in the `horizon` baskets after
    each of POSITIONS.

    A table that few baskets fill is smoothed by the one above it: all dates, and then all places.
    """
    baskets, ordinal, time = basket_items(part), part.basket[part.basket_start[:-1]], part.time[part.basket_start[:-1]]
    overall = np.asarray(baskets.sum(0)) + 0.5
    overall = overall / overall.sum()
    edges = np.quantile(time, np.linspace(0, 1, 2 * DATES + 1)) if len(time) else np.zeros(2 * DATES + 1)
    dates = edges[1::2]
    date = np.searchsorted(edges[2:-1:2], time, side="right")
    place = np.empty((len(POSITIONS), part.n_items), np.float32)
    lately = np.empty((DATES, len(POSITIONS), part.n_items), np.float32)
    for row, had in enumerate(POSITIONS):
        here = (ordinal >= had) & (ordinal < had + horizon)
        every = _smoothed(baskets.T @ here.astype(np.float64), overall)
        place[row] = np.log(every)
        for number in range(DATES):
            lately[number, row] = np.log(_smoothed(baskets.T @ (here & (date == number)).astype(np.float64), every))
    return place, lately, dates


def _smoothed(count: np.ndarray, toward: np.ndarray) -> np.ndarray:
    weight = 0.1 * count.sum() + 10.0
    return (count + weight * toward) / (count.sum() + weight)


def _repurchase(part: Dataset, horizon: int, rng: np.random.Generator) -> np.ndarray:
    """Over windows of one basket drawn from training users: of those that hold an item, how many have it in their query too.

    The basket is history and counts in full. The query counts the largest sample weight of its events with the item, and at
    most 1: it is the chance of an event, and events that weigh more are not likelier.
    """
    n = part.n_items
    if not (part.n_baskets > horizon).any():
        return np.zeros(n, np.float32)
    tasks = sample_windows(part, np.arange(part.n_users), (1, 1), horizon, 20_000, rng)
    had, _ = _pairs(part, tasks.start, tasks.split)
    later, weight = _pairs(part, tasks.split, tasks.stop)
    again, _, place = np.intersect1d(had, later, assume_unique=True, return_indices=True)
    chances, hits = np.bincount(had % n, minlength=n), np.bincount(again % n, np.minimum(weight[place], 1), n)
    mean = (hits.sum() + 1.0) / (chances.sum() + 2.0)
    rate = (hits + 20.0 * mean) / (chances + 20.0)
    return np.log(rate / (1 - rate)).astype(np.float32)


def _pairs(data: Dataset, begin: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct task * N + item over the event ranges begin:end, ascending, and the largest sample weight of each."""
    owner, row = expand_ranges(begin, end)
    weight = None if data.sample_weight is None else data.sample_weight[row]
    return largest_weights(owner * data.n_items + data.item[row], weight)


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
