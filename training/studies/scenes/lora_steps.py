"""A scene's adapter by gradient steps: LoRA on a reader's item projection and on its block, from a meta-learned start.

What `few.py` reaches in closed form is here reached by the inner loop of `meta.inner`, from an initialisation and with rates
that `meta.outer` learned over hundreds of scenes made within known ones (first-order MAML with the multi-step loss and learned
rates of MAML++). In an episode some users of a scene are the support, and the next events of others the query. An adapter is a
value of its own: the reader, and every other scene, stays as it is.

Axis convention: `T` windows, `M` items of a scene, `d` width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from llmrec.adapters.lora import Adapter, init_lora, lora_hook
from llmrec.meta.inner import Initialisation, adapt, initialisation, trajectory
from llmrec.meta.outer import Episode, OuterSettings, meta_train
from llmrec.scenes.worlds import World, last_steps, parts, right
from studies.scenes.reader import Reader, gains, losses
from studies.scenes.room import Room, Windows, counted, room, windows
from studies.scenes.teaching import Source, drawn_loss, some, source

PATHS = ("item", "value", "up", "down")


@dataclass(frozen=True)
class LoraSettings:
    """rank, scale: of the adapter. start: deviation of B, above zero where A is to be learned. steps, rate, clip: of the inner
    loop at first. batch: support windows of a step. queries: users who ask. items: places of a softmax at most. paths: the
    layers. parts: scenes made within each known one, of `sizes` items with `least` users at least. users: support users of an
    episode, log-uniformly between. outer: of the outer loop."""

    rank: int = 8
    scale: float = 1.0
    start: float = 1e-3
    steps: int = 4
    rate: float = 0.5
    clip: float = 1.0
    batch: int = 128
    queries: int = 128
    items: int = 3000
    paths: tuple[str, ...] = PATHS
    parts: int = 50
    sizes: tuple[int, int] = (500, 3000)
    least: int = 400
    users: tuple[int, int] = (16, 256)
    outer: OuterSettings = field(default_factory=lambda: OuterSettings(episodes=100, learning_rate=1e-4))


def blank(reader: Reader, settings: LoraSettings, generator: torch.Generator, start: float = 0.0) -> Adapter:
    """An adapter of the reader's layers from a random A and a B of deviation `start`; 0 changes nothing."""
    layers = {path: reader.layers[path] for path in settings.paths}
    return init_lora(layers, settings.rank, settings.scale, generator, start)


def begin_lora(
    reader: Reader, settings: LoraSettings, generator: torch.Generator, start: float = 0.0
) -> Initialisation[Adapter]:
    """A random start with one rate for all layers and steps, to be used as it is or learned from."""
    return initialisation(blank(reader, settings, generator, start), settings.steps, settings.rate, max_grad_norm=settings.clip)


def scenes_within(worlds: Sequence[World], settings: LoraSettings, rng: np.random.Generator) -> list[Room]:
    """Rooms to meta-learn in: parts of known worlds, and each itself. Where a world is a part of its catalogue already, its
    parts are some of its items, a quarter at least, and whole histories are read as they are in it."""
    found: list[Room] = []
    for world in worlds:
        if world.shelf.among.all():
            least = min(settings.least, len(world.users) // 3)
            made = parts(world, settings.parts, settings.sizes, rng, least, crowd=False)
        else:
            made = [_some_items(world, rng) for _ in range(settings.parts)]
        found += [room(one) for one in (world, *made)]
    return found


def _some_items(world: World, rng: np.random.Generator) -> World:
    items = world.shelf.items
    many = int(rng.integers(max(len(items) // 4, 1), len(items) + 1))
    near = world.shelf.vectors[items] @ world.shelf.vectors[rng.choice(items)]
    among = np.zeros(len(world.shelf.among), bool)
    among[items[np.argsort(-near)[:many]]] = True
    return replace(world, shelf=world.shelf.part(among, crowd=False))


@dataclass(frozen=True)
class Played:
    """A scene's support, in a room that counts it, and the query of others."""

    room: Room
    support: Source
    query: Windows


def play(scene: Room, settings: LoraSettings, rng: np.random.Generator) -> Played:
    """How many users are the support is drawn log-uniformly; of the others `queries` are asked for their last basket; no user
    is both."""
    low, high = settings.users
    users = rng.permutation(scene.world.users)
    size = min(round(np.exp(rng.uniform(np.log(low), np.log(high)))), len(users) // 2)
    here = counted(scene, users[:size])
    asked = last_steps(scene.world.dataset, users[size : size + settings.queries], scene.world.shelf.among)
    return Played(here, source(here, users[:size]), windows(here, asked, right(asked, scene.world.shelf.among, rng)))


def episode(reader: Reader, played: Played, settings: LoraSettings, rng: np.random.Generator) -> Episode[Adapter]:
    """Both losses under any adapter; the support's windows are drawn anew each time."""
    only = some(len(played.room.items), settings.items, played.query, rng)

    def both(adapter: Adapter) -> tuple[Tensor, Tensor]:
        change = lora_hook(adapter)
        after = losses(reader, played.room, played.query, change, only).mean()
        return drawn_loss(reader, played.support, rng, settings, change)[None], after[None]

    return Episode(1, both)


def episodes(
    reader: Reader, scenes: Sequence[Room], settings: LoraSettings, rng: np.random.Generator
) -> Iterator[Episode[Adapter]]:
    """Scenes by chance without end; where nothing can be asked, another is drawn."""
    while True:
        played = play(scenes[int(rng.integers(len(scenes)))], settings, rng)
        if len(played.support) and len(played.query):
            yield episode(reader, played, settings, rng)


def meta_learn(reader: Reader, worlds: Sequence[World], settings: LoraSettings, seed: int) -> Initialisation[Adapter]:
    """Where a new scene's adapter starts, and the rates of its steps."""
    rng = np.random.default_rng(seed)
    init = begin_lora(reader, settings, torch.Generator().manual_seed(seed), settings.start)
    return meta_train(init, episodes(reader, scenes_within(worlds, settings, rng), settings, rng), settings.outer)


def adapt_scene(
    reader: Reader, given: Source, init: Initialisation[Adapter], settings: LoraSettings, steps: int, rng: np.random.Generator
) -> Adapter:
    """The adapter of a scene after `steps` gradient steps on what its support users took; zero steps is the initialisation.

    given: the support's, of a room that counts it. A scene whose support asks for nothing stays where it started.
    """
    if len(given) == 0:
        return init.adapter.detach()

    def support(adapter: Adapter) -> Tensor:
        return drawn_loss(reader, given, rng, settings, lora_hook(adapter))[None]

    return adapt(init, support, 1, steps)


def gains_by_step(
    reader: Reader,
    scenes: Sequence[Room],
    init: Initialisation[Adapter],
    settings: LoraSettings,
    marks: Sequence[int],
    seed: int,
) -> np.ndarray:
    """float64 (scenes, 1 + marks): mean gain of the query in each known scene, `reader.gains`, without an adapter first, then
    after each number of steps of `marks`, which ascend. A seed draws the same users whatever the initialisation."""
    found = []
    for number, scene in enumerate(scenes):
        played = play(scene, settings, np.random.default_rng([seed, number]))
        made = episode(reader, played, settings, np.random.default_rng([seed, number]))
        row = [_gain(reader, played, None)]
        path = trajectory(init, partial(_support_loss, made), made.tasks, marks[-1])
        row += [_gain(reader, played, theta.detach()) for k, theta in enumerate(path) if k in marks]
        found.append(row)
    return np.array(found)


def _support_loss(made: Episode[Adapter], theta: Adapter) -> Tensor:
    return made.loss(theta)[0]


def best_steps(gains: np.ndarray, marks: Sequence[int]) -> int | None:
    """The number of steps that known scenes prefer on average, each weighing the same; None for no adapter at all."""
    best = int(gains.mean(0).argmax())
    return None if best == 0 else marks[best - 1]


def _gain(reader: Reader, played: Played, adapter: Adapter | None) -> float:
    with torch.no_grad():
        return float(gains(reader, played.room, played.query, None if adapter is None else lora_hook(adapter)).mean())
