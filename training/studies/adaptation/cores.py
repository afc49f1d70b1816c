"""Cores over banks: the outer loop that learns what all share, and the two ways in which a user's numbers are found.

features   (N, D) of the items, from the base's own item vectors or from what training users had together
evidence   a support of n items asked at one readout weighs n events: the spread is that of one event times sqrt(n)
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import svds
from torch import Tensor

from llmrec.data.dataset import Dataset
from llmrec.meta.core import Core, choice_episode, choice_loss, choice_posterior, core
from llmrec.meta.inner import Initialisation, adapt
from llmrec.meta.outer import Episode
from llmrec.models.counts import user_items
from studies.adaptation.bank import Bank, choices

CELLS = 30_000_000  # users x items x numbers that are held side by side


@dataclass(frozen=True)
class Place:
    """Where a core learns or is asked: a bank of users, and how many events one of its readouts stands for."""

    bank: Bank
    events: float = 1.0


def of_items(vectors: np.ndarray, size: int) -> np.ndarray:
    """float32 (N, D): the base's item vectors on their main axes, of length 1 on average."""
    centred = vectors - vectors.mean(0)
    left, value, _ = svds(centred.astype(np.float64), k=min(size, min(centred.shape) - 1), random_state=0)
    return _unit(left[:, ::-1] * value[::-1])


def of_company(dataset: Dataset, users: np.ndarray, size: int) -> np.ndarray:
    """float32 (N, D): main axes of who had what among training users, of length 1 on average."""
    matrix = user_items(dataset.take(users))
    matrix.data = np.ones_like(matrix.data)
    size = min(size, min(matrix.shape) - 1)
    norm = np.sqrt(np.maximum(np.asarray(matrix.sum(0)).ravel(), 1.0))
    matrix = matrix @ sparse.diags_array(norm**-0.5)
    _, value, right = svds(matrix, k=size, random_state=0)
    return _unit(right[::-1].T * value[::-1] ** 0.5)


def core_on(features: np.ndarray) -> Core:
    """The start on these features: each moves scores by half a unit beforehand."""
    return core(torch.from_numpy(features), 0.5)


def widened(core: Core, events: float) -> Core:
    """The core with the evidence of so many events at each readout."""
    return replace(core, log_spread=core.log_spread + 0.5 * math.log(events))


def episodes(places: Sequence[Place], users: int, steps: int | None, rng: np.random.Generator) -> Iterator[Episode[Core]]:
    """Endless episodes of so many users, each from one of the places; see `choice_episode`."""
    while True:
        place = places[int(rng.integers(len(places)))]
        some = place.bank.take(rng.choice(len(place.bank), min(users, len(place.bank)), replace=False))
        inner = choice_episode(*choices(some), len(some), steps)
        yield Episode(len(some), partial(_loss, inner, place.events))


def _loss(inner: Episode[Core], events: float, theta: Core) -> tuple[Tensor, Tensor]:
    return inner.loss(widened(theta, events))


def adapted(core: Core, place: Place, steps: int = 1) -> np.ndarray:
    """float32 (T, N): scores of the query after so many of Newton's steps on the support."""
    found, bank = [], place.bank
    rows = max(1, CELLS // core.features.numel())
    wide = widened(core, place.events)
    for first in range(0, len(bank), rows):
        some = bank.take(np.arange(first, min(first + rows, len(bank))))
        support, query = choices(some)
        with torch.no_grad():
            theta = choice_posterior(wide, support, len(some), steps) if steps else wide.expand(len(some))
            found.append((query.base + theta.add()).numpy())
    return np.concatenate(found)


def stepped(init: Initialisation[Core], place: Place, steps: int) -> np.ndarray:
    """float32 (T, N): scores of the query after so many gradient steps on the support."""
    found, bank = [], place.bank
    rows = max(1, CELLS // init.adapter.features.numel())
    wide = replace(init, adapter=widened(init.adapter, place.events))
    for first in range(0, len(bank), rows):
        some = bank.take(np.arange(first, min(first + rows, len(bank))))
        support, query = choices(some)
        theta = adapt(wide, partial(choice_loss, choices=support), len(some), steps)
        found.append((query.base + theta.add()).numpy())
    return np.concatenate(found)


def _unit(features: np.ndarray) -> np.ndarray:
    return (features / np.sqrt((features**2).sum(1).mean())).astype(np.float32)
