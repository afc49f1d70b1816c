"""A scene adapter by gradient steps, and what it is held against: the same reader trained in every other way.

`reader, zero steps` is a reader that known scenes trained, with the support users counted in its item bias, as in all arms.
From it on: LoRA from a meta-learned start; LoRA from a random one, whose rate and steps known scenes choose as they do for the
first; one LoRA of known scenes and the support users together (joint); all weights trained on the support, for as many windows
as the adapter had (continued training) or until events kept back are foretold no better (full fine-tune); and the reader
trained longer on known scenes, by what meta-learning cost. Whatever is trained is asked about the same users as every method of
`study`, after the same draws of support users.

Axis convention: `T` users who ask, `K` known scenes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from llmrec.adapters.lora import Adapter, lora_hook
from llmrec.encoder.backbone import LoraHook
from llmrec.meta.inner import Initialisation
from llmrec.metrics.bootstrap import Resampled, resampled
from llmrec.metrics.report import Result
from llmrec.progress import Stages
from studies.scenes.lora_steps import (
    LoraSettings,
    adapt_scene,
    begin_lora,
    best_steps,
    blank,
    gains_by_step,
    meta_learn,
)
from studies.scenes.places import Place
from studies.scenes.reader import Read, Reader, begin, losses
from studies.scenes.room import Room, Windows, counted, room, windows
from studies.scenes.study import META, METRIC, OURS, Found, asked, together
from studies.scenes.teaching import Source, TeachSettings, fine_tune, source, teach, teach_adapter

ZERO, RANDOM, JOINT = "reader, zero steps", "reader, LoRA from random", "reader, joint LoRA"
CONTINUED, FINE, LONGER = "reader, continued training", "reader, full fine-tune", "reader, trained longer"
FINE_ALL = "reader, full fine-tune, all users"
LARGE = 256  # more support users than these are there for the data ratio alone: drawn once, with the steps of fewer
OLD = 300  # users of each known scene, taught by nobody, who say what is forgotten


@dataclass(frozen=True)
class GradientSettings:
    """teach: of the base. lora: of adapters. rates: tried for a random start. marks: numbers of steps that are tried, upwards.
    draws, queries: episodes of each known scene in which they are, and who asks in one. joint, fine, whole: how a joint LoRA
    and all weights are trained, on support users and on all."""

    teach: TeachSettings = field(default_factory=TeachSettings)
    lora: LoraSettings = field(default_factory=LoraSettings)
    rates: tuple[float, ...] = (0.3, 1.0)
    marks: tuple[int, ...] = (3, 10, 30)
    draws: int = 1
    queries: int = 300
    joint: TeachSettings = field(default_factory=lambda: TeachSettings(60, 1e-3, items=3000))
    fine: TeachSettings = field(default_factory=lambda: TeachSettings(100, 1e-4, items=3000))
    whole: TeachSettings = field(default_factory=lambda: TeachSettings(400, 1e-4))


@dataclass(frozen=True)
class Way:
    """How far an adapter goes from where: the initialisation, and the number of steps, None for no adapter at all."""

    init: Initialisation[Adapter]
    steps: int | None


@dataclass(frozen=True)
class Known:
    """What is known when one place is left out. others: the known ones. sources: what their users took. reader, longer: the
    base, and trained by what meta-learning cost on top. meta: the learned start. old: of each known scene users who taught
    nothing."""

    place: Place
    sources: tuple[Source, ...]
    reader: Reader
    longer: Reader
    meta: Initialisation[Adapter]
    old: tuple[tuple[Room, Windows], ...]


@dataclass
class Arms:
    """Asks everybody about one place, and keeps what they said."""

    place: Place
    found: Found = field(default_factory=Found)

    def ask(self, size: int, name: str, reader: Reader, here: Room, change: LoraHook | None = None) -> None:
        """One seed more of a method."""
        self.found.add(size, name, asked(Read(reader, here, change), self.place))

    def note(self, size: int, seed: int, **said: object) -> None:
        self.found.chosen.append({"place": self.place.name, "users": size, "seed": seed, **said})


def learn(places: Mapping[str, Place], name: str, settings: GradientSettings, stages: Stages, seed: int = 0) -> Known:
    """A reader, and where its adapters start, from all places but one."""
    others = [one for key, one in places.items() if key != name]
    sources = tuple(source(room(one.world), one.world.users) for one in others)
    width = others[0].world.shelf.vectors.shape[1]
    start = begin(width, torch.Generator().manual_seed(seed))
    with stages("base", f"{settings.teach.steps} steps on {len(others)} scenes"):
        reader = teach(start, sources, settings.teach, np.random.default_rng(seed))
    more = replace(settings.teach, steps=extra_steps(settings))
    with stages("trained longer", f"{more.steps} steps"):
        longer = teach(reader, sources, more, np.random.default_rng(seed + 1))
    with stages("meta-learning", f"{settings.lora.outer.episodes} episodes"):
        meta = meta_learn(reader, [one.world for one in others], settings.lora, seed)
    old = []
    for one, known in zip(others, sources, strict=True):
        few = np.arange(min(OLD, len(one.asked)))
        old.append((known.room, windows(known.room, one.asked.take(few), one.target[few])))
    return Known(places[name], sources, reader, longer, meta, tuple(old))


def extra_steps(settings: GradientSettings) -> int:
    """Steps of the base that multiply as much as meta-learning, which reads both parts after every number of inner steps."""
    lora, base = settings.lora, settings.teach
    meta = lora.outer.episodes * (lora.steps + 1) * (lora.batch + lora.queries) * lora.items
    return round(meta / (base.batch * base.items))


def study(known: Known, sizes: Sequence[int], seeds: Sequence[int], settings: GradientSettings, stages: Stages) -> Found:
    """All arms at all sizes and seeds. `chosen` of what is found says how far each adapter went, and what was forgotten."""
    place, reader = known.place, known.reader
    world, arms, empty = place.world, Arms(place), room(place.world)
    before = old_losses(known, reader)
    with stages("all users", place.name):
        arms.ask(0, ZERO, reader, empty)
        arms.ask(0, LONGER, known.longer, empty)
        everybody = counted(empty, world.users)
        whole = fine_tune(reader, everybody, world.users, settings.whole, np.random.default_rng(0), check=25)
        arms.ask(0, FINE_ALL, whole, everybody)
        arms.note(len(world.users), 0, method=FINE_ALL, forgetting=forgotten(before, old_losses(known, whole)))
    how: dict[str, Way] | None = None
    for size in sorted(sizes):
        if size > len(world.users):
            continue
        if size <= LARGE or how is None:
            with stages("known scenes", f"steps for {size} users"):
                how, said = ways(known, size, settings)
            arms.note(size, 0, **said)
        for seed in seeds if size <= LARGE else seeds[:1]:
            users = np.random.default_rng(seed).permutation(world.users)[:size]
            with stages(f"{size} users", f"{place.name}, seed {seed}"):
                one_draw(known, arms, users, seed, how, settings, before)
    return arms.found


def one_draw(
    known: Known,
    arms: Arms,
    users: np.ndarray,
    seed: int,
    how: Mapping[str, Way],
    settings: GradientSettings,
    before: np.ndarray,
) -> None:
    """All arms of one draw of support users; `how` says of an adapter how far it goes from where."""
    reader, lora, size = known.reader, settings.lora, len(users)
    here = counted(room(known.place.world), users)
    given = source(here, users)

    def rng() -> np.random.Generator:
        return np.random.default_rng(seed)

    def forget(name: str, trained: Reader, change: LoraHook | None = None) -> None:
        if seed > 0:  # the others would say the same, and known scenes are large
            return
        arms.note(size, seed, method=name, forgetting=forgotten(before, old_losses(known, trained, change)))

    arms.ask(size, ZERO, reader, here)
    arms.ask(size, LONGER, known.longer, here)
    for name, way in how.items():
        adapter = None if way.steps is None else adapt_scene(reader, given, way.init, lora, way.steps, rng())
        arms.ask(size, name, reader, here, None if adapter is None else lora_hook(adapter))
        if name == META and adapter is not None:
            forget(f"{META}, left on", reader, lora_hook(adapter))
    joint = blank(reader, lora, torch.Generator().manual_seed(seed))
    joint = teach_adapter(reader, joint, [*known.sources, given], settings.joint, rng())
    arms.ask(size, JOINT, reader, here, lora_hook(joint))
    steps = max(how[META].steps or 0, lora.steps)
    same = replace(settings.fine, steps=steps, batch=lora.batch, items=lora.items)
    for name, trained in (
        (CONTINUED, teach(reader, [given], same, rng())),
        (FINE, fine_tune(reader, here, users, settings.fine, rng())),
    ):
        arms.ask(size, name, trained, here)
        forget(name, trained)


def ways(known: Known, size: int, settings: GradientSettings) -> tuple[dict[str, Way], dict]:
    """How far the learned start and a random one go with `size` support users, as the known scenes' queries say; and
    these."""
    lora = replace(settings.lora, users=(size, size), queries=settings.queries)
    scenes = [one.room for one in known.sources] * settings.draws
    drawn = [begin_lora(known.reader, replace(lora, rate=rate), torch.Generator().manual_seed(0)) for rate in settings.rates]
    found = [gains_by_step(known.reader, scenes, init, lora, settings.marks, size) for init in (known.meta, *drawn)]
    best = 1 + int(np.argmax([one.mean(0).max() for one in found[1:]]))
    meta, random = best_steps(found[0], settings.marks), best_steps(found[best], settings.marks)
    said = {
        "meta steps": meta,
        "random steps": random,
        "random rate": settings.rates[best - 1],
        "gains": [np.round(one.mean(0), 4).tolist() for one in found],
    }
    return {META: Way(known.meta, meta), RANDOM: Way(drawn[best - 1], random)}, said


def old_losses(known: Known, reader: Reader, change: LoraHook | None = None) -> np.ndarray:
    """float64 (K,): what the known scenes' other users lose, in nats."""
    with torch.no_grad():
        return np.array([float(losses(reader, one, asks, change).mean()) for one, asks in known.old])


def forgotten(before: np.ndarray, after: np.ndarray) -> float:
    """Relative change of the loss on known scenes, their mean; above zero is forgotten."""
    return float(np.mean(after / before - 1))


def across(found: Mapping[str, Found], rng: np.random.Generator, benchmark: str) -> list[Result]:
    """The aim from one size to another: meta-LoRA with 64 users less joint LoRA with 256, paired, in each scene and on
    average."""
    drawn: dict[str, Mapping[str, Resampled]] = {}
    for name, one in found.items():
        few, many = one.values.get(64, {}).get(META), one.values.get(256, {}).get(JOINT)
        if few is not None and many is not None:
            drawn[name] = resampled({META: np.stack(few), JOINT: np.stack(many)}, rng)
    if len(drawn) > 1:
        drawn[f"mean of {len(drawn)}"] = together(list(drawn.values()))
    rows = []
    for name, here in drawn.items():
        less = here[META].minus(here[JOINT]).interval()
        setting = f"{name}, 64 users against 256"
        rows.append(
            Result(benchmark, META, "ours", setting, METRIC, less.value, less.low, less.high, JOINT, less.n, None, None)
        )
    return rows


def data_ratio(found: Mapping[str, Found]) -> list[dict]:
    """What the whole scene's full fine-tuning reaches, and how many users an adapter needs for as much, by gradient steps and
    as `choose` has it: between two sizes by the logarithm of users; None where the largest falls short, and where the goal is
    no mark, because training on all users fell below the reader's own `start` without any."""
    lines = []
    for name, one in found.items():
        if FINE_ALL not in one.values.get(0, {}):
            continue
        goal, start = (float(np.mean(one.values[0][name])) for name in (FINE_ALL, ZERO))
        whole = next(line["users"] for line in one.chosen if line.get("method") == FINE_ALL)
        for method in (META, OURS):
            sizes = sorted(size for size, methods in one.values.items() if method in methods)
            reached = [float(np.mean(one.values[size][method])) for size in sizes]
            needed = users_needed(sizes, reached, goal) if goal > start else None
            if sizes:
                line = {"place": name, "method": method, "all users": whole, "start": start, "goal": goal}
                lines.append({**line, "sizes": sizes, "reached": reached, "needed": needed})
    return lines


def users_needed(sizes: Sequence[int], reached: Sequence[float], goal: float) -> int | None:
    """The first number of users, straight in its logarithm between two sizes, with which `goal` is reached."""
    for place, (size, value) in enumerate(zip(sizes, reached, strict=True)):
        if value < goal:
            continue
        if place == 0:
            return size
        share = (goal - reached[place - 1]) / (value - reached[place - 1])
        return round(float(np.exp(np.log(sizes[place - 1]) + share * np.log(size / sizes[place - 1]))))
    return None
