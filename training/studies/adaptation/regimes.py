"""Who is asked what: users with more events than a prompt holds, and users whose few events are all in the prompt.

    long   known = K, prompt = L: the last L of the first K events are read; the K - L older ones are the support
    cold   known = S: all are read, and the support asks for each of them from all the others

In both the next events are the query, and support and query share no event.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from llmrec.data.dataset import Dataset
from llmrec.data.tasks import Tasks, sample_windows
from studies.adaptation.bank import Bank, Base, Lists, Readings, events, hidden, joined, read
from studies.adaptation.leave_out import leave_one_out


@dataclass(frozen=True)
class People:
    """Training users in two: whom the base is trained on, and whom it has not met, for the outer loop. int64, ascending."""

    base: np.ndarray
    meta: np.ndarray


def kept_out(users: np.ndarray, share: float, seed: int) -> People:
    """A share of the users at random is kept out of base training: on those that the base has met it needs no adapting."""
    mixed = np.random.default_rng(seed).permutation(users)
    cut = round(share * len(mixed))
    return People(np.sort(mixed[cut:]), np.sort(mixed[:cut]))


@dataclass(frozen=True)
class Cell:
    """known: events of a user that are known. prompt: how many of them, the last ones, are read."""

    known: int
    prompt: int

    @property
    def older(self) -> int:
        """Events that the prompt does not hold."""
        return self.known - self.prompt

    @property
    def name(self) -> str:
        return f"known={self.known}, prompt={self.prompt}"


def cells(known: tuple[int, ...], prompts: tuple[int, ...]) -> Iterator[Cell]:
    """Every cell with older events."""
    yield from (Cell(k, p) for k in known for p in prompts if p < k)


@dataclass(frozen=True)
class Long:
    """T users of a long cell: tasks whose support are all known events, and how many of them are read."""

    tasks: Tasks
    prompt: int

    @property
    def read(self) -> Tasks:
        """The tasks with the prompt as their support."""
        return replace(self.tasks, start=np.maximum(self.tasks.start, self.tasks.split - self.prompt))

    @property
    def older(self) -> Lists:
        """The items that the prompt does not hold, by user."""
        return events(self.tasks, self.tasks.start, self.read.start)

    @property
    def in_prompt(self) -> Lists:
        return events(self.tasks, self.read.start, self.tasks.split)

    @property
    def query(self) -> Lists:
        """The items to be found: those asked for that were not known."""
        return less(
            events(self.tasks, self.tasks.split, self.tasks.stop), events(self.tasks, self.tasks.start, self.tasks.split)
        )


def less(some: Lists, others: Lists) -> Lists:
    """Lists without the items that the other lists hold, list by list."""
    most = int(max(some.item.max(initial=0), others.item.max(initial=0))) + 1
    keep = ~np.isin(some.owner * most + some.item, others.owner * most + others.item)
    start = np.concatenate([[0], np.cumsum(np.bincount(some.owner[keep], minlength=len(some)))]).astype(np.int64)
    return Lists(start, some.item[keep], some.value[keep])


def long_bank(base: Base, asked: Long, older: Lists | None = None) -> Bank:
    """The users of a long cell, read once. older: their support, another's for instance; None for their own.

    What is asked next is none of what was known, so an older item too is asked for among what is not known, as if it alone were
    still to come: were the older ones each other's rivals, the popular ones among them, which the query cannot hold, would be
    taken for a taste. Their own scores are `HIDDEN` then, which adds a constant to the loss and nothing to any gradient.
    """
    vector, extra = read(base, asked.read)
    older = asked.older if older is None else older
    before = joined(extra, hidden(asked.in_prompt))
    support = Readings(asked.read, vector, joined(before, hidden(older)), less(older, asked.in_prompt))
    query = Readings(asked.read, vector, joined(before, hidden(asked.older)), asked.query)
    return Bank(base.matrix, np.arange(len(vector) + 1), support, query)


def swapped(older: Lists) -> Lists:
    """Each user with the next one's older items."""
    return older.take(np.roll(np.arange(len(older)), -1))


def practice(
    dataset: Dataset, users: np.ndarray, cell: Cell, count: int, horizon: int, least: int, rng: np.random.Generator
) -> Long:
    """A cell's tasks to learn from: windows anywhere in the histories of some users."""
    known = (cell.known, cell.known)
    return Long(sample_windows(dataset, users, known, horizon, count, rng, least=least), cell.prompt)


def cold_bank(base: Base, tasks: Tasks, new_only: bool, most: int, rng: np.random.Generator) -> Bank:
    """The users of a cold cell: each of at most `most` events of the support is asked from all the others, read in their order.

    new_only: what is in a prompt is not asked for.
    """
    left = leave_one_out(tasks, rng, most, base.most, permute=False)
    known = events(tasks, tasks.start, tasks.split)
    query = events(tasks, tasks.split, tasks.stop)
    support = _readings(base, left.tasks, events(left.tasks, left.tasks.split, left.tasks.stop), new_only)
    asked = _readings(base, tasks, less(query, known) if new_only else query, new_only)
    keep = np.flatnonzero(support.target.length)
    first = np.concatenate([[0], np.cumsum(np.bincount(left.owner[keep], minlength=len(tasks)))]).astype(np.int64)
    return Bank(base.matrix, first, support.take(keep), asked)


def _readings(base: Base, tasks: Tasks, target: Lists, new_only: bool) -> Readings:
    vector, extra = read(base, tasks)
    known = events(tasks, tasks.start, tasks.split)
    if not new_only:
        return Readings(tasks, vector, extra, target)
    return Readings(tasks, vector, joined(extra, hidden(known)), less(target, known))
