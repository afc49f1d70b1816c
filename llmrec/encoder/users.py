"""User vectors: prompts pass the lower blocks once, and the adapted upper blocks once per inner step.

The blocks run in the number type that is faster here; everything before and after them in float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from llmrec.data.tasks import Tasks
from llmrec.encoder.backbone import LoraHook
from llmrec.encoder.model import Items, SlotModel
from llmrec.encoder.precision import autocast, faster_dtype
from llmrec.encoder.slots import Slots, slots

ROWS = 128  # prompts that run side by side


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


def user_scores(model: SlotModel, items: Items, vectors: Tensor, batch: Slots) -> np.ndarray:
    """Scores float32 (T, N) of every item with all terms of the model, for user vectors (T, d) of prompts `batch`."""
    with torch.no_grad():
        every = np.arange(len(batch))
        index, value = model.repeats(items, batch, every, batch.length - 1)
        return model.logits(vectors, items).scatter_add(1, index, value).cpu().numpy()


def in_faster_dtype(model: SlotModel) -> AbstractContextManager:
    """Autocast to the number type that a probe found faster on the model's device."""
    device = str(model.id_embedding.device)
    return autocast(faster_dtype(device), device)


def batches(tasks: Tasks, rows: int = ROWS) -> Iterator[Tasks]:
    """Tasks in batches of at most `rows`, in order."""
    for first in range(0, len(tasks), rows):
        yield tasks.take(np.arange(first, min(first + rows, len(tasks))))
