"""Meta-learning over known scenes: mixes fitted by softmax on episodes; adaptation methods are compared on held-out scenes.

Axis convention: `W` known scenes, `S` support sizes, `D` designs, `T` tasks, `C` candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from llmrec.data.numbers import check_number, check_whole
from llmrec.errors import DataError
from llmrec.progress import bar
from llmrec.scenes.learned import DESIGNS, ZERO, Design, Learned, Mixes, designs_over, zero_over
from llmrec.scenes.mix import CLIP, Mix, slopes
from llmrec.scenes.stepping import stepped
from llmrec.scenes.worlds import Episode, Moments, World, episode, ground, moments, parts


@dataclass(frozen=True)
class MixSettings:
    """bends: beside the straight line. steps, rate: of AdamW. decay: weight decay. batch: tasks of each scene a step."""

    bends: int = 16
    steps: int = 160
    rate: float = 2e-2
    decay: float = 1e-2
    batch: int = 32


@dataclass(frozen=True)
class LearnSettings:
    """sizes: support users. draws: episodes of each size and scene. queries: query users of an episode. parts: scenes made
    within each, of `items` items and with at least `users` users; an episode of each size in every one."""

    sizes: tuple[int, ...] = (16, 64, 256)
    draws: int = 3
    queries: int = 250
    parts: int = 0
    items: tuple[int, int] = (1000, 4000)
    users: int = 800
    mix: MixSettings = MixSettings()


def check_ranges(settings: LearnSettings) -> None:
    """Raises DataError, naming the field, for a number that nothing can be learned with."""
    sizes: object = settings.sizes  # a table of settings may hold anything
    if not (isinstance(sizes, (tuple, list)) and len(sizes)):
        raise DataError(f"LearnSettings.sizes is {sizes!r}; expected numbers of support users, such as (16, 64)")
    for place, size in enumerate(settings.sizes):
        check_whole(f"LearnSettings.sizes[{place}]", size, 1)
    if any(one >= other for one, other in pairwise(settings.sizes)):
        raise DataError(f"LearnSettings.sizes is {sizes!r}; expected ascending numbers, each once; sort them")
    check_whole("LearnSettings.draws", settings.draws, 1)
    check_whole("LearnSettings.queries", settings.queries, 1)
    check_whole("LearnSettings.parts", settings.parts, 0)
    check_whole("LearnSettings.items[0]", settings.items[0], 1)
    check_whole("LearnSettings.items[1]", settings.items[1], settings.items[0])
    check_whole("LearnSettings.users", settings.users, 1)
    check_whole("MixSettings.bends", settings.mix.bends, 0)
    check_whole("MixSettings.steps", settings.mix.steps, 0)
    check_whole("MixSettings.batch", settings.mix.batch, 1)
    check_number("MixSettings.rate", settings.mix.rate, 0, above=True)
    check_number("MixSettings.decay", settings.mix.decay, 0)


def learn(worlds: Sequence[World], rng: np.random.Generator, settings: LearnSettings = LearnSettings()) -> Learned:
    """Everything that scenes to come begin with, from known scenes alone; two at least, for each is left out once.

    In its own episodes a scene is met on the ground of all others. Meta-validation fits the mixes without the scene as well.
    """
    return _learn(worlds, rng, settings, left_out=False)[0]


def learn_with_left_out(
    worlds: Sequence[World], rng: np.random.Generator, settings: LearnSettings = LearnSettings()
) -> tuple[Learned, tuple[Learned, ...]]:
    """The same, and for each of the W scenes what all others teach, as meta-validation had it."""
    return _learn(worlds, rng, settings, left_out=True)


def _learn(
    worlds: Sequence[World], rng: np.random.Generator, settings: LearnSettings, left_out: bool
) -> tuple[Learned, tuple[Learned, ...]]:
    if len(worlds) < 2:
        raise DataError(f"worlds: expected two known scenes or more, got {len(worlds)}; cut one into parts with `parts`")
    known, shelf = [moments(world) for world in worlds], worlds[0].shelf
    played = [play(worlds, known, place, rng, settings) for place in range(len(worlds))]
    return _learn_from(known, played, rng, settings, zero_over(shelf.zero), designs_over(shelf.base), left_out)


def play(
    worlds: Sequence[World], known: Sequence[Moments], place: int, rng: np.random.Generator, settings: LearnSettings
) -> list[list[Episode]]:
    """Episodes of one scene, of each size, on the ground of the others."""
    others = ground([one for other, one in enumerate(known) if other != place])
    scenes = [worlds[place]] * settings.draws + parts(worlds[place], settings.parts, settings.items, rng, settings.users)
    return [
        [
            episode(scene, others, size, settings.queries, rng, number < settings.draws)
            for number, scene in enumerate(bar(scenes, desc="episodes"))
        ]
        for size in settings.sizes
    ]


def learn_from(
    known: Sequence[Moments],
    played: Sequence[list[list[Episode]]],
    rng: np.random.Generator,
    settings: LearnSettings,
    nobody: Design = ZERO,
    designs: tuple[Design, ...] = DESIGNS,
) -> Learned:
    """The same from the scenes' moments and episodes, W of each. nobody: zero steps. designs: D."""
    return _learn_from(known, played, rng, settings, nobody, designs, left_out=False)[0]


def _learn_from(
    known: Sequence[Moments],
    played: Sequence[list[list[Episode]]],
    rng: np.random.Generator,
    settings: LearnSettings,
    nobody: Design,
    designs: tuple[Design, ...],
    left_out: bool,
) -> tuple[Learned, tuple[Learned, ...]]:
    """What all scenes teach, and if `left_out` for each of the W scenes what the others do; () if not."""
    seed, sizes = int(rng.integers(1 << 31)), settings.sizes

    def fitted(scenes: Sequence[list[list[Episode]]], some: tuple[Design, ...] = designs) -> Mixes:
        zero = fit_mix([[one for size in scene for one in size] for scene in scenes], nobody, settings.mix, seed)
        rows = []
        for s in range(len(sizes)):
            by_columns = {
                one.columns: fit_mix([scene[s] for scene in scenes], one, settings.mix, seed) for one in some if not one.steps
            }
            rows.append(tuple(by_columns[one.columns] for one in some))  # steps begin at the mix of the same columns
        return Mixes(zero, tuple(rows))

    gains, errors = np.zeros((2, len(played), len(sizes), len(designs)))
    visits = [[[one.first for one in size if one.first is not None] for size in scene] for scene in played]
    asked = [place for place, scene in enumerate(visits) if all(scene)]
    better, without = [], []
    for left in bar(range(len(played)), desc="meta-validation"):
        mixes = fitted([scene for place, scene in enumerate(played) if place != left])
        without.append(mixes)
        for s in range(len(sizes)):
            whole = played[left][s][: settings.draws]  # parts teach; a few users say more of a part than of a whole scene
            for d, (design, mix) in enumerate(zip(designs, mixes.by_size[s], strict=True)):
                gained = adapted_worth(design, mix, whole) - worth(mixes.zero, whole)
                gains[left, s, d], errors[left, s, d] = gained.mean(), gained.std() / np.sqrt(len(gained))
        if left in asked and len(asked) > 1:
            newcomers = fitted([visits[place] for place in asked if place != left], designs[:1])
            better.append(first_gains(newcomers, mixes, visits[left]))
    gains_first = np.mean(better, 0) > 0 if better else np.zeros(0, bool)

    def learned(later: Mixes, left: int | None) -> Learned:
        some = [place for place in range(len(played)) if place != left]
        first, there = None, [visits[place] for place in asked if place != left]
        if gains_first.any() and there:
            first = first_or_later(fitted(there), later, gains_first)
        found = gains[some].mean(0), spread_of(gains[some], errors[some])
        return Learned(ground([known[place] for place in some]), designs, sizes, later, first, *found)

    others = tuple(learned(mixes, left) for left, mixes in enumerate(without if left_out else ()))
    return learned(fitted(played), None), others


def first_gains(first: Mixes, later: Mixes, visits: list[list[Episode]]) -> np.ndarray:
    """float64 (1 + S,): nats an event that `first` gains over `later` on the first visits of a scene: by zero steps, and with
    support users of each size by the first design."""
    pairs = [(first.zero, later.zero), *((one[0], other[0]) for one, other in zip(first.by_size, later.by_size, strict=True))]
    episodes = [[one for size in visits for one in size], *visits]
    return np.array(
        [(worth(one, some) - worth(other, some)).mean() for (one, other), some in zip(pairs, episodes, strict=True)]
    )


def first_or_later(first: Mixes, later: Mixes, better: np.ndarray) -> Mixes:
    """`first` where it is better, bool (1 + S,), as of `first_gains`, and `later` elsewhere."""
    rows = zip(first.by_size, later.by_size, better[1:], strict=True)
    return Mixes(first.zero if better[0] else later.zero, tuple(one if gains else other for one, other, gains in rows))


def spread_of(gains: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """float64 (S, D): how far the gain of one scene more may lie from the mean of those measured, float64 (W, S, D), each with
    its standard error. A few scenes may agree by chance, but no better than each of them is known."""
    between = gains.var(0, ddof=1) if len(gains) > 1 else gains[0] ** 2
    within = (errors**2).mean(0)
    return np.sqrt(np.maximum(np.maximum(between, within) * (1 + 1 / len(gains)), 1e-12))


def fit_mix(scenes: Sequence[Sequence[Episode]], design: Design, settings: MixSettings, seed: int) -> Mix:
    """A mix of the design's columns by softmax over candidates; every scene weighs the same in every step."""
    inputs = [np.concatenate([one.columns(design.columns) for one in scene]) for scene in scenes]
    offsets = [np.concatenate([one.offset for one in scene]) for scene in scenes]
    mean = np.mean([part.mean((0, 1)) for part in inputs], axis=0).astype(np.float32)
    spread = np.mean([part.std((0, 1)) for part in inputs], axis=0).astype(np.float32)
    spread[spread < 1e-6] = 1.0
    ready = [np.clip((part - mean) / spread, -CLIP, CLIP) for part in inputs]
    draw = np.random.default_rng(seed)
    width, bends = len(design.columns), 0 if design.straight else settings.bends
    bend = draw.normal(0, width**-0.5, (width, bends)).astype(np.float32)
    weights = [np.zeros(width, np.float32), bend, np.zeros(bends, np.float32), np.zeros(bends, np.float32)]
    moving = [(np.zeros_like(weight), np.zeros_like(weight)) for weight in weights]
    for step in range(settings.steps):
        total = [np.zeros_like(weight) for weight in weights]
        for part, offset in zip(ready, offsets, strict=True):
            rows = draw.integers(0, len(part), settings.batch)
            for sum_, gradient in zip(total, slopes(weights, part[rows], offset[rows]), strict=True):
                sum_ += gradient
        rate = settings.rate * (1 - step / settings.steps)
        for weight, gradient, (first, second) in zip(weights, total, moving, strict=True):  # AdamW, in place
            weight *= 1 - rate * settings.decay
            first += 0.1 * (gradient - first)
            second += 0.001 * (gradient**2 - second)
            unbiased = np.sqrt(second / (1 - 0.999 ** (step + 1))) + 1e-8
            weight -= rate * first / (1 - 0.9 ** (step + 1)) / unbiased
    return Mix(design.columns, mean, spread, *weights)


def adapted_worth(design: Design, mix: Mix, episodes: Sequence[Episode]) -> np.ndarray:
    """float64 (T,): `worth` of every episode under the mix that its scene would have: of a design with steps its own.

    Raises DataError for a design with steps where an episode does not hold the support's own events.
    """
    if not design.steps:
        return worth(mix, episodes)
    found = []
    for one in episodes:
        if one.own is None:
            raise DataError(f"episodes: expected the support's own events for {design.name!r}, got none; pass own=True")
        found.append(worth(stepped(mix, one.own), [one]))
    return np.concatenate(found)


def worth(mix: Mix, episodes: Sequence[Episode]) -> np.ndarray:
    """float64 (T,): log probability of the right item of every task, in nats."""
    found = []
    for one in episodes:
        columns = dict(zip(mix.names, np.moveaxis(one.columns(mix.names), 2, 0), strict=True))
        score = mix(columns).astype(np.float64) + one.offset
        top = score.max(1)
        found.append(score[:, 0] - top - np.log(np.exp(score - top[:, None]).sum(1)))
    return np.concatenate(found)
