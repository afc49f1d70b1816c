"""Base training: the whole model learns to predict each user's next items, by full softmax over the catalogue. Above
MOST_COMPARED items the softmax is over a sample.

A step is a pure function of the state, the seed and the step's number: its windows are drawn by `default_rng((seed, step))`, so
going on needs no generator's state, and every process of several draws the same batch and takes its share of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import dropout

from llmrec.data.attributes import Attributes
from llmrec.data.dataset import Dataset
from llmrec.data.tasks import Tasks, sample_windows
from llmrec.encoder.model import MOST_COMPARED, SAMPLE, Items, SlotModel
from llmrec.encoder.precision import autocast, faster_dtype
from llmrec.encoder.sampling import ItemSample, sample_items
from llmrec.encoder.slots import at_beginning, basket_readouts, slots
from llmrec.encoder.threads import threads_for
from llmrec.errors import DataError

GROUPS = 4  # parts of a batch, by length
HIDE_ALL, HIDE_ONE = 0.2, 0.1  # share of windows that hide all attributes of the user, and each one of the others
AUTO: Any = None  # the value of a setting that is chosen from the data before training starts


@dataclass(frozen=True)
class TrainSettings:
    """How the base is trained. `Recommender.fit` chooses fields that are None from the data, see `llmrec.recommender.auto`;
    training itself needs every value.

    max_steps, batch_size: optimiser steps, and windows of history in each, over all processes.
    epochs: windows drawn for each user in all, if `max_steps` is chosen from the data.
    known: shortest and longest support, in baskets. horizon: number of following baskets to predict.
    max_slots: slots of a prompt; only the last events of a longer support are read.
    learning_rate: of AdamW, for the transformer and the item vectors; `bias_learning_rate` for biases and scalars. (Adam
        moves every number by its learning rate: with that of the biases, the item vectors' learned part would outgrow the text
        within fifty steps.)
    text_only_rate: share of items that a batch represents by their text alone, which trains for new items.
    dropout: share of the numbers of a slot's embedding that are set to zero in training.
    from_start: share of windows that begin with a user's first basket.
    ema_decay: decay of the exponential moving average of the weights, which training then returns; 0 returns the last weights.
        After t steps it is min(ema_decay, (1 + t) / (10 + t)), so that the random start is soon forgotten.
    """

    max_steps: int = AUTO
    batch_size: int = 64
    epochs: float = 6.0
    known: tuple[int, int] = AUTO
    horizon: int = AUTO
    max_slots: int = AUTO
    learning_rate: float = AUTO
    bias_learning_rate: float = 5e-3
    text_only_rate: float = 0.2
    dropout: float = AUTO
    from_start: float = 0.5
    ema_decay: float = AUTO


@dataclass(frozen=True)
class Shard:
    """The part of every batch that one of several processes computes.

    rank, world: its number, and how many there are. reduce: a flat tensor -> its sum over all processes; None for one alone.
    """

    rank: int = 0
    world: int = 1
    reduce: Callable[[Tensor], Tensor] | None = None


SINGLE_PROCESS = Shard()


@dataclass
class Training:
    """The mutable state of base training; `train_step` changes it.

    model, optimiser: what is trained and AdamW over it. ema: parameter's name -> its moving average; None without one.
    dtype: of the matrix products; probed once, since another type gives other bits. warmup: see `train`.
    losses: of every step so far.
    """

    model: SlotModel
    optimiser: torch.optim.AdamW
    ema: dict[str, Tensor] | None
    dtype: torch.dtype
    warmup: bool = True
    losses: list[float] = field(default_factory=list)

    @property
    def step(self) -> int:
        """How many steps are done, which is the number of the next one."""
        return len(self.losses)


def init_state(model: SlotModel, settings: TrainSettings, warmup: bool = True) -> Training:
    """Training at step 0. Raises DataError for a setting that is None, which only `Recommender.fit` chooses."""
    for one in fields(settings):
        if getattr(settings, one.name) is None:
            raise DataError(
                f"TrainSettings.{one.name} is None, expected a value; give one, or use Recommender.fit, which chooses it from "
                "the data"
            )
    model.train()
    optimiser = torch.optim.AdamW(_groups(model, settings), weight_decay=0.01)
    ema = {name: p.detach().clone() for name, p in trainable(model)} if settings.ema_decay > 0 else None
    return Training(model, optimiser, ema, faster_dtype(str(model.id_embedding.device)), warmup)


def train_step(
    training: Training, dataset: Dataset, users: np.ndarray, settings: TrainSettings, seed: int, shard: Shard = SINGLE_PROCESS
) -> float:
    """Take one step and return its loss. The gradient, summed over all processes, is that of the whole batch."""
    model, optimiser, step = training.model, training.optimiser, training.step
    device = str(model.id_embedding.device)
    rng = np.random.default_rng((seed, step))
    draw = settings.known, settings.horizon, settings.batch_size, rng, settings.from_start
    tasks = sample_windows(dataset, users, *draw, least=1)  # the end of a history teaches too, with a shorter horizon
    dropped = torch.from_numpy(rng.random(dataset.n_items) < settings.text_only_rate).to(device)
    if tasks.user_attributes is not None:
        tasks = replace(tasks, user_attributes=_partly_hidden(tasks.user_attributes, rng))
    mine = tasks.take(np.arange(shard.rank, len(tasks), shard.world))
    first = model.user_attributes is not None
    # A mean of means would weigh them otherwise.
    weight = n_readouts(mine, settings.max_slots, first) / n_readouts(tasks, settings.max_slots, first)
    optimiser.zero_grad()
    sample = sample_items(tasks, settings.max_slots, SAMPLE, rng) if dataset.n_items > MOST_COMPARED else None
    work = model.multiplications(settings.batch_size, settings.max_slots)
    with threads_for(work), _repeatable(device, (seed, step, 1 + shard.rank)):
        with autocast(training.dtype, device):
            items = model.items(dropped) if sample is None else sampled(model, sample, dropped)
            loss = weight * window_loss(model, items, mine, settings, training.dtype, sample)
        loss.backward()
    value = _summed(model, loss, shard)
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    if not torch.isfinite(norm):
        optimiser.zero_grad()  # a batch that overflowed teaches nothing
    for group in optimiser.param_groups:
        group["lr"] = group["rate"] * _lr_schedule(step / max(settings.max_steps, 1), training.warmup)
    optimiser.step()
    if training.ema is not None:
        decay = min(settings.ema_decay, (1 + step) / (10 + step))
        for name, parameter in trainable(model):
            training.ema[name].lerp_(parameter.detach(), 1 - decay)
    training.losses.append(value)
    return value


def check_loss(training: Training) -> None:
    """Raises DataError when training has diverged: the last loss is not finite."""
    if not np.isfinite(training.losses[-1]):
        raise _diverged(f"the loss of step {training.step} is {training.losses[-1]}", training)


def finalize(training: Training) -> None:
    """Put the averaged weights, if there are any, into the model, and take it out of training mode.

    Raises DataError when training has diverged: a weight is not finite.
    """
    if training.ema is not None:
        with torch.no_grad():
            for name, parameter in trainable(training.model):
                parameter.copy_(training.ema[name])
    training.optimiser.zero_grad()
    training.model.eval()
    if not all(bool(torch.isfinite(parameter).all()) for _, parameter in trainable(training.model)):
        raise _diverged(f"a weight is not finite after {training.step} steps", training)


def train(
    model: SlotModel,
    dataset: Dataset,
    users: np.ndarray,
    settings: TrainSettings,
    rng: np.random.Generator,
    watch: Callable[[int, float], None] | None = None,
    warmup: bool = True,
) -> None:
    """Train `model` in place on windows of the histories of `users` (int indices into `dataset`), in one go; for training that
    can be resumed see `llmrec.pretraining.loop`.

    watch: told the step and its loss. warmup: reach the full learning rate over the first tenth of the steps, or start with it.
    """
    seed = int(rng.integers(2**62))
    training = init_state(model, settings, warmup)
    for step in range(settings.max_steps):
        loss = train_step(training, dataset, users, settings, seed)
        check_loss(training)
        if watch is not None:
            watch(step, loss)
    finalize(training)


def _partly_hidden(attributes: Attributes, rng: np.random.Generator) -> Attributes:
    """The attributes with some of them missing, at random, so that the model learns to do without."""
    shape = attributes.codes.shape
    return attributes.hide((rng.random((shape[0], 1)) < HIDE_ALL) | (rng.random(shape) < HIDE_ONE))


def _diverged(what: str, training: Training) -> DataError:
    rate, of_biases = (group["rate"] for group in training.optimiser.param_groups)
    return DataError(
        f"base training diverged: {what}; lower the learning rates in TrainSettings, which are learning_rate={rate:g} and "
        f"bias_learning_rate={of_biases:g}"
    )


def sampled(model: SlotModel, sample: ItemSample, dropped: Tensor) -> Items:
    """The items of a sample, whose biases say how many items each stands for. dropped: as in `SlotModel.items`."""
    device = model.id_embedding.device
    items = model.items(dropped, only=torch.from_numpy(sample.item).to(device))
    return replace(items, bias=items.bias + torch.from_numpy(sample.log_weight).to(device))


def window_loss(
    model: SlotModel,
    items: Items,
    tasks: Tasks,
    settings: TrainSettings,
    dtype: torch.dtype = torch.float32,
    sample: ItemSample | None = None,
) -> Tensor:
    """Mean loss over the ends of all baskets of the supports; each predicts the `horizon` baskets after it. With attributes of
    users the beginning of a history predicts its first baskets, too.

    dtype: of the products with the catalogue. sample: which items of the catalogue `items` holds; None for all. Numbers of the
    slots are dropped while the model is in training mode.
    """
    # Alike lengths together: most windows are short, and padding to the longest of all would be most of the arithmetic.
    order = np.argsort(np.minimum(tasks.split - tasks.start, settings.max_slots), kind="stable")
    beginnings = model.user_attributes is not None
    whole, found = n_readouts(tasks, settings.max_slots, beginnings), []
    for rows in np.array_split(order, min(GROUPS, len(order))):
        some = tasks.take(rows)
        batch = slots(some, settings.max_slots)
        reads = basket_readouts(some, batch, settings.horizon, beginnings)
        if sample is not None:
            batch, reads = replace(batch, item=sample.place[batch.item]), replace(reads, target=sample.place[reads.target])
        states = model.body(dropout(model.prompt(items, batch), settings.dropout, model.training))
        found.append(len(reads) / whole * model.loss(states, items, batch, reads, dtype))
    return torch.stack(found).sum()


def n_readouts(tasks: Tasks, max_slots: int, beginnings: bool = False) -> int:
    """How many readouts `window_loss` takes the mean of: the baskets among the last `max_slots` events of each support, and
    with `beginnings` one for each prompt that begins with its user's first event."""
    first, last = np.maximum(tasks.start, tasks.split - max_slots), tasks.split - 1
    baskets = int((tasks.dataset.basket[last] - tasks.dataset.basket[first] + 1).sum())
    return baskets + int(at_beginning(tasks, tasks.split - first).sum()) if beginnings else baskets


def trainable(model: SlotModel) -> list[tuple[str, torch.nn.Parameter]]:
    """Names and parameters that training changes."""
    words = model.body.model.get_input_embeddings().weight  # the prompt's words stay words
    return [(name, p) for name, p in model.named_parameters() if p.requires_grad and p is not words]


def _groups(model: SlotModel, settings: TrainSettings) -> list[dict]:
    model.body.model.get_input_embeddings().weight.requires_grad_(False)
    small = [p for name, p in trainable(model) if not name.startswith("body.") and p.dim() < 2]
    large = [p for name, p in trainable(model) if name.startswith("body.") or p.dim() >= 2]
    return [
        {"params": large, "rate": settings.learning_rate},
        {"params": small, "rate": settings.bias_learning_rate, "weight_decay": 0.0},
    ]


def _summed(model: SlotModel, loss: Tensor, share: Shard) -> float:
    """Replace the gradients by their sums over all processes, in one message; returns the sum of the losses."""
    gradients = []
    for _, parameter in trainable(model):
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


def _lr_schedule(progress: float, warmup: bool) -> float:
    rise = min(1.0, (progress + 0.005) / 0.1) if warmup else 1.0
    return rise * min(1.0, (1.0 - progress) / 0.6)
