"""Histories as padded arrays of slots: the item and the attributes of each event.

Axis convention: `T` tasks (one prompt each), `L` slots (the longest support in the batch), `F` attributes, `M` readouts.
Everything a slot carries is known when its event happens, relative to the start of the prompt: no attribute looks ahead, and
none looks at what the task does not know.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from llmrec.data.tasks import Tasks, expand_ranges

DAY = 86_400.0
WIDTH = 8
SLOT_ATTRIBUTES = (
    *("gap", "since_first", "repeat", "times_before", "basket"),  # of the history; the rest as the event gives them
    *("quantity", "price", "rating", "weight"),
)


@dataclass(frozen=True)
class Slots:
    """A batch of prompts.

    item: int64 (T, L), internal item index; 0 where padded.
    attributes: float32 (T, L, F), columns as in SLOT_ATTRIBUTES; 0 where unknown or padded.
    basket: int32 (T, L), ordinal of the basket within the prompt, from 0; -1 where padded.
    doubled: bool (T, L), whether an earlier slot of the same basket that counts holds the same item.
    length: int64 (T,), slots that are filled, from the left.
    time: float64 (T, L), seconds since 1970-01-01 UTC; 0 where padded.
    kind: int64 (T, L), 1 + code of the event type; 0 where unknown or padded.
    counting: bool (T, L), whether the event counts more than 0, see `Dataset.sample_weight`; None where all do. Others are no
        repeats.
    """

    item: np.ndarray
    attributes: np.ndarray
    basket: np.ndarray
    doubled: np.ndarray
    length: np.ndarray
    time: np.ndarray
    kind: np.ndarray
    counting: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.length)

    @property
    def filled(self) -> np.ndarray:
        """bool (T, L): which slots hold an event."""
        return np.arange(self.item.shape[1])[None] < self.length[:, None]


def slots(tasks: Tasks, max_slots: int) -> Slots:
    """The supports of tasks as slots; of a support longer than `max_slots` events the last `max_slots` are used.

    L is a multiple of WIDTH where `max_slots` allows: a matrix product of a shape that was there before needs no new kernel,
    and on a CPU each kernel is made, and kept, for its shape alone.
    """
    data = tasks.dataset
    start = np.maximum(tasks.start, tasks.split - max_slots)
    length = tasks.split - start
    longest = max(int(length.max(initial=1)), 1)
    width = max(longest, min(max_slots, -(-longest // WIDTH) * WIDTH))
    filled = np.arange(width)[None] < length[:, None]
    row = np.where(filled, start[:, None] + np.arange(width)[None], 0)

    item = np.where(filled, data.item[row], -1)
    basket = np.where(filled, data.basket[row], 0).astype(np.int32)
    basket = np.where(filled, basket - basket[:, :1], -1).astype(np.int32)
    time = np.where(filled, data.time[row], 0.0)
    # Earlier slots of the same item: a (T, L, L) comparison, cheap for prompts of up to a few hundred slots.
    same = (item[:, :, None] == item[:, None, :]) & np.tri(width, k=-1, dtype=bool)
    counting = None if data.counting is None else data.counting[row] & filled
    if counting is not None:
        same &= counting[:, None, :]
    before = same.sum(-1).astype(np.float32)
    doubled = (same & (basket[:, :, None] == basket[:, None, :])).any(-1)

    columns = {
        "gap": np.log1p(_since_previous_basket(time, basket) / DAY),
        "since_first": np.log1p(np.maximum(time - time[:, :1], 0) / DAY) / 3.0,
        "repeat": (before > 0).astype(np.float32),
        "times_before": np.log1p(before),
        "basket": np.log1p(np.maximum(basket, 0)),
    }
    given: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "quantity": lambda values: np.log1p(np.maximum(values, 0)) - np.log(2.0),
        "price": lambda values: np.log1p(np.maximum(values, 0)) - 1.0,
        "rating": lambda values: (values - 3.0) / 2.0,
        "weight": lambda values: values,
    }
    columns |= {
        name: np.nan_to_num(read(data.attributes[name][row])) for name, read in given.items() if name in data.attributes
    }
    stacked = np.zeros((*row.shape, len(SLOT_ATTRIBUTES)), np.float32)
    for place, name in enumerate(SLOT_ATTRIBUTES):
        if name in columns:
            stacked[..., place] = columns[name]
    stacked[~filled] = 0.0
    types = data.attributes.get("event_type")
    kind = np.zeros(row.shape, np.int64)
    if types is not None:
        kind = np.where(filled, np.nan_to_num(types[row], nan=-1.0) + 1, 0).astype(np.int64)
    return Slots(np.maximum(item, 0).astype(np.int64), stacked, basket, doubled, length.astype(np.int64), time, kind, counting)


def _since_previous_basket(time: np.ndarray, basket: np.ndarray) -> np.ndarray:
    """Seconds (T, L) between the first event of each slot's basket and the first event of the basket before it."""
    fresh = np.ones(basket.shape, bool)
    fresh[:, 1:] = basket[:, 1:] != basket[:, :-1]
    column = np.arange(basket.shape[1])[None]
    opened = np.maximum.accumulate(np.where(fresh, column, 0), 1)  # column where this slot's basket begins
    before = np.maximum(opened - 1, 0)
    opened_before = np.take_along_axis(opened, before, 1)
    gap = np.take_along_axis(time, opened, 1) - np.take_along_axis(time, opened_before, 1)
    return np.maximum(gap, 0.0)


@dataclass(frozen=True)
class Readouts:
    """Where in a batch of prompts a prediction is made, and what came after it.

    task, slot: int64 (M,), position of each readout.
    target: int64 (P,), items that came after, concatenated; `owner` int64 (P,) says of which readout.
    weight: float32 (P,), what each target counts, see `Dataset.sample_weight`; None where all count 1.
    """

    task: np.ndarray
    slot: np.ndarray
    target: np.ndarray
    owner: np.ndarray
    weight: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.task)

    @property
    def place(self) -> np.ndarray:
        """int64 (P,): which of its readout's targets each one is, from 0."""
        first = np.searchsorted(self.owner, np.arange(len(self)))  # owners ascend
        return np.arange(len(self.owner)) - first[self.owner]

    def keep(self, mask: np.ndarray) -> Readouts:
        """The same readouts with some of their targets, bool (P,)."""
        weight = None if self.weight is None else self.weight[mask]
        return replace(self, target=self.target[mask], owner=self.owner[mask], weight=weight)


def query_readouts(tasks: Tasks, batch: Slots) -> Readouts:
    """One readout a task: at its last slot, with the distinct items of its query as targets."""
    every = np.arange(len(tasks))
    return _readouts(tasks, every, batch.length - 1, tasks.split, tasks.stop)


def basket_readouts(tasks: Tasks, batch: Slots, horizon: int) -> Readouts:
    """A readout at the end of each basket of the support, with the distinct items of the `horizon` baskets after it.

    Baskets of the query serve as targets of the last ones, so this is for training only.
    """
    last = np.zeros(batch.basket.shape, bool)
    last[:, :-1] = batch.basket[:, :-1] != batch.basket[:, 1:]
    last[:, -1] = True
    task, slot = np.nonzero(last & batch.filled)
    begin = tasks.split[task] - batch.length[task] + slot + 1
    return _readouts(tasks, task, slot, begin, _after(tasks, begin, tasks.stop[task], horizon))


def support_readouts(tasks: Tasks, batch: Slots, horizon: int, most: int | None = None) -> Readouts:
    """A readout at every slot but the last, with the distinct *support* items that came after it, within `horizon` baskets
    after the slot's own. Nothing of the query is used: this is what the inner loop may see.

    most: at most so many readouts a task, evenly spaced from the last but one slot backwards; None for all. Each readout costs
        a softmax over the catalogue.
    """
    task, slot = np.nonzero(batch.filled)
    keep = slot < batch.length[task] - 1
    if most is not None:
        stride = -(-np.maximum(batch.length - 1, 1) // most)
        keep &= (batch.length[task] - 2 - slot) % stride[task] == 0
    task, slot = task[keep], slot[keep]
    begin = tasks.split[task] - batch.length[task] + slot + 1
    own = tasks.dataset.basket[begin - 1]
    stop = np.minimum(_basket_end(tasks, begin - 1, own + horizon), tasks.split[task])
    return _readouts(tasks, task, slot, begin, stop)


def _after(tasks: Tasks, begin: np.ndarray, limit: np.ndarray, horizon: int) -> np.ndarray:
    inside = np.minimum(begin, tasks.dataset.n_events - 1)
    return np.minimum(_basket_end(tasks, inside, tasks.dataset.basket[inside] + horizon - 1), limit)


def _basket_end(tasks: Tasks, event: np.ndarray, basket: np.ndarray) -> np.ndarray:
    """End offset of basket number `basket` of the user who owns `event`; clipped to that user's last basket."""
    data = tasks.dataset
    user = data.user[event]
    ordinal = np.minimum(data.first_basket[user] + basket, data.first_basket[user + 1] - 1)
    return data.basket_start[ordinal + 1]


def _readouts(tasks: Tasks, task: np.ndarray, slot: np.ndarray, begin: np.ndarray, stop: np.ndarray) -> Readouts:
    owner, row = expand_ranges(begin, np.maximum(stop, begin))
    # Distinct items per readout: an item bought twice in the query counts once, as in the metric.
    n = tasks.dataset.n_items
    pair, place = np.unique(owner * n + tasks.dataset.item[row], return_inverse=True)
    found = Readouts(task, slot, pair % n, pair // n)
    sample_weight = tasks.dataset.sample_weight
    if sample_weight is None:
        return found
    weight = np.zeros(len(pair), np.float32)
    np.maximum.at(weight, place, sample_weight[row])  # of what was looked at and then bought, the purchase counts
    return replace(found, weight=weight).keep(weight > 0)
