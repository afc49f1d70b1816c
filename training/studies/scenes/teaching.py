"""Base training of a reader: known scenes in their turn, by a softmax over each one's items.

Whatever is trained here is trained by the same few lines: the base, full fine-tuning on support users, and continued training.

Axis convention: `T` windows, `M` items of a scene.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from llmrec.adapters.lora import Adapter, lora_hook
from llmrec.data.tasks import Tasks
from llmrec.encoder.backbone import LoraHook
from studies.scenes.reader import Reader, losses
from studies.scenes.room import Room, Windows, asks, windows


class Batch(Protocol):
    """What a step draws: windows, and items at most."""

    @property
    def batch(self) -> int: ...
    @property
    def items(self) -> int: ...


@dataclass(frozen=True)
class TeachSettings:
    """steps, rate: of Adam, whose rate falls to zero. batch: windows a step. items: places of a softmax at most, drawn anew
    each step where a scene has more."""

    steps: int = 400
    rate: float = 1e-4
    batch: int = 128
    items: int = 4000


@dataclass(frozen=True)
class Source:
    """What a scene's users took: a room, tasks (T,) and their items, int64 (T,)."""

    room: Room
    tasks: Tasks
    target: np.ndarray

    def __len__(self) -> int:
        return len(self.target)

    def draw(self, count: int, rng: np.random.Generator) -> Windows:
        """`count` windows by chance; all of them, each once, where there are no more."""
        rows = rng.integers(0, len(self), count) if len(self) > count else np.arange(len(self))
        return windows(self.room, self.tasks.take(rows), self.target[rows])


def source(room: Room, users: np.ndarray) -> Source:
    """Of some users of the room's world."""
    return Source(room, *asks(room.world, users))


def drawn_loss(
    reader: Reader, one: Source, rng: np.random.Generator, settings: Batch, change: LoraHook | None = None
) -> Tensor:
    """(): mean loss of windows drawn by chance, among items drawn by chance."""
    asked = one.draw(settings.batch, rng)
    only = some(len(one.room.items), settings.items, asked, rng)
    return losses(reader, one.room, asked, change, only).mean()


def some(places: int, most: int, asked: Windows, rng: np.random.Generator) -> Tensor | None:
    """Places of a softmax, ascending, with all targets; None where all are taken."""
    if places <= most:
        return None
    return torch.from_numpy(np.union1d(rng.integers(0, places, most), asked.target.numpy()))


def teach(
    reader: Reader,
    sources: Sequence[Source],
    settings: TeachSettings,
    rng: np.random.Generator,
    watch: Callable[[int, Reader], bool] | None = None,
) -> Reader:
    """A reader all of whose weights were trained; the one that was given stays as it is.

    watch: told the number of steps made and the reader so far before each step; whether to stop there.
    """
    names = list(reader.weights)

    def of(tensors: list[Tensor]) -> Reader:
        return replace(reader, weights=dict(zip(names, tensors, strict=True)))

    def loss(tensors: list[Tensor], one: Source) -> Tensor:
        return drawn_loss(of(tensors), one, rng, settings)

    stop = None if watch is None else lambda step, tensors: watch(step, of(tensors))
    return of(_descend(list(reader.weights.values()), loss, sources, settings, rng, stop))


def teach_adapter(
    reader: Reader, adapter: Adapter, sources: Sequence[Source], settings: TeachSettings, rng: np.random.Generator
) -> Adapter:
    """An adapter trained in the same way, the reader staying as it is."""

    def loss(tensors: list[Tensor], one: Source) -> Tensor:
        return drawn_loss(reader, one, rng, settings, lora_hook(adapter.with_leaves(tensors)))

    return adapter.with_leaves(_descend(adapter.leaves(), loss, sources, settings, rng))


def fine_tune(
    reader: Reader,
    here: Room,
    users: np.ndarray,
    settings: TeachSettings,
    rng: np.random.Generator,
    check: int = 10,
    patience: int = 2,
) -> Reader:
    """All weights trained on three of four of a room's support `users`, until what the fourth takes is foretold no better.

    check, patience: steps between two looks at what is kept back, and looks without gain after which training stops. The best
    reader of those looked at is given back, which may be the one that was given.
    """
    order = rng.permutation(users)
    kept, rest = np.split(order, [max(len(order) // 4, 1)])
    held, given = source(here, kept[:250]), source(here, rest)
    if len(held) == 0 or len(given) == 0:
        return reader
    asks, best, since = held.draw(300, rng), (float("inf"), reader), 0

    def stop(step: int, live: Reader) -> bool:
        nonlocal best, since
        if step % check:
            return False
        with torch.no_grad():
            loss = float(losses(live, here, asks).mean())
        best, since = ((loss, frozen(live)), 0) if loss < best[0] else (best, since + 1)
        return since >= patience

    stop(0, teach(reader, [given], settings, rng, stop))
    return best[1]


def _descend(
    start: list[Tensor],
    loss: Callable[[list[Tensor], Source], Tensor],
    sources: Sequence[Source],
    settings: TeachSettings,
    rng: np.random.Generator,
    stop: Callable[[int, list[Tensor]], bool] | None = None,
) -> list[Tensor]:
    live = [tensor.detach().clone().requires_grad_() for tensor in start]
    turn, optimiser = turns(len(sources), rng), torch.optim.Adam(live, settings.rate)
    for step in range(settings.steps):
        if stop is not None and stop(step, live):
            break
        for group in optimiser.param_groups:
            group["lr"] = settings.rate * (1 - step / settings.steps)
        optimiser.zero_grad()
        loss(live, sources[next(turn)]).backward()
        torch.nn.utils.clip_grad_norm_(live, 1.0)
        optimiser.step()
    return [tensor.detach() for tensor in live]


def frozen(reader: Reader) -> Reader:
    """Copies of the weights, outside of any graph."""
    return replace(reader, weights={name: weight.detach().clone() for name, weight in reader.weights.items()})


def turns(count: int, rng: np.random.Generator) -> Iterator[int]:
    """Numbers below `count`, each once in every round, in an order drawn anew."""
    while True:
        yield from rng.permutation(count).tolist()
