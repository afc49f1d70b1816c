"""Questions about users with everything but the adapting done: user vectors, what lies on top of their scores, and targets.

A frozen base answers the same way at every step of adapting a core, so it is asked once; an episode is then a product of small
matrices, and thousands of them take seconds.

Axis convention: `T` users, `M` readouts of several users, `N` items, `d` width of the base.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from llmrec.data.tasks import Tasks
from llmrec.encoder.model import Items, SlotModel
from llmrec.encoder.users import batches, prompts, user_vectors
from llmrec.meta.core import Choices

HIDDEN = -1e4  # what is added to the score of an item that cannot be taken


@dataclass(frozen=True)
class Lists:
    """Items in M lists. start: int64 (M + 1,). item: int64 (P,), list after list. value: float32 (P,), of each item."""

    start: np.ndarray
    item: np.ndarray
    value: np.ndarray

    def __len__(self) -> int:
        return len(self.start) - 1

    @property
    def length(self) -> np.ndarray:
        """int64 (M,)."""
        return np.diff(self.start)

    @property
    def owner(self) -> np.ndarray:
        """int64 (P,): the list that each item is in."""
        return np.repeat(np.arange(len(self)), self.length)

    def take(self, rows: np.ndarray) -> Lists:
        """Some of the lists, in the order given."""
        length = self.length[rows]
        start = np.concatenate([[0], np.cumsum(length)]).astype(np.int64)
        place = np.arange(start[-1]) + np.repeat(self.start[rows] - start[:-1], length)
        return Lists(start, self.item[place], self.value[place])


def lists(owner: np.ndarray, item: np.ndarray, count: int, value: np.ndarray | float = 1.0) -> Lists:
    """`count` lists out of items in any order, and the list that each is in."""
    order = np.argsort(owner, kind="stable")
    start = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=count))]).astype(np.int64)
    values = np.broadcast_to(np.asarray(value, np.float32), item.shape)
    return Lists(start, item[order].astype(np.int64), values[order])


def events(tasks: Tasks, first: np.ndarray, stop: np.ndarray) -> Lists:
    """The distinct items of the events `first ... stop - 1` of each of T tasks."""
    length = np.maximum(stop - first, 0)
    owner = np.repeat(np.arange(len(tasks)), length)
    place = np.arange(length.sum()) + np.repeat(first - (np.cumsum(length) - length), length)
    n = tasks.dataset.n_items
    pair = np.unique(owner * n + tasks.dataset.item[place])
    return lists(pair // n, pair % n, len(tasks))


def joined(*some: Lists) -> Lists:
    """Lists with the items of all, list by list; an item in several of them is there several times."""
    owner, item, value = (np.concatenate(parts) for parts in zip(*((s.owner, s.item, s.value) for s in some), strict=True))
    return lists(owner, item, len(some[0]), value)


def hidden(items: Lists) -> Lists:
    """The same items with a score that nothing makes up for."""
    return Lists(items.start, items.item, np.full(len(items.item), HIDDEN, np.float32))


@dataclass(frozen=True)
class Base:
    """A frozen base over one catalogue. most: slots of a prompt."""

    model: SlotModel
    items: Items
    most: int

    @property
    def matrix(self) -> Tensor:
        """(N, d + 1): see `Items.search_matrix`."""
        with torch.no_grad():
            return self.items.search_matrix(self.model.temperature)


@dataclass(frozen=True)
class Readings:
    """M readouts.

    tasks: M prompts, those that were read. vector: float32 (M, d), user vectors. extra: what is added to the scores of some
    items, by readout: the repeat terms, and `HIDDEN`. target: the items taken, by readout.
    """

    tasks: Tasks
    vector: Tensor
    extra: Lists
    target: Lists

    def __len__(self) -> int:
        return len(self.vector)

    def take(self, rows: np.ndarray) -> Readings:
        """Some of the readouts, in the order given."""
        return Readings(
            self.tasks.take(rows), self.vector[torch.from_numpy(rows)], self.extra.take(rows), self.target.take(rows)
        )


@dataclass(frozen=True)
class Bank:
    """T users of one regime. matrix: (N, d + 1). first: int64 (T + 1,), where each user's readouts of the support begin.
    support: M readouts. query: T readouts."""

    matrix: Tensor
    first: np.ndarray
    support: Readings
    query: Readings

    def __len__(self) -> int:
        return len(self.query)

    def take(self, rows: np.ndarray) -> Bank:
        """Some of the users, in the order given."""
        count = np.diff(self.first)[rows]
        first = np.concatenate([[0], np.cumsum(count)]).astype(np.int64)
        place = np.arange(first[-1]) + np.repeat(self.first[rows] - first[:-1], count)
        return Bank(self.matrix, first, self.support.take(place), self.query.take(rows))

    def swapped(self) -> Bank:
        """Each user with the support of the next one."""
        return replace(self.take(np.roll(np.arange(len(self)), -1)), query=self.query)


def read(base: Base, tasks: Tasks) -> tuple[Tensor, Lists]:
    """User vectors float32 (T, d) of the supports of tasks, and their repeat terms."""
    vectors, owners, index, values = [], [], [], []
    done = 0
    for part in batches(tasks):
        made = prompts(base.model, base.items, part, base.most, 1)
        vectors.append(user_vectors(base.model, made))
        with torch.no_grad():
            item, value = base.model.repeats(base.items, made.batch, np.arange(len(part)), made.batch.length - 1)
        task, slot = np.nonzero(value.numpy())
        owners.append(done + task)
        index.append(item.numpy()[task, slot])
        values.append(value.numpy()[task, slot])
        done += len(part)
    return torch.cat(vectors), lists(np.concatenate(owners), np.concatenate(index), done, np.concatenate(values))


def scores(matrix: Tensor, readings: Readings) -> Tensor:
    """(M, N): what the base says of every item."""
    plain = readings.vector @ matrix[:, :-1].T + matrix[:, -1]
    owner, item, value = (torch.from_numpy(part) for part in (readings.extra.owner, readings.extra.item, readings.extra.value))
    return plain.index_put((owner, item), value, accumulate=True)


def choices(bank: Bank) -> tuple[Choices, Choices]:
    """What the users of a bank took before (the support) and what they took then (the query), as a core is asked."""
    own = np.repeat(np.arange(len(bank)), np.diff(bank.first))
    return _choices(bank.matrix, bank.support, own), _choices(bank.matrix, bank.query, np.arange(len(bank)))


def _choices(matrix: Tensor, readings: Readings, user: np.ndarray) -> Choices:
    target, owner = torch.from_numpy(readings.target.item), torch.from_numpy(readings.target.owner)
    return Choices(scores(matrix, readings), torch.from_numpy(user), target, owner)
