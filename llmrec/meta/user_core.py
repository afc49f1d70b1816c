"""A core that moves the user vector: 16 to 64 numbers a user on axes of the item vectors, in closed form from the history.

    score_ui += sum_d spread_d * z_ud * <axis_d, v_i>,    which is the same as    u' = u + axes (spread * z_u) / temperature

So the index serves a moved vector as it serves any other, new items have their features by their vectors, and the transformer
reads a history once. The support is the whole history, also what the prompt is too short for: each event that counts is asked
for among the items that the history does not hold, from the vector that was read. (Were known items each other's rivals, being
popular among them would look like a taste.) `core.py` has Newton's steps and their source.

Axis convention: `T` histories, `U` users or scenes, `N` items, `S` items compared with, `D` numbers of a user, `d` width.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from llmrec.adapters.lora import Adapter
from llmrec.adapters.values import Shared
from llmrec.data.tasks import Tasks, expand_ranges
from llmrec.encoder.model import Items
from llmrec.encoder.slots import query_readouts
from llmrec.encoder.users import PromptReading, Prompts
from llmrec.meta.adaptable import Base
from llmrec.meta.core import Core, Evidence, newton
from llmrec.meta.episodes import SceneRows, inside, judged
from llmrec.meta.gate import Choice
from llmrec.meta.losses import softmax
from llmrec.meta.outer import Episode

HIDDEN = -1e9  # the score of an item that is no rival
LEARNED = (False, False, True, True)
"""Which leaves the outer loop learns: the spreads, and how much an event says. The axes are those of the items."""


@dataclass(frozen=True)
class UserCore(Shared):
    """Cores of U users or scenes and what they share.

    z: (U, D), in units of the prior's spread: 0 is the base. axes: (1, d, D). log_spread: (1, D).
    log_count: (1, 2), log of how much an event counts as a choice: of one that the prompt holds, which the user vector knows of
    already, and of one that it is too short for.
    """

    own: ClassVar[int] = 1

    z: Tensor
    axes: Tensor
    log_spread: Tensor
    log_count: Tensor

    def __len__(self) -> int:
        return len(self.z)

    def leaves(self) -> list[Tensor]:
        return [self.z, self.axes, self.log_spread, self.log_count]

    def with_leaves(self, leaves: list[Tensor]) -> UserCore:
        return UserCore(*leaves)

    def moved(self, vectors: Tensor, temperature: Tensor) -> Tensor:
        """User vectors (T, d) with what the cores of T users, or of one, add to them."""
        return vectors + (self.z * self.log_spread.exp()) @ self.axes[0].T / temperature

    def over(self, vectors: Tensor) -> Core:
        """The same core on the features of items with vectors (N, d)."""
        return Core(self.z, (vectors @ self.axes[0])[None], self.log_spread)


def start_core(items: Items, size: int, spread: float) -> UserCore:
    """The start of U = 1: z = 0 on the main axes of the item vectors, at most as many as they have; the features of an item are
    of length 1 on average."""
    vectors = items.vectors.double()
    centred = vectors - vectors.mean(0)
    value, axes = torch.linalg.eigh(centred.T @ centred / len(centred))
    size = min(size, len(value))
    axes = axes[:, -size:] / value[-size:].sum().clamp(min=1e-12).sqrt()
    axes = axes.flip(1).float().contiguous()
    zero = axes.new_zeros(1, size)
    return UserCore(zero, axes[None], zero + math.log(spread), axes.new_zeros(1, 2))


@dataclass(frozen=True, eq=False)
class Cores:
    """Cores of users by Newton's steps: an `Adaptable`.

    start: z = 0 with all that was learned. steps: Newton's. at: LoRA weights (U = 1) under which histories are read; None for
    the base.
    """

    base: Base
    start: UserCore
    steps: int
    at: Adapter | None = None

    @cached_property
    def rivals(self) -> Core:
        """The core over the items that a history's own are compared with, see `Items.compared`."""
        return self.start.over(self.base.items.compared[1].vectors)

    def adapted(self, tasks: Tasks, choices: Sequence[Choice]) -> tuple[UserCore, PromptReading]:
        made = self.base.prompts(tasks)
        vectors = self._read(made)
        steps = torch.tensor([choice.steps for choice in choices], device=vectors.device)
        z = self.start.z.expand(len(tasks), -1)
        with torch.no_grad():
            for done, core in enumerate(self._path(tasks, vectors, self.start, int(steps.max()))):
                z = torch.where((steps == done)[:, None], core.z, z)
            value = replace(self.start, z=z)
            return value, self.base.reading(made, value.moved(vectors, self.base.model.temperature))

    def adapted_scenes(self, rows: SceneRows, steps: int | None = None) -> UserCore:
        made = self.base.prompts(rows.tasks)
        with torch.no_grad():
            evidence = self._of_scenes(rows, made)
            count = self.steps if steps is None else steps
            *_, last = newton(self.start.over(self.base.items.vectors), evidence, len(rows.allowed), count)
        return replace(self.start, z=last.z)

    def vectors(self, made: Prompts, value: UserCore) -> Tensor:
        with torch.no_grad():
            return value.moved(self._read(made), self.base.model.temperature)

    def query_losses(self, tasks: Tasks) -> Iterator[Tensor]:
        with torch.no_grad():
            yield from self._losses(tasks, self.start)

    def episode(self, tasks: Tasks) -> Episode[UserCore]:
        """The query is met after all steps; no step goes by a gradient of the support loss, which is given as 0."""

        def both(start: UserCore) -> tuple[Tensor, Tensor]:
            *_, last = self._losses(tasks, start)
            return torch.zeros_like(last), last

        return Episode(len(tasks), both)

    def _read(self, made: Prompts) -> Tensor:
        return self.base.vectors(made, self.at)

    def _path(self, tasks: Tasks, vectors: Tensor, start: UserCore, steps: int) -> Iterator[Core]:
        """Cores of T users over the rivals after 0, 1, ..., steps."""
        core = replace(self.rivals, z=start.z, log_spread=start.log_spread)
        yield from newton(core, self._of_users(tasks, vectors, start), len(tasks), steps)

    def _losses(self, tasks: Tasks, start: UserCore) -> Iterator[Tensor]:
        """Query loss (T,) over all items, repeat terms included, after 0, 1, ..., all steps; differentiable in `start`."""
        model, items = self.base.model, self.base.items
        made = self.base.prompts(tasks)
        vectors, query = self._read(made), query_readouts(tasks, made.batch)
        with torch.no_grad():
            index, value = model.repeats(items, made.batch, query.task, query.slot)
        for core in self._path(tasks, vectors, start, self.steps):
            moved = replace(start, z=core.z).moved(vectors, model.temperature)
            yield judged(softmax, model.logits(moved, items).scatter_add(1, index, value), query)

    def _of_users(self, tasks: Tasks, vectors: Tensor, start: UserCore) -> Evidence:
        """What T histories say, each asked at its own user vector; nothing, where they leave no rival."""
        model, items = self.base.model, self.base.items
        (stride, rivals), device = items.compared, vectors.device
        known = _known(tasks, self.base.settings.max_slots)
        owner, item, weight = (torch.from_numpy(part).to(device) for part in (known.owner, known.item, known.weight))
        base = model.logits(vectors, rivals) + math.log(stride)
        among = item % stride == 0
        base = base.index_put((owner[among], item[among] // stride), base.new_tensor(HIDDEN))
        says = weight * start.log_count[0].exp()[torch.from_numpy(known.older).long().to(device)]
        says = says * (base > HIDDEN / 2).any(1)[owner]
        features = says[:, None] * (items.vectors[item] @ start.axes[0])
        taken = features.new_zeros(len(tasks), features.shape[1]).index_add(0, owner, features)
        count = says.new_zeros(len(tasks)).index_add(0, owner, says)
        return Evidence(base, torch.arange(len(tasks), device=device), taken, count)

    def _of_scenes(self, rows: SceneRows, made: Prompts) -> Evidence:
        """What the users of S scenes took among their items, one readout a row; each counts as a choice of its own."""
        model, items = self.base.model, self.base.items
        vectors = self._read(made)
        device = vectors.device
        query = inside(query_readouts(rows.tasks, made.batch), rows)
        index, value = model.repeats(items, made.batch, query.task, query.slot)
        among = torch.from_numpy(rows.allowed[rows.owner]).to(device)
        base = model.logits(vectors, items).scatter_add(1, index, value).masked_fill(~among, HIDDEN)
        target, owner = (torch.from_numpy(part).to(device) for part in (query.target, query.owner))
        weight = base.new_ones(len(target)) if query.weight is None else torch.from_numpy(query.weight).to(device)
        features = weight[:, None] * (items.vectors[target] @ self.start.axes[0])
        taken = features.new_zeros(len(base), features.shape[1]).index_add(0, owner, features)
        count = weight.new_zeros(len(base)).index_add(0, owner, weight)
        return Evidence(base, torch.from_numpy(rows.owner).to(device), taken, count)


@dataclass(frozen=True)
class Known:
    """Distinct items of the histories of tasks: P pairs.

    owner, item: int64 (P,). weight: float32 (P,), the largest sample weight of the item's events. older: bool (P,), whether the
    prompt is too short for all of them.
    """

    owner: np.ndarray
    item: np.ndarray
    weight: np.ndarray
    older: np.ndarray


def _known(tasks: Tasks, max_slots: int) -> Known:
    n, sample_weight = tasks.dataset.n_items, tasks.dataset.sample_weight
    owner, row = expand_ranges(tasks.start, tasks.split)
    pair, place = np.unique(owner * n + tasks.dataset.item[row], return_inverse=True)
    weight, older = np.zeros(len(pair), np.float32), np.ones(len(pair), bool)
    np.maximum.at(weight, place, 1.0 if sample_weight is None else sample_weight[row])
    np.logical_and.at(older, place, row < tasks.split[owner] - max_slots)
    return Known(pair // n, pair % n, weight, older)
