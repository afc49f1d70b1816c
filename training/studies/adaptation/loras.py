"""LoRA on the last block over the same questions: what a bank has precomputed, run again under an adapter at every step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from llmrec.adapters.lora import Adapter, init_lora, lora_hook
from llmrec.encoder.users import prompts, states
from llmrec.meta.inner import Initialisation, adapt
from llmrec.meta.losses import mean_by, softmax
from llmrec.meta.outer import Episode
from studies.adaptation.bank import Bank, Base, Readings, choices

ROWS = 64  # users adapted side by side


def start(base: Base, rank: int, seed: int, b_std: float = 0.01, upper: int = 1) -> Adapter:
    """A random adapter of the last blocks; with `b_std` 0 it is the base."""
    return init_lora(base.model.body.linear_paths(upper), rank, 2.0, torch.Generator().manual_seed(seed), b_std)


def reader(base: Base, readings: Readings, upper: int = 1) -> Callable[[Adapter], Tensor]:
    """Adapter of one user, or one a readout -> user vectors (M, d), differentiable in it."""
    made = prompts(base.model, base.items, readings.tasks, base.most, upper)
    every, last = torch.arange(len(readings)), len(base.model.prefix_ids) + torch.from_numpy(made.batch.length - 1)
    return lambda adapter: states(base.model, made, lora_hook(adapter))[every, last]


def episode(base: Base, bank: Bank, upper: int = 1) -> Episode[Adapter]:
    """The users of a bank under an adapter each: what they took before, and what they took then."""
    own = np.repeat(np.arange(len(bank)), np.diff(bank.first))
    owner = torch.from_numpy(own)
    alike = _alike(bank)
    query = reader(base, bank.query, upper)
    support = query if alike else reader(base, bank.support, upper)

    def both(adapter: Adapter) -> tuple[Tensor, Tensor]:
        single = len(adapter) == 1
        asked = query(adapter)
        before = asked if alike else support(adapter if single else adapter.take(owner))
        there = replace(bank, support=replace(bank.support, vector=before), query=replace(bank.query, vector=asked))
        taken, later = choices(there)
        loss = mean_by(softmax(taken.base, taken.target, taken.owner), owner, len(bank))
        return loss, softmax(later.base, later.target, later.owner)

    return Episode(len(bank), both)


def episodes(base: Base, banks: Sequence[Bank], users: int, rng: np.random.Generator, upper: int = 1) -> Iterator[Episode]:
    """Endless episodes of so many users, each from one of the banks."""
    while True:
        bank = banks[int(rng.integers(len(banks)))]
        yield episode(base, bank.take(rng.choice(len(bank), min(users, len(bank)), replace=False)), upper)


def adapted(base: Base, init: Initialisation[Adapter], bank: Bank, steps: int, upper: int = 1) -> np.ndarray:
    """float32 (T, N): scores of the query after so many steps on the support."""
    found = []
    for first in range(0, len(bank), ROWS):
        some = bank.take(np.arange(first, min(first + ROWS, len(bank))))
        there = episode(base, some, upper)
        theta = adapt(init, partial(_support, there), len(some), steps)
        with torch.no_grad():
            vector = reader(base, some.query, upper)(theta)
            found.append(choices(replace(some, query=replace(some.query, vector=vector)))[1].base.numpy())
    return np.concatenate(found)


def _support(there: Episode[Adapter], adapter: Adapter) -> Tensor:
    return there.loss(adapter)[0]


def _alike(bank: Bank) -> bool:
    """Whether support and query are asked at the same readouts."""
    one, other = bank.support.tasks, bank.query.tasks
    same = one.dataset is other.dataset and len(one) == len(other)
    return same and bool(np.array_equal(one.start, other.start) and np.array_equal(one.split, other.split))
