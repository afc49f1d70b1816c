"""Full fine-tuning, a user at a time: every weight that makes the user vector goes down the loss of the support.

The dearest way to adapt, and one that learns nothing beforehand: what meta-learning is worth is what it adds to this. Items'
vectors, which all users share, stay as they are.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from llmrec.encoder.model import SlotModel
from llmrec.encoder.slots import slots
from llmrec.meta.losses import softmax
from studies.adaptation.bank import Bank, Base, choices
from studies.adaptation.counting import ndcg

USER_SIDE = ("body", "attributes", "dates", "event_type", "slot_scale")
STEPS, RATES = (1, 3, 5, 10), (3e-4, 1e-3)  # tried; 20 steps, at 3e-4 or 1e-4, were behind on validation users


@dataclass(frozen=True)
class Tuning:
    """steps: of Adam. rate: its step size, for all weights."""

    steps: int
    rate: float


def weights(model: SlotModel) -> list[Tensor]:
    """What is tuned: the blocks with their norms and positions, and all that makes a slot out of an event and its item."""
    words = model.body.model.get_input_embeddings().weight  # the prompt's words stay words
    return [p for name, p in model.named_parameters() if name.partition(".")[0] in USER_SIDE and p is not words]


def best(base: Base, bank: Bank, most: int) -> Tuning:
    """The number of steps, `most` at most, and the rate with the highest NDCG@10 for the users of a bank."""
    steps = [step for step in STEPS if step <= most]
    tried = {}
    for rate in RATES:
        scores = np.stack(list(walked(base, bank, rate, steps)), 1)
        for step, found in zip(steps, scores, strict=True):
            tried[Tuning(step, rate)] = float(np.nanmean(ndcg(found, bank.query.target)))
    return max(tried, key=tried.__getitem__)


def tuned(base: Base, bank: Bank, tuning: Tuning) -> np.ndarray:
    """float32 (T, N): scores of the query, each user from weights of its own."""
    return np.concatenate(list(walked(base, bank, tuning.rate, [tuning.steps])))


def walked(base: Base, bank: Bank, rate: float, steps: Sequence[int]) -> Iterator[np.ndarray]:
    """For each user in turn float32 (len(steps), N): scores of the query after so many steps, ascending, on the support.

    Support and query are asked at one readout, the end of the same prompt, as in a bank of `long_bank`. The base never changes.
    """
    model = copy.deepcopy(base.model)
    moved = [tensor.requires_grad_() for tensor in weights(model)]
    home, matrix = [tensor.detach().clone() for tensor in moved], bank.matrix[:, :-1].T
    support, query = choices(bank)
    before, later = support.base - bank.support.vector @ matrix, query.base - bank.query.vector @ matrix
    for user in range(len(bank)):
        with torch.no_grad():
            for tensor, start in zip(moved, home, strict=True):
                tensor.copy_(start)
        optimiser = torch.optim.Adam(moved, lr=rate, fused=True)
        batch = slots(bank.query.tasks.take(np.array([user])), base.most)
        last, target, found = len(model.prefix_ids) + int(batch.length[0]) - 1, support.target[support.owner == user], []
        for step in range(steps[-1] + 1):
            score = model.body(model.prompt(base.items, batch))[0, last] @ matrix
            if step in steps:
                found.append((score.detach() + later[user]).numpy())
            if step < steps[-1]:
                optimiser.zero_grad()
                softmax((score + before[user])[None], target, torch.zeros_like(target))[0].backward()
                optimiser.step()
        yield np.stack(found)
