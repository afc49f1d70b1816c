"""Splits into training and evaluation events. A split falls between baskets, never through one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llmrec.data.dataset import Dataset
from llmrec.data.tasks import Tasks
from llmrec.errors import DataError


@dataclass(frozen=True)
class LeaveLastOut:
    """train: every user without the baskets asked for. validation, test: tasks over the whole dataset, whose user indices
    are the same as train's."""

    train: Dataset
    validation: Tasks
    test: Tasks


@dataclass(frozen=True)
class TimeSplit:
    """time: seconds; a basket that begins before it is known. train: the known part of users who have one (so user indices
    differ from the whole dataset's; ids do not). test: tasks over the whole dataset for users with baskets on both sides."""

    time: float
    train: Dataset
    test: Tasks


@dataclass(frozen=True)
class ColdUsers:
    """int64 arrays of user indices that share no user."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def leave_last_out(dataset: Dataset) -> LeaveLastOut:
    """Each user's last basket is the test query, the one before it the validation query; all before each is its support.

    A user with two baskets has no validation task, and a user with one has none at all; training keeps at least one basket
    of every user.
    """
    edge, first, count = dataset.basket_start, dataset.first_basket[:-1], dataset.n_baskets

    def cut(back: int) -> Tasks:
        users = np.flatnonzero(count > back)
        last = first[users] + count[users] - back
        return Tasks(dataset, edge[first[users]], edge[last], edge[last + 1])

    kept = edge[first + np.maximum(count - 2, np.minimum(count, 1))]
    mask = np.arange(dataset.n_events) < np.repeat(kept, np.diff(dataset.start))
    return LeaveLastOut(dataset.keep(mask), cut(2), cut(1))


def by_time(dataset: Dataset, fraction: float | None = None, time: float | None = None) -> TimeSplit:
    """One cut in time for all users.

    fraction: of the events that should be known (at least); or time: the moment itself, in seconds. Exactly one of them.
    A basket counts by its first event and stays whole. Raises DataError when one side of the cut would be empty.
    """
    if (fraction is None) == (time is None):
        raise ValueError(f"by_time takes either fraction or time, got fraction={fraction!r}, time={time!r}")
    size = np.diff(dataset.basket_start)
    begin = np.minimum.reduceat(dataset.time, dataset.basket_start[:-1]) if len(size) else np.zeros(0)
    began = np.repeat(begin, size)  # per event: when its basket began
    if fraction is not None:
        time = _moment(began, fraction)
    assert time is not None
    known = began < time
    # Only what comes before a user's first unknown basket: `Dataset.keep` may have taken a basket's earliest events away.
    unknown = np.flatnonzero(~known)
    limit = dataset.start[1:].copy()
    np.minimum.at(limit, dataset.user[unknown], unknown)
    known = np.arange(dataset.n_events) < limit[dataset.user]
    if known.all() or not known.any():
        side = "after" if known.any() else "before"
        raise DataError(
            f"no event lies {side} the cut at {time} s, expected some on both sides; baskets begin between "
            f"{began.min(initial=np.inf)} and {began.max(initial=-np.inf)} s. Choose another time or fraction"
        )
    start = dataset.start[:-1]
    both = np.flatnonzero((limit > start) & (limit < dataset.start[1:]))
    test = Tasks(dataset, start[both], limit[both], dataset.start[1:][both])
    return TimeSplit(float(time), dataset.keep(known).take(np.flatnonzero(limit > start)), test)


def cold_users(
    n_users: int, test: float = 0.2, validation: float = 0.1, *, order: np.random.Generator | np.ndarray
) -> ColdUsers:
    """Users whose whole history is unseen in training: the first `test` share of a permutation, the next `validation` share.

    order: a generator that draws the permutation, or the permutation itself (int (n_users,)), to repeat a published split.
    """
    if min(test, validation) < 0 or test + validation > 1:
        raise ValueError(f"test and validation are shares that sum to at most 1, got {test} and {validation}")
    if isinstance(order, np.random.Generator):
        shuffled = order.permutation(n_users)
    else:
        shuffled = np.asarray(order, np.int64)
        if not np.array_equal(np.sort(shuffled), np.arange(n_users)):
            raise ValueError(f"order should be a permutation of 0..{n_users - 1}")
    # Rounded, as 0.29 * 100 is 28.999999999999996.
    first, second = round(n_users * test), round(n_users * test) + round(n_users * validation)
    return ColdUsers(train=shuffled[second:], validation=shuffled[first:second], test=shuffled[:first])


def cold_items(dataset: Dataset, time: float) -> np.ndarray:
    """bool (N,): items whose first event is at `time` (seconds) or later; an item without events is not among them."""
    seen = np.full(dataset.n_items, np.inf)
    np.minimum.at(seen, dataset.item, dataset.time)
    return (seen >= time) & np.isfinite(seen)


def _moment(began: np.ndarray, fraction: float) -> float:
    """The earliest moment before which at least `fraction` of the events' baskets began; if that is all, the last one's."""
    if not 0 < fraction < 1:
        raise ValueError(f"fraction is a share of the events between 0 and 1, got {fraction!r}")
    if not len(began):
        return np.inf
    ordered = np.sort(began)
    last_known = ordered[int(np.ceil(fraction * len(ordered))) - 1]
    after = np.searchsorted(ordered, last_known, side="right")
    return float(ordered[min(after, len(ordered) - 1)])
