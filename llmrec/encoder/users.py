"""User vectors, and scores by them: prompts pass the lower blocks once, and the adapted upper blocks once per inner step.

The blocks run in the number type that is faster here; everything before and after them in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from llmrec.data.cells import cells
from llmrec.data.tasks import Tasks
from llmrec.encoder.backbone import LoraHook
from llmrec.encoder.model import Items, SlotModel
from llmrec.encoder.moved import MovedItems
from llmrec.encoder.precision import autocast, faster_dtype
from llmrec.encoder.slots import Slots, slots

ROWS = 128  # prompts that run side by side
PAIRS = 1 << 18  # numbers gathered at a time to score pairs: about what stays in the cache


@dataclass(frozen=True)
class Prompts:
    """Prompts of T tasks, run through the lower blocks; no gradient reaches below.

    batch: the slots they were made from. lower: (T, W + L, d), states below the last `n_adapted_blocks` blocks.
        n_adapted_blocks: how many blocks remain.
    """

    batch: Slots
    lower: Tensor
    n_adapted_blocks: int


def prompts(model: SlotModel, items: Items, tasks: Tasks, max_slots: int, n_adapted_blocks: int) -> Prompts:
    """The supports of tasks as prompts; of a support longer than `max_slots` events the last ones are used."""
    batch = slots(tasks, max_slots)
    with torch.no_grad(), in_faster_dtype(model):
        return Prompts(batch, model.body.lower(model.prompt(items, batch), n_adapted_blocks), n_adapted_blocks)


def states(model: SlotModel, made: Prompts, delta: LoraHook | None = None) -> Tensor:
    """Last hidden states (T, W + L, d); differentiable in `delta`."""
    with in_faster_dtype(model):
        return model.body.upper(made.lower, made.n_adapted_blocks, delta).float()


def user_vectors(model: SlotModel, made: Prompts, delta: LoraHook | None = None) -> Tensor:
    """User vectors float32 (T, d): the last hidden state at each prompt's last slot."""
    with torch.no_grad():
        found = states(model, made, delta)
        last = len(model.prefix_ids) + torch.from_numpy(made.batch.length - 1).to(found.device)
        return found[torch.arange(len(found), device=found.device), last]


class Reading(Protocol):
    """T histories as a transformer read them.

    vectors: float32 (T, d), the user vectors that candidates are searched by.
    """

    @property
    def vectors(self) -> np.ndarray: ...

    def scores(self, task: np.ndarray, item: np.ndarray) -> np.ndarray:
        """Scores float32 (C,) of pairs: task `task[c]` of the T and internal item index `item[c]`."""

    def table(self) -> np.ndarray:
        """Scores float32 (T, N) of all items: for evaluation, never for an answer."""

    def take(self, index: np.ndarray) -> Reading:
        """Some of the histories, in the order given."""


Read = Callable[[Tasks], Reading]
"""Tasks -> what was read of their supports: one way to read a history."""


@dataclass(frozen=True, eq=False)
class PromptReading:
    """A `Reading` of prompts by a slot model. It holds no scores: those of pairs are computed when they are asked for.

    repeats: csr float32 (T, N), what the repeat terms add; only items of the task's own prompt are stored. moved: items that
    are scored by other vectors than those of `items`, where pairs are asked for; None for none. The table of all items has
    those of `items`, as the index has.
    """

    model: SlotModel
    items: Items
    vectors: np.ndarray
    repeats: sparse.csr_array
    moved: MovedItems | None = None

    def scores(self, task: np.ndarray, item: np.ndarray) -> np.ndarray:
        """As `Reading.scores`, with all terms of the model; PAIRS numbers of gathered vectors at a time."""
        found, users = np.empty(len(item), np.float32), self._users()
        step, temperature = max(1, PAIRS // max(users.shape[1], 1)), float(self.model.temperature.detach())
        with torch.no_grad():
            for first in range(0, len(item), step):
                part = slice(first, first + step)
                pair = [torch.from_numpy(values[part].astype(np.int64)).to(users.device) for values in (task, item)]
                found[part] = self.model.logits_at(users, self.items, *pair).cpu().numpy()
                if self.moved is not None:
                    found[part] += temperature * self.moved.scores(self.vectors, task[part], item[part])
        return found + cells(self.repeats, task, item).astype(np.float32)

    def table(self) -> np.ndarray:
        """As `Reading.table`, ROWS tasks at a time."""
        found, users = np.empty(self.repeats.shape, np.float32), self._users()
        with torch.no_grad():
            for first in range(0, len(users), ROWS):
                found[first : first + ROWS] = self.model.logits(users[first : first + ROWS], self.items).cpu().numpy()
        repeats = self.repeats.tocoo()
        found[repeats.coords] += repeats.data
        return found

    def take(self, index: np.ndarray) -> PromptReading:
        """As `Reading.take`."""
        return replace(self, vectors=self.vectors[index], repeats=self.repeats[index])

    def _users(self) -> Tensor:
        return torch.from_numpy(self.vectors).to(self.items.vectors.device)


def prompt_reading(
    model: SlotModel, items: Items, vectors: Tensor, batch: Slots, moved: MovedItems | None = None
) -> PromptReading:
    """The reading of prompts `batch` whose user vectors (T, d) are known."""
    with torch.no_grad():
        index, value = (part.cpu().numpy() for part in model.repeats(items, batch, np.arange(len(batch)), batch.length - 1))
    task, slot = np.nonzero(value)
    cell = task.astype(np.int32), index[task, slot].astype(np.int32)
    repeats = sparse.coo_array((value[task, slot], cell), shape=(len(batch), len(items.bias))).tocsr()  # adds up by item
    return PromptReading(model, items, vectors.cpu().numpy(), repeats, moved)


def joined(parts: Sequence[PromptReading]) -> PromptReading:
    """Readings by one model, at least one, as one: the tasks of the first, then those of the second, and so on."""
    vectors = np.concatenate([part.vectors for part in parts])
    return replace(parts[0], vectors=vectors, repeats=sparse.vstack([part.repeats for part in parts], "csr"))


def in_faster_dtype(model: SlotModel) -> AbstractContextManager:
    """Autocast to the number type that a probe found faster on the model's device."""
    device = str(model.id_embedding.device)
    return autocast(faster_dtype(device), device)


def batches(tasks: Tasks, rows: int = ROWS) -> Iterator[Tasks]:
    """Tasks in batches of at most `rows`, in order."""
    for first in range(0, len(tasks), rows):
        yield tasks.take(np.arange(first, min(first + rows, len(tasks))))
