"""SASRec with full-softmax cross-entropy: a small causal transformer over item ids, the strongest simple neural baseline.

Axis convention: `T` tasks, `B` windows (or rows of packed ones), `L` events of the longest, `M` events in all, `D` width,
`N` items.

Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018, with the loss that Klenitskiy and Vasilev, "Turning
Dross Into Gold Loss", RecSys 2023, found to decide: softmax over the whole catalogue instead of sampled negatives. The
body normalises before each block and has GELU with a four times wider middle, as later implementations have.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from llmrec.data.dataset import Dataset
from llmrec.data.tasks import Tasks
from llmrec.encoder.precision import autocast, faster_dtype
from llmrec.encoder.softmax import catalogue_loss
from llmrec.errors import DataError
from llmrec.models.counts import same_catalogue
from llmrec.models.popularity import Baseline

_TASKS = 256  # scored at once


@dataclass(frozen=True)
class SasrecSettings:
    """The body and its training.

    width, layers, heads: of the transformer; `heads` divides `width`. dropout: of embeddings, attention and blocks.
    max_length: events of a window; of a longer history one window of `max_length` events is trained on in each epoch,
        the `windows` "last" one, the "first" one (for tasks that begin with a new user's first event) or a "random" one,
        drawn anew. horizon: how many following events each position has to predict, all alike; 1 is the published model.
    learning_rate, weight_decay: of AdamW. batch_size: windows of a step.
    epochs: passes over the users at most. patience: passes without a better validation value before it stops.
    """

    width: int = 64
    layers: int = 2
    heads: int = 2
    dropout: float = 0.3
    max_length: int = 50
    windows: Literal["last", "first", "random"] = "last"
    horizon: int = 1
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    batch_size: int = 128
    epochs: int = 100
    patience: int = 5


@dataclass(frozen=True)
class Sasrec:
    """A fitted model. body: in evaluation mode, not trained further. most: events of a history that it reads, the last."""

    body: Body
    most: int
    name: str = "SASRec"

    def scores(self, tasks: Tasks) -> np.ndarray:
        """float32 (T, N), in float32 on every machine; all zero for an empty support."""
        table, tasks = self.body.items.weight, tasks.counted
        same_catalogue(tasks, len(table))
        length = np.minimum(tasks.split - tasks.start, self.most)
        found = np.zeros((len(tasks), len(table)), np.float32)
        order = np.argsort(length, kind="stable")  # alike ones together: little padding
        order = order[length[order] > 0]
        with torch.no_grad():
            for first in range(0, len(order), _TASKS):
                rows = order[first : first + _TASKS]
                states = self.body(tasks.dataset, tasks.split[rows] - length[rows], length[rows])
                last = states[torch.from_numpy(np.cumsum(length[rows]) - 1).to(table.device)]
                found[rows] = (last @ table.T).cpu().numpy()
        return found


def fit_sasrec(
    dataset: Dataset,
    users: np.ndarray,
    settings: SasrecSettings | None = None,
    seed: int = 0,
    validate: Callable[[Baseline], float] | None = None,
    watch: Callable[[int, float, float | None], None] | None = None,
    device: str = "cpu",
) -> Sasrec:
    """Train on the histories of `users`, int indices into `dataset`, to predict the following events at every position.

    validate: a figure of merit on validation tasks, higher is better, asked after every epoch. The model of the best epoch
        is returned, the first of equal ones. None trains all epochs and returns the last.
        `lambda control: float(np.nanmean(ndcg(control.scores(tasks), tasks.relevant(), 10)))` is one.
    watch: called with the epoch from 0, its mean loss, and the value of `validate`.
    seed: the same seed on the same machine gives the same model; torch's global generators are left as they were.
    Raises DataError for settings out of range, where no user has two events, and for a validation value that is NaN.
    """
    settings = settings or SasrecSettings()
    _check(settings)
    rng, dtype = np.random.default_rng(seed), faster_dtype(device)
    dataset, users = dataset.counted, np.asarray(users, np.int64)
    users = users[np.diff(dataset.start)[users] >= 2]
    if len(users) == 0:
        raise DataError("users: expected at least one with two events, there is nothing that follows anything; give more users")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        body = Body(dataset.n_items, settings).to(device)
        optimiser = torch.optim.AdamW(body.parameters(), settings.learning_rate, weight_decay=settings.weight_decay, fused=True)
        best, best_value, best_epoch = None, -math.inf, -1
        for epoch in range(settings.epochs):
            loss = _epoch(body, optimiser, dataset, users, settings, rng, dtype)
            fitted = Sasrec(copy.deepcopy(body).eval().requires_grad_(False), settings.max_length)
            value = None if validate is None else float(validate(fitted))
            if watch is not None:
                watch(epoch, loss, value)
            if value is not None and math.isnan(value):
                raise DataError(f"validate: expected a number after epoch {epoch}, got NaN; give tasks with a query")
            if best is None or value is None or value > best_value:
                best, best_value, best_epoch = fitted, -math.inf if value is None else value, epoch
            elif epoch - best_epoch >= settings.patience:
                break
    assert best is not None  # there is at least one epoch
    return best


class Body(nn.Module):
    """Causal transformer over item ids; the item table is the input and the output."""

    def __init__(self, items: int, settings: SasrecSettings):
        super().__init__()
        self.items = nn.Embedding(items, settings.width)
        self.position = nn.Parameter(torch.empty(settings.max_length, settings.width))
        self.blocks = nn.ModuleList([Block(settings.width, settings.heads, settings.dropout) for _ in range(settings.layers)])
        self.norm = nn.LayerNorm(settings.width)
        self.drop = Dropout(settings.dropout)
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, dataset: Dataset, start: np.ndarray, length: np.ndarray) -> Tensor:
        """float (M, D): the state after each event of each window, window by window; it knows that event and those before it.

        start, length: int64 (B,), windows of events of `dataset`, none empty. Short ones share a row, and an event looks at
        its own window only: with few events to most users, hardly any work is done on padding.
        """
        device = self.position.device
        row, offset = _packed(length)
        window, place = _flat(length)
        at = row[window], offset[window] + place
        shape = (int(row.max()) + 1, int(length.max()))
        item, slot, owner = np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.full(shape, -1)
        item[at], slot[at], owner[at] = dataset.item[start[window] + place], place, window
        segment = torch.from_numpy(owner).to(device)
        other = segment[:, :, None] != segment[:, None, :]
        later = torch.ones(other.shape[1:], dtype=torch.bool, device=device).triu(1)
        hidden = torch.zeros(other.shape, device=device).masked_fill_(other | later, -math.inf)[:, None]
        x = self.drop(self.items(torch.from_numpy(item).to(device)) + self.position[torch.from_numpy(slot).to(device)])
        for block in self.blocks:
            x = block(x, hidden)
        return self.norm(x[torch.from_numpy(at[0]).to(device), torch.from_numpy(at[1]).to(device)])


class Block(nn.Module):
    """Attention, then two layers by position, each added to what came in. Attention is written out: torch's own has a slow
    bf16 backward on CPUs."""

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.heads = heads
        self.norm_attention, self.norm_middle = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.drop = Dropout(dropout)

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D). hidden: (B, 1, L, L), minus infinity where the row must not see the column, else 0."""
        batch, length, width = x.shape
        qkv = self.qkv(self.norm_attention(x)).view(batch, length, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        with torch.autocast(x.device.type, enabled=False):  # it would cast the (L, L) arrays to float32 and back
            look = (q / math.sqrt(width // self.heads)) @ k.transpose(-1, -2)
            look = self.drop(torch.softmax(look.add_(hidden.to(look.dtype)), -1))
            mixed = (look @ v).transpose(1, 2).reshape(batch, length, width)
        x = x + self.drop(self.out(mixed))
        return x + self.drop(self.down(nn.functional.gelu(self.up(self.norm_middle(x)))))


class Dropout(nn.Module):
    """As nn.Dropout with the share rounded to 1/256: a random byte a number, on a CPU far cheaper than a draw for each."""

    def __init__(self, share: float):
        super().__init__()
        self.below = round(256 * share)

    def forward(self, x: Tensor) -> Tensor:
        """A fresh mask in training, `x` itself in evaluation."""
        if not self.training or self.below == 0:
            return x
        draws = torch.empty(-(-x.numel() // 8), dtype=torch.int64, device=x.device).random_(-(2**63), None)
        keep = (draws.view(torch.uint8)[: x.numel()] >= self.below).view(x.shape)
        return x * keep.to(x.dtype).mul_(256 / (256 - self.below))


def _epoch(
    body: Body,
    optimiser: torch.optim.Optimizer,
    dataset: Dataset,
    users: np.ndarray,
    settings: SasrecSettings,
    rng: np.random.Generator,
    dtype: torch.dtype,
) -> float:
    """One pass over the users in a new order; mean loss over the steps."""
    body.train()
    losses, device = [], str(body.position.device)
    order = rng.permutation(users)
    for first in range(0, len(order), settings.batch_size):
        chosen = order[first : first + settings.batch_size]
        start, length = _windows(dataset, chosen, settings, rng)
        target, owner = _targets(dataset, chosen, start, length, settings.horizon)
        with autocast(dtype, device):
            states = body(dataset, start, length).float()
        answers = torch.from_numpy(target).to(device), torch.from_numpy(owner).to(device)
        loss = catalogue_loss(states, body.items.weight, *answers, dtype=dtype)
        optimiser.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(body.parameters(), 5.0)
        if not torch.isfinite(norm):
            optimiser.zero_grad()  # a batch that overflowed teaches nothing
        optimiser.step()
        losses.append(loss.detach())
    return float(torch.stack(losses).mean())


def _windows(
    dataset: Dataset, users: np.ndarray, settings: SasrecSettings, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """int64 (B,) each: first event of each user's window, and its events. Something follows every event of a window."""
    begin, room = dataset.start[users], np.diff(dataset.start)[users] - 1
    length = np.minimum(room, settings.max_length)
    if settings.windows == "last":
        return begin + room - length, length
    return begin + (rng.integers(0, room - length + 1) if settings.windows == "random" else 0), length


def _targets(
    dataset: Dataset, users: np.ndarray, start: np.ndarray, length: np.ndarray, horizon: int
) -> tuple[np.ndarray, np.ndarray]:
    """Of every event of every window, M in all: the items of the user's next `horizon` events, int64 (P,), and the event that
    each follows, int64 (P,), ascending in 0 ... M - 1."""
    window, place = _flat(length)
    event = start[window] + place
    owner, ahead = _flat(np.minimum(dataset.start[users + 1][window] - 1 - event, horizon))
    return dataset.item[event[owner] + ahead + 1].astype(np.int64), owner


def _flat(length: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int64 (sum,) each: group by group, the group's number and the place in the group. (2, 1) -> (0, 0, 1), (0, 1, 0)."""
    group = np.repeat(np.arange(len(length)), length)
    return group, np.arange(len(group)) - np.repeat(np.cumsum(length) - length, length)


def _packed(length: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int64 (B,) each: the row of each window and where in it the window begins. Rows are as long as the longest window, and
    each window, longest first, goes to the first row with room."""
    widest = length.max()
    room = np.full(len(length), widest)
    row, offset = np.empty(len(length), np.int64), np.empty(len(length), np.int64)
    for window in np.argsort(-length, kind="stable").tolist():
        row[window] = np.argmax(room >= length[window])
        offset[window] = widest - room[row[window]]
        room[row[window]] -= length[window]
    return row, offset


def _check(settings: SasrecSettings) -> None:
    for name in ("width", "layers", "heads", "max_length", "horizon", "batch_size", "epochs", "patience"):
        if getattr(settings, name) < 1:
            raise DataError(f"settings.{name}: expected at least 1, got {getattr(settings, name)}")
    if settings.width % settings.heads:
        raise DataError(f"settings.heads: expected a divisor of width={settings.width}, got {settings.heads}")
    if not 0 <= settings.dropout < 1:
        raise DataError(f"settings.dropout: expected 0 <= dropout < 1, got {settings.dropout}")
    if settings.windows not in ("last", "first", "random"):
        raise DataError(f"settings.windows: expected 'last', 'first' or 'random', got {settings.windows!r}")
