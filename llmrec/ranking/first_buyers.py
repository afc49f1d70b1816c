"""First buyers of cold items: counts of their other items, of the buyers themselves, and of recent sales.

Kept up to date as events come, at the cost of the events and of their users' histories. An item is cold where nobody had it in
training; of others nothing is kept here, for their statistics are those that the rankers were fitted with.

Axis convention: `T` tasks, `N` items, `C` candidates of all tasks as a flat list.
"""

from __future__ import annotations

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
)


@dataclass(frozen=True, eq=False)
class FirstBuyers:
    """Counts of events of cold items that were observed since training.

    cold: bool (N,), which items are. sold: float64 (N,), baskets that hold the item, by their weights; 0 for other items.
    recent: float64 (N,), the same with a weight of 2 ** ((time - since) / HALF_LIFE). together: for an item (row) and a cold
        one (column) the sum over users who had both of the product of their largest weights. since, latest: seconds, the end
        of training and the latest event that was observed.
    Numbers are sums over users and their baskets, so neither the order of events nor how they come in batches matters, up to
    rounding, and what one user added can be taken off.
    """

    cold: np.ndarray
    sold: np.ndarray
    recent: np.ndarray
    together: PairCounts
    since: float
    latest: float

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
    return FirstBuyers(cold, np.zeros(len(cold)), np.zeros(len(cold)), PairCounts(), since, since)


def with_events(known: FirstBuyers, before: Dataset, after: Dataset, fresh: Dataset) -> FirstBuyers:
    """With the events `fresh`. before, after: the whole histories of their users without and with them; users without any
    history may be missing in `before`."""
    if not fresh.n_events:
        return known
    item, sold, recent = _sales(known, fresh)
    changed = replace(known, latest=max(known.latest, float(fresh.time.max())), together=_added(known, before, after, 1.0))
    return (
        changed
        if not len(item)
        else replace(changed, sold=_plus(known.sold, item, sold), recent=_plus(known.recent, item, recent))
    )


def without_users(known: FirstBuyers, theirs: Dataset, observed: Dataset) -> FirstBuyers:
    """Without the events of some users. theirs: their whole histories. observed: the observed events among them.
    `latest` stays, a moment that names nobody."""
    item, sold, recent = _sales(known, observed)
    nothing = theirs.take(np.zeros(0, np.int64))
    left = np.maximum(_plus(known.sold, item, -sold), 0.0)
    left[left < 1e-9] = 0.0
    still = np.where(left > 0, np.maximum(_plus(known.recent, item, -recent), 0.0), 0.0)
    return replace(known, sold=left, recent=still, together=_added(known, nothing, theirs, -1.0))


def over_catalogue(known: FirstBuyers, place: np.ndarray) -> FirstBuyers:
    """Over a catalogue of M items; place: int64 (M,), which item each is, -1 for a new one, which is cold."""
    there = np.maximum(place, 0)
    cold, sold, recent = known.cold[there] | (place < 0), np.where(place < 0, 0.0, known.sold[there]), known.recent[there]
    back = np.full(len(known.cold), -1)
    back[place[place >= 0]] = np.flatnonzero(place >= 0)
    grown = (back == np.arange(len(back))).all()
    together = known.together if grown else known.together.over(back)
    return replace(known, cold=cold, sold=sold, recent=np.where(place < 0, 0.0, recent), together=together)


@dataclass(frozen=True)
class ColdWeights:
    """The score of a cold item by its first buyers: keep * score + weights @ INPUTS. weights: float64 (6,)."""

    keep: float
    weights: np.ndarray

    def score(self, score: np.ndarray, inputs: np.ndarray) -> np.ndarray:
        """float32 (C,), from scores (C,) and inputs (C, 6); those of other items stay."""
        moved = score + (self.keep - 1.0) * inputs[:, 0] * score + inputs @ self.weights
        return moved.astype(np.float32)


def inputs(known: FirstBuyers | None, popularity: np.ndarray, tasks: Tasks, found: Candidates, tfidf: np.ndarray) -> np.ndarray:
    """float32 (C, 6), columns as in INPUTS; all 0 where nothing is kept.

    popularity: float32 (N,), of training users. tfidf: (C,), the feature of that name. Similarity by common buyers is the sum
    over the support of .8^baskets_back * together / sqrt(had * (buyers + SHRINK)).
    """
    task, item = found.task, found.item
    told = np.zeros((len(item), len(INPUTS)), np.float32)
    rows = np.zeros(0, np.int64) if known is None else np.flatnonzero(known.cold[item])
    if known is None or not len(rows):
        return told
    owner, other, value = similarity(known, popularity, tasks)
    n = len(known.cold)
    key, place = np.unique(owner * n + other, return_inverse=True)
    total = np.append(np.bincount(place, value, len(key)), 0.0)
    wanted = task[rows].astype(np.int64) * n + item[rows]
    at = np.searchsorted(key, wanted)
    at[at == len(key)] = len(key)
    hit = np.append(key, -1)[at] == wanted
    told[rows, 0] = 1.0
    told[rows, 1] = np.log1p(10.0 * np.expm1(tfidf[rows]))
    told[rows, 2] = np.log1p(10.0 * np.where(hit, total[at], 0.0))
    told[rows, 3] = told[rows, 1] * told[rows, 2]
    told[rows, 4] = np.log1p(known.sold[item[rows]])
    told[rows, 5] = known.log_recent[item[rows]]
    return told


def similarity(known: FirstBuyers, popularity: np.ndarray, tasks: Tasks) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each task, by common buyers, the cold items that are similar to its support: task, item, int64 each, and float64, in
    parts whose sum the similarity is."""
    held = purchases(tasks)
    owner = np.repeat(np.arange(len(tasks)), np.diff(held.start))
    place, item, value = known.together.of_rows(held.item)
    had = np.maximum(popularity[held.item] + known.sold[held.item], 1.0)
    weight = held.weights(DECAY) / np.sqrt(had)
    return owner[place], item, weight[place] * value / np.sqrt(known.sold[item] + SHRINK)


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
    row, column, value = known.together.entries
    times = np.array([known.since, known.latest])
    return {"cold": known.cold, "sold": known.sold, "recent": known.recent, "times": times} | {
        "row": row,
        "column": column,
        "value": value,
    }


def from_arrays(saved: dict[str, np.ndarray]) -> FirstBuyers | None:
    """The inverse of `to_arrays`; None of nothing."""
    if not saved:
        return None
    together = PairCounts().added(saved["row"], saved["column"], saved["value"])
    since, latest = saved["times"].tolist()
    return FirstBuyers(saved["cold"], saved["sold"], saved["recent"], together, since, latest)


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


def _added(known: FirstBuyers, before: Dataset, after: Dataset, sign: float) -> PairCounts:
    """`together` with `sign` times what `after` has more than `before` of pairs of an item and a cold one."""
    n = after.n_items
    key, weight = _weights(after)
    earlier, had = _weights(before)
    place = after.users.find(before.users.values)
    earlier = place[earlier // max(n, 1)] * n + earlier % max(n, 1)
    order = np.argsort(earlier)
    at = np.searchsorted(key, earlier[order])
    old = np.zeros(len(key))
    old[at] = had[order]
    user, item = np.divmod(key, max(n, 1))
    changed, cold = weight != old, known.cold[item]
    parts = [_pairs(user, changed, cold), _pairs(user, ~changed, cold & changed)]
    one, other = (np.concatenate(part) for part in zip(*parts, strict=True))
    one, other = one[one != other], other[one != other]
    value = sign * (weight[one] * weight[other] - old[one] * old[other])
    return known.together.added(item[one], item[other], value)


def _weights(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """user * N + item, int64 ascending, and the largest weight of the user's events with the item."""
    part = dataset.counted
    return largest_weights(part.user.astype(np.int64) * part.n_items + part.item, part.sample_weight)


def _pairs(user: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of two places of one user, the first one of `rows` and the second of `columns`, bool; user: int64 ascending."""
    row, column = np.flatnonzero(rows), np.flatnonzero(columns)
    of = user[column]
    owner, place = expand_ranges(np.searchsorted(of, user[row]), np.searchsorted(of, user[row], side="right"))
    return row[owner], column[place]
