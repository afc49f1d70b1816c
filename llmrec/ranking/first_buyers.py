"""First buyers of cold items: counts of their other items, of the buyers themselves, of recent sales, and of users who skipped.

A user skipped an item where all events of the user with it have sample weight 0: a dislike, a return, or an impression that
was seen and not taken. Counts are kept up to date as events come, at the cost of the events and of their users' histories. An
item is cold where nobody had it in training; of others nothing is kept here, for their statistics are those that the rankers
were fitted with.

Axis convention: `T` tasks, `N` items, `C` candidates of all tasks as a flat list.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from llmrec.data.dataset import Dataset
from llmrec.data.pair_counts import PairCounts
from llmrec.data.tasks import Tasks, expand_ranges
from llmrec.index.candidates import Candidates
from llmrec.models.counts import basket_of_events, largest_weights, purchases

HALF_LIFE = 10 * 86_400.0  # of recent sales, in seconds
DECAY = 0.8  # weight of a basket of the history against the one after it
SHRINK = 1.0  # buyers that are added to those of an item
FURTHEST = 500.0  # half-lives from the end of training that are told apart
RECENT = 100  # cold items with the most recent sales that are candidates of everybody
ALIKE = 100  # cold items with the most similar texts that are candidates
NO_SALES = 0.3  # in the log of recent sales

INPUTS = (  # 0 for every item that is not cold
    "cold",  # 1
    "cold_text",  # log(1 + 10 x similarity of its words to the support's)
    "buyers_knn",  # log(1 + 10 x similarity to the support by common buyers)
    "buyers_knn_text",  # the product of both, for buyers and words say some of the same
    "buyers",  # log(1 + baskets observed that hold it)
    "recent_sales",  # log of the same with a half-life
    "skipped",  # log(1 + users who skipped it)
    "skipped_knn",  # as buyers_knn, by the users who skipped it
)


@dataclass(frozen=True, eq=False)
class FirstBuyers:
    """Counts of events of cold items that were observed since training, and of who skipped them, in training too.

    cold: bool (N,), which items are. sold: float64 (N,), baskets that hold the item, by their weights; 0 for other items.
    recent: float64 (N,), the same with a weight of 2 ** ((time - since) / HALF_LIFE). together: for an item (row) and a cold
        one (column) the sum over users who had both of the product of their largest weights. since, latest: seconds, the end
        of training and the latest event that was observed.
    skipped: float64 (N,), users who skipped the item; 0 for other items. skipped_together: for an item (row) and a cold one
        (column) the sum over users who took the first and skipped the second of their largest weight of the first.
    Numbers are sums over users and their baskets, so neither the order of events nor how they come in batches matters, up to
    rounding, and what one user added can be taken off.
    """

    cold: np.ndarray
    sold: np.ndarray
    recent: np.ndarray
    together: PairCounts
    since: float
    latest: float
    skipped: np.ndarray
    skipped_together: PairCounts

    @cached_property
    def log_recent(self) -> np.ndarray:
        """float64 (N,): log of the recent sales at the time of the latest event."""
        age = min((self.latest - self.since) / HALF_LIFE, FURTHEST)
        return np.log(self.recent * 2.0**-age + NO_SALES)

    @cached_property
    def most_recent(self) -> np.ndarray:
        """int64: the RECENT cold items with the most recent sales, the most first; fewer where fewer were sold."""
        sold = np.flatnonzero(self.recent > 0)
        return sold[np.argsort(-self.recent[sold], kind="stable")[:RECENT]]


def nobody_yet(cold: np.ndarray, since: float) -> FirstBuyers:
    """Before anything is observed. cold: bool (N,). since: seconds."""
    nothing = np.zeros(len(cold))
    return FirstBuyers(cold, nothing, nothing, PairCounts(), since, since, nothing, PairCounts())


def with_events(known: FirstBuyers, before: Dataset, after: Dataset, fresh: Dataset) -> FirstBuyers:
    """With the events `fresh`. before, after: the whole histories of their users without and with them; users without any
    history may be missing in `before`."""
    if not fresh.n_events:
        return known
    item, sold, recent = _sales(known, fresh)
    changed = with_skips(known, before, after)
    together = _with_pairs(known.together, *_bought(known, before, after), 1.0)
    changed = replace(changed, latest=max(known.latest, float(fresh.time.max())), together=together)
    return (
        changed
        if not len(item)
        else replace(changed, sold=_plus(known.sold, item, sold), recent=_plus(known.recent, item, recent))
    )


def with_skips(known: FirstBuyers, before: Dataset, after: Dataset, sign: float = 1.0) -> FirstBuyers:
    """With `sign` times what `after` has more than `before` of users who skipped cold items; the same histories as in
    `with_events`."""
    if before.counting is None and after.counting is None:
        return known
    skips = _changes(before, after, lambda dataset: _skips(known, dataset))
    if not len(skips.item):
        return known
    taken = _changes(before, after, _weights)
    skipped = np.maximum(_plus(known.skipped, skips.item, sign * (skips.now - skips.then)), 0.0)
    return replace(known, skipped=skipped, skipped_together=_with_pairs(known.skipped_together, taken, skips, sign))


def without_users(known: FirstBuyers, theirs: Dataset, observed: Dataset) -> FirstBuyers:
    """Without the events of some users. theirs: their whole histories. observed: the observed events among them.
    `latest` stays, a moment that names nobody."""
    item, sold, recent = _sales(known, observed)
    nothing = theirs.take(np.zeros(0, np.int64))
    left = np.maximum(_plus(known.sold, item, -sold), 0.0)
    left[left < 1e-9] = 0.0
    still = np.where(left > 0, np.maximum(_plus(known.recent, item, -recent), 0.0), 0.0)
    together = _with_pairs(known.together, *_bought(known, nothing, theirs), -1.0)
    return replace(with_skips(known, nothing, theirs, -1.0), sold=left, recent=still, together=together)


def over_catalogue(known: FirstBuyers, place: np.ndarray) -> FirstBuyers:
    """Over a catalogue of M items; place: int64 (M,), which item each is, -1 for a new one, which is cold."""
    there = np.maximum(place, 0)
    sold, recent, skipped = (np.where(place < 0, 0.0, one[there]) for one in (known.sold, known.recent, known.skipped))
    back = np.full(len(known.cold), -1)
    back[place[place >= 0]] = np.flatnonzero(place >= 0)
    grown = (back == np.arange(len(back))).all()
    together, skipped_together = (one if grown else one.over(back) for one in (known.together, known.skipped_together))
    changed = replace(known, cold=known.cold[there] | (place < 0), sold=sold, recent=recent, together=together)
    return replace(changed, skipped=skipped, skipped_together=skipped_together)


@dataclass(frozen=True)
class ColdWeights:
    """The score of a cold item by its first buyers: keep * score + weights @ INPUTS. weights: float64 (8,)."""

    keep: float
    weights: np.ndarray

    def score(self, score: np.ndarray, inputs: np.ndarray) -> np.ndarray:
        """float32 (C,), from scores (C,) and inputs (C, 8); those of other items stay."""
        moved = score + (self.keep - 1.0) * inputs[:, 0] * score + weighted(inputs, self.weights)
        return moved.astype(np.float32)


def weighted(inputs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """float64 (C,): inputs (C, F) times weights (F,). The last inputs are not read where their weights are 0, so that the
    digits are those of a model without them."""
    used = len(np.trim_zeros(weights, "b"))
    return inputs[:, :used] @ weights[:used]


def inputs(known: FirstBuyers | None, popularity: np.ndarray, tasks: Tasks, found: Candidates, tfidf: np.ndarray) -> np.ndarray:
    """float32 (C, 8), columns as in INPUTS; all 0 where nothing is kept.

    popularity: float32 (N,), of training users. tfidf: (C,), the feature of that name. Similarity by common buyers is the sum
    over the support of .8^baskets_back * together / sqrt(had * (buyers + SHRINK)); by users who skipped the same with
    `skipped_together` and `skipped`.
    """
    task, item = found.task, found.item
    told = np.zeros((len(item), len(INPUTS)), np.float32)
    rows = np.zeros(0, np.int64) if known is None else np.flatnonzero(known.cold[item])
    if known is None or not len(rows):
        return told
    n = len(known.cold)
    wanted = task[rows].astype(np.int64) * n + item[rows]
    told[rows, 0] = 1.0
    told[rows, 1] = np.log1p(10.0 * np.expm1(tfidf[rows]))
    told[rows, 2] = np.log1p(10.0 * _totals(similarity(known, popularity, tasks), n, wanted))
    told[rows, 3] = told[rows, 1] * told[rows, 2]
    told[rows, 4] = np.log1p(known.sold[item[rows]])
    told[rows, 5] = known.log_recent[item[rows]]
    told[rows, 6] = np.log1p(known.skipped[item[rows]])
    if known.skipped_together.layers:
        alike = _totals(_similarity(known, known.skipped_together, known.skipped, popularity, tasks), n, wanted)
        told[rows, 7] = np.log1p(10.0 * np.maximum(alike, 0.0))  # below 0 where a folder did not say who skipped
    return told


def similarity(known: FirstBuyers, popularity: np.ndarray, tasks: Tasks) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each task, by common buyers, the cold items that are similar to its support: task, item, int64 each, and float64, in
    parts whose sum the similarity is."""
    return _similarity(known, known.together, known.sold, popularity, tasks)


def _similarity(
    known: FirstBuyers, together: PairCounts, users: np.ndarray, popularity: np.ndarray, tasks: Tasks
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As `similarity`, by the users of `together`; users: float64 (N,), how many they are."""
    held = purchases(tasks)
    owner = np.repeat(np.arange(len(tasks)), np.diff(held.start))
    place, item, value = together.of_rows(held.item)
    had = np.maximum(popularity[held.item] + known.sold[held.item], 1.0)
    weight = held.weights(DECAY) / np.sqrt(had)
    return owner[place], item, weight[place] * value / np.sqrt(users[item] + SHRINK)


def _totals(parts: tuple[np.ndarray, np.ndarray, np.ndarray], n: int, wanted: np.ndarray) -> np.ndarray:
    """float64 (R,): sums of the parts of a similarity for the pairs `wanted`, int64 (R,), task * n + item; 0 without a part."""
    owner, item, value = parts
    key, place = np.unique(owner * n + item, return_inverse=True)
    total = np.append(np.bincount(place, value, len(key)), 0.0)
    at = np.searchsorted(key, wanted)
    hit = np.append(key, -1)[at] == wanted
    return np.where(hit, total[at], 0.0)


def bought_by_the_same(known: FirstBuyers, popularity: np.ndarray, tasks: Tasks, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Tasks and items, int64 each: the k cold items that are most similar to each support, the lower item among equals."""
    owner, item, value = similarity(known, popularity, tasks)
    n = len(known.cold)
    key, place = np.unique(owner * n + item, return_inverse=True)
    return best_of(*np.divmod(key, n), np.bincount(place, value, len(key)), k)


def best_of(task: np.ndarray, item: np.ndarray, value: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Tasks and items, int each: the k items of the largest value of each task, the lower item among equals. All are (P,), of P
    different pairs of task and item."""
    order = np.lexsort((item, -value, task))
    task, item = task[order], item[order]
    rank = np.arange(len(task)) - np.searchsorted(task, task)
    return task[rank < k], item[rank < k]


def to_arrays(known: FirstBuyers) -> dict[str, np.ndarray]:
    """What `from_arrays` reads."""
    times = np.array([known.since, known.latest])
    pairs = dict(zip(("row", "column", "value"), known.together.entries, strict=True))
    skips = dict(zip(("skipped_row", "skipped_column", "skipped_value"), known.skipped_together.entries, strict=True))
    numbers = {"cold": known.cold, "sold": known.sold, "recent": known.recent, "times": times, "skipped": known.skipped}
    return numbers | pairs | skips


def from_arrays(saved: dict[str, np.ndarray]) -> FirstBuyers | None:
    """The inverse of `to_arrays`; None of nothing."""
    if not saved:
        return None
    together = PairCounts().added(saved["row"], saved["column"], saved["value"])
    skips = PairCounts().added(saved["skipped_row"], saved["skipped_column"], saved["skipped_value"])
    since, latest = saved["times"].tolist()
    return FirstBuyers(saved["cold"], saved["sold"], saved["recent"], together, since, latest, saved["skipped"], skips)


def _sales(known: FirstBuyers, events: Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each basket of `events` and each cold item that it holds: the item, the largest weight, and this times the weight of
    the basket's time."""
    part = events.counted
    key, weight = largest_weights(basket_of_events(part) * part.n_items + part.item, part.sample_weight)
    basket, item = np.divmod(key, max(part.n_items, 1))
    some = known.cold[item]
    basket, item, weight = basket[some], item[some], weight[some]
    ages = (part.time[part.basket_start[basket]] - known.since) / HALF_LIFE
    return item, weight, weight * 2.0 ** np.clip(ages, -FURTHEST, FURTHEST)


def _plus(values: np.ndarray, item: np.ndarray, more: np.ndarray) -> np.ndarray:
    found = values.copy()
    np.add.at(found, item, more)
    return found


@dataclass(frozen=True, eq=False)
class _Changes:
    """Numbers of P pairs of a user and an item, int64 (P,) each, ascending by user, then item: before some events and with
    them, float64 (P,) each."""

    user: np.ndarray
    item: np.ndarray
    then: np.ndarray
    now: np.ndarray

    def take(self, some: np.ndarray) -> _Changes:
        return _Changes(self.user[some], self.item[some], self.then[some], self.now[some])


def _changes(before: Dataset, after: Dataset, of: Callable[[Dataset], tuple[np.ndarray, np.ndarray]]) -> _Changes:
    """Numbers that are not 0 before or after; of: a dataset -> user * N + item, int64 ascending, and a number of each."""
    n = max(after.n_items, 1)
    (earlier, had), (key, has) = of(before), of(after)
    earlier = after.users.find(before.users.values)[earlier // n] * n + earlier % n
    every = np.union1d(key, earlier)
    then, now = np.zeros(len(every)), np.zeros(len(every))
    then[np.searchsorted(every, earlier)], now[np.searchsorted(every, key)] = had, has
    return _Changes(*np.divmod(every, n), then, now)


def _bought(known: FirstBuyers, before: Dataset, after: Dataset) -> tuple[_Changes, _Changes]:
    """The weights of what users had: of all items, and of the cold ones."""
    taken = _changes(before, after, _weights)
    return taken, taken.take(known.cold[taken.item])


def _with_pairs(counts: PairCounts, rows: _Changes, columns: _Changes, sign: float) -> PairCounts:
    """With `sign` times the change of the sum over users of rows times columns, for all pairs of two different items."""
    moved, also = rows.now != rows.then, columns.now != columns.then
    parts = [_pairs(rows.user, moved, columns.user, np.ones(len(also), bool)), _pairs(rows.user, ~moved, columns.user, also)]
    one, other = (np.concatenate(part) for part in zip(*parts, strict=True))
    some = rows.item[one] != columns.item[other]
    one, other = one[some], other[some]
    value = sign * (rows.now[one] * columns.now[other] - rows.then[one] * columns.then[other])
    return counts.added(rows.item[one], columns.item[other], value)


def _weights(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """user * N + item, int64 ascending, and the largest weight of the user's events with the item."""
    part = dataset.counted
    return largest_weights(part.user.astype(np.int64) * part.n_items + part.item, part.sample_weight)


def _skips(known: FirstBuyers, dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """user * N + item, int64 ascending, of users who skipped a cold item, and 1 for each."""
    weight = dataset.sample_weight
    if weight is None:
        return np.zeros(0, np.int64), np.zeros(0)
    some = known.cold[dataset.item]
    key, most = largest_weights((dataset.user.astype(np.int64) * dataset.n_items + dataset.item)[some], weight[some])
    key = key[most <= 0]
    return key, np.ones(len(key))


def _pairs(user: np.ndarray, some: np.ndarray, other: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of two places of one user, the first among `some` of `user` and the second among `others` of `other`; user,
    other: int64 ascending; some, others: bool."""
    row, column = np.flatnonzero(some), np.flatnonzero(others)
    of = other[column]
    owner, place = expand_ranges(np.searchsorted(of, user[row]), np.searchsorted(of, user[row], side="right"))
    return row[owner], column[place]
