"""Base training: the whole model learns to score what users take next, by full softmax over the catalogue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from llmrec.data.dataset import Dataset
from llmrec.data.tasks import Tasks, sample_windows
from llmrec.encoder.loss import multi_target
from llmrec.encoder.model import Items, SlotModel
from llmrec.encoder.precision import autocast, faster_dtype
from llmrec.encoder.slots import basket_readouts, slots


@dataclass(frozen=True)
class TrainSettings:
    """How the base is trained.

    steps, batch: optimiser steps, and windows of history in each.
    known: shortest and longest support, in baskets. horizon: how many following baskets are to be predicted.
    most: slots of a prompt; of a longer support the last ones are used.
    rate: step size of AdamW for the transformer and the item vectors; `bias_rate` for biases and scalars. (Adam moves every
        number by its rate: at a bias's rate the deltas would outgrow the text within fifty steps.)
    drop: share of items known by their text alone in a batch, so that a new item works at once.
    from_start: share of windows that begin with a user's first basket.
    """

    steps: int = 250
    batch: int = 64
    known: tuple[int, int] = (1, 8)
    horizon: int = 3
    most: int = 64
    rate: float = 3e-4
    bias_rate: float = 5e-3
    drop: float = 0.15
    from_start: float = 0.5


def train(
    model: SlotModel,
    dataset: Dataset,
    users: np.ndarray,
    settings: TrainSettings,
    rng: np.random.Generator,
    watch: Callable[[int, float], None] | None = None,
    warm: bool = True,
) -> None:
    """Train `model` in place on windows of the histories of `users` (int indices into `dataset`).

    watch: told the step and its loss. warm: rise to the full step size over the first tenth of the steps, or begin with it.
    """
    optimiser = torch.optim.AdamW(_groups(model, settings), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda i: _slope(i / max(settings.steps, 1), warm))
    device = str(model.delta.device)
    dtype = faster_dtype(device)
    model.train()
    for step in range(settings.steps):
        tasks = sample_windows(dataset, users, settings.known, settings.horizon, settings.batch, rng, settings.from_start)
        dropped = torch.from_numpy(rng.random(dataset.n_items) < settings.drop).to(device)
        with autocast(dtype, device):
            loss = window_loss(model, model.items(dropped), tasks, settings)
        optimiser.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        if not torch.isfinite(norm):
            optimiser.zero_grad()  # a batch that overflowed teaches nothing
        optimiser.step()
        schedule.step()
        if watch is not None:
            watch(step, loss.item())
    model.eval()


def window_loss(model: SlotModel, items: Items, tasks: Tasks, settings: TrainSettings) -> Tensor:
    """Mean loss over the ends of all baskets of the supports; each predicts the `horizon` baskets after it."""
    batch = slots(tasks, settings.most)
    reads = basket_readouts(tasks, batch, settings.horizon)
    states = model.body(model.prompt(items, batch))
    logits = model.scores(states, items, batch, reads.task, reads.slot)
    target, owner = torch.from_numpy(reads.target), torch.from_numpy(reads.owner)
    return multi_target(logits, target.to(logits.device), owner.to(logits.device)).mean()


def _groups(model: SlotModel, settings: TrainSettings) -> list[dict]:
    words = model.body.model.get_input_embeddings().weight.requires_grad_(False)  # the prompt's words stay words
    small = [p for name, p in model.named_parameters() if not name.startswith("body.") and p.dim() < 2]
    large = [p for p in model.parameters() if p is not words and not any(p is other for other in small)]
    return [{"params": large, "lr": settings.rate}, {"params": small, "lr": settings.bias_rate, "weight_decay": 0.0}]


def _slope(progress: float, warm: bool) -> float:
    rise = min(1.0, (progress + 0.005) / 0.1) if warm else 1.0
    return rise * min(1.0, (1.0 - progress) / 0.6)
