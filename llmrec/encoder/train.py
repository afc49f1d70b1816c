"""Base training: the whole model learns to score what users take next, by full softmax over the catalogue.

A step is a pure function of the state, the seed and the step's number: its windows are drawn by `default_rng((seed, step))`, so
going on needs no generator's state, and every process of several draws the same batch and takes its share of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import dropout

from llmrec.data.dataset import Dataset
from llmrec.data.tasks import Tasks, sample_windows
from llmrec.encoder.model import Items, SlotModel
from llmrec.encoder.precision import autocast, faster_dtype
from llmrec.encoder.slots import basket_readouts, slots
from llmrec.errors import DataError

GROUPS = 4  # parts of a batch, by length


@dataclass(frozen=True)
class TrainSettings:
    """How the base is trained.

    steps, batch: optimiser steps, and windows of history in each, over all processes.
    known: shortest and longest support, in baskets. horizon: how many following baskets are to be predicted.
    most: slots of a prompt; of a longer support the last ones are used.
    rate: step size of AdamW for the transformer and the item vectors; `bias_rate` for biases and scalars. (Adam moves every
        number by its rate: at a bias's rate the deltas would outgrow the text within fifty steps.)
    drop: share of items known by their text alone in a batch, so that a new item works at once.
    dropout: share of the numbers of a slot's embedding that are set to zero in training.
    from_start: share of windows that begin with a user's first basket.
    average: decay of the exponential moving average of the weights, which is then what training returns; 0 for the last ones.
        After t steps it is min(average, (1 + t) / (10 + t)), so that the random start is soon forgotten.
    """

    steps: int = 250
    batch: int = 64
    known: tuple[int, int] = (1, 8)
    horizon: int = 3
    most: int = 64
    rate: float = 3e-4
    bias_rate: float = 5e-3
    drop: float = 0.15
    dropout: float = 0.0
    from_start: float = 0.5
    average: float = 0.0


@dataclass(frozen=True)
class Share:
    """The part of every batch that one of several processes computes.

    rank, world: its number, and how many there are. reduce: a flat tensor -> its sum over all processes; None for one alone.
    """

    rank: int = 0
    world: int = 1
    reduce: Callable[[Tensor], Tensor] | None = None


WHOLE = Share()


@dataclass
class Training:
    """Training under way; `advance` changes it.

    model, optimiser: what is trained and AdamW over it. average: parameter's name -> its moving average; None without one.
    dtype: of the matrix products; probed once, since another type gives other bits. warm: see `train`.
    losses: of every step so far.
    """

    model: SlotModel
    optimiser: torch.optim.AdamW
    average: dict[str, Tensor] | None
    dtype: torch.dtype
    warm: bool = True
    losses: list[float] = field(default_factory=list)

    @property
    def step(self) -> int:
        """How many steps are done, which is the number of the next one."""
        return len(self.losses)


def begin(model: SlotModel, settings: TrainSettings, warm: bool = True) -> Training:
    """Training at step 0."""
    model.train()
    optimiser = torch.optim.AdamW(_groups(model, settings), weight_decay=0.01)
    average = {name: p.detach().clone() for name, p in learned(model)} if settings.average > 0 else None
    return Training(model, optimiser, average, faster_dtype(str(model.delta.device)), warm)


def advance(
    training: Training, dataset: Dataset, users: np.ndarray, settings: TrainSettings, seed: int, share: Share = WHOLE
) -> float:
    """Take one step and return its loss. The gradient, summed over all processes, is that of the whole batch."""
    model, optimiser, step = training.model, training.optimiser, training.step
    device = str(model.delta.device)
    rng = np.random.default_rng((seed, step))
    draw = settings.known, settings.horizon, settings.batch, rng, settings.from_start
    tasks = sample_windows(dataset, users, *draw, least=1)  # the end of a history teaches too, with a shorter horizon
    dropped = torch.from_numpy(rng.random(dataset.n_items) < settings.drop).to(device)
    mine = tasks.take(np.arange(share.rank, len(tasks), share.world))
    part = n_readouts(mine, settings.most) / n_readouts(tasks, settings.most)  # a mean of means would weigh them otherwise
    optimiser.zero_grad()
    with _repeatable(device, (seed, step, 1 + share.rank)):
        with autocast(training.dtype, device):
            loss = part * window_loss(model, model.items(dropped), mine, settings, training.dtype)
        loss.backward()
    value = _summed(model, loss, share)
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    if not torch.isfinite(norm):
        optimiser.zero_grad()  # a batch that overflowed teaches nothing
    for group in optimiser.param_groups:
        group["lr"] = group["rate"] * _slope(step / max(settings.steps, 1), training.warm)
    optimiser.step()
    if training.average is not None:
        decay = min(settings.average, (1 + step) / (10 + step))
        for name, parameter in learned(model):
            training.average[name].lerp_(parameter.detach(), 1 - decay)
    training.losses.append(value)
    return value


def finish(training: Training) -> None:
    """Put the averaged weights, if there are any, into the model, and take it out of training mode."""
    if training.average is not None:
        with torch.no_grad():
            for name, parameter in learned(training.model):
                parameter.copy_(training.average[name])
    training.optimiser.zero_grad()
    training.model.eval()


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
    Raises DataError when training diverges, which a loss or a weight that is not finite tells.
    """
    seed = int(rng.integers(2**62))
    training = begin(model, settings, warm)
    for step in range(settings.steps):
        loss = advance(training, dataset, users, settings, seed)
        if not np.isfinite(loss):
            raise _diverged(f"the loss of step {step + 1} is {loss}", settings)
        if watch is not None:
            watch(step, loss)
    finish(training)
    if not all(bool(torch.isfinite(parameter).all()) for _, parameter in learned(model)):
        raise _diverged(f"a weight is not finite after {settings.steps} steps", settings)


def _diverged(what: str, settings: TrainSettings) -> DataError:
    return DataError(
        f"base training diverged: {what}; lower the step sizes in TrainSettings, which are rate={settings.rate:g} and "
        f"bias_rate={settings.bias_rate:g}"
    )


def window_loss(
    model: SlotModel, items: Items, tasks: Tasks, settings: TrainSettings, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Mean loss over the ends of all baskets of the supports; each predicts the `horizon` baskets after it.

    dtype: of the products with the catalogue. Numbers of the slots are dropped while the model is in training mode.
    """
    # Alike lengths together: most windows are short, and padding to the longest of all would be most of the arithmetic.
    order = np.argsort(np.minimum(tasks.split - tasks.start, settings.most), kind="stable")
    whole, found = n_readouts(tasks, settings.most), []
    for rows in np.array_split(order, min(GROUPS, len(order))):
        some = tasks.take(rows)
        batch = slots(some, settings.most)
        reads = basket_readouts(some, batch, settings.horizon)
        states = model.body(dropout(model.prompt(items, batch), settings.dropout, model.training))
        found.append(len(reads) / whole * model.loss(states, items, batch, reads, dtype))
    return torch.stack(found).sum()


def n_readouts(tasks: Tasks, most: int) -> int:
    """How many readouts `window_loss` takes the mean of: the baskets among the last `most` events of each support."""
    first, last = np.maximum(tasks.start, tasks.split - most), tasks.split - 1
    return int((tasks.dataset.basket[last] - tasks.dataset.basket[first] + 1).sum())


def learned(model: SlotModel) -> list[tuple[str, torch.nn.Parameter]]:
    """Names and parameters that training changes."""
    words = model.body.model.get_input_embeddings().weight  # the prompt's words stay words
    return [(name, p) for name, p in model.named_parameters() if p.requires_grad and p is not words]


def _groups(model: SlotModel, settings: TrainSettings) -> list[dict]:
    model.body.model.get_input_embeddings().weight.requires_grad_(False)
    small = [p for name, p in learned(model) if not name.startswith("body.") and p.dim() < 2]
    large = [p for name, p in learned(model) if name.startswith("body.") or p.dim() >= 2]
    return [{"params": large, "rate": settings.rate}, {"params": small, "rate": settings.bias_rate, "weight_decay": 0.0}]


def _summed(model: SlotModel, loss: Tensor, share: Share) -> float:
    """Replace the gradients by their sums over all processes, in one message; returns the sum of the losses."""
    gradients = []
    for _, parameter in learned(model):
        if parameter.grad is None:  # zero, with one process as with several: AdamW passes over none
            parameter.grad = torch.zeros_like(parameter)
        gradients.append(parameter.grad)
    if share.reduce is None:
        return loss.item()
    flat = share.reduce(torch.cat([loss.detach().float().view(1), *(gradient.view(-1) for gradient in gradients)]))
    for gradient, total in zip(gradients, flat[1:].split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(total.view_as(gradient))
    return flat[0].item()


@contextmanager
def _repeatable(device: str, key: tuple[int, ...]) -> Iterator[None]:
    """torch's randomness drawn from `key`; on a CPU also sums in one order, where threads would add as they come."""
    flags: Any = torch.utils.deterministic  # its type stub lacks the flag
    before, filling = torch.are_deterministic_algorithms_enabled(), flags.fill_uninitialized_memory
    cuda = [torch.device(device)] if torch.device(device).type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0]))
        torch.use_deterministic_algorithms(before or not cuda)
        flags.fill_uninitialized_memory = False  # nothing here reads what it has not written
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before)
            flags.fill_uninitialized_memory = filling


def _slope(progress: float, warm: bool) -> float:
    rise = min(1.0, (progress + 0.005) / 0.1) if warm else 1.0
    return rise * min(1.0, (1.0 - progress) / 0.6)
