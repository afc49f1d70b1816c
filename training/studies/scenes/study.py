"""New scenes: each is left out in turn, learned about from the others, and adapted to 16, 64 or 256 of its users.

Declared before test was looked at: the primary cell, beauty left out with 64 support users, ours against the best control of
that cell; the aims; and that every constant and every design is chosen on scenes that are not left out. A seed draws the
support users; who asks is the same in every seed. Axis convention: `S` seeds, `T` users who ask.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from llmrec.data.dataset import Dataset
from llmrec.data.tasks import Tasks
from llmrec.metrics.bootstrap import Interval, Resampled, resampled
from llmrec.metrics.report import Result
from llmrec.models.counts import support_counts
from llmrec.progress import Stages, bar
from llmrec.scenes.choosing import choose
from llmrec.scenes.learned import DESIGNS, Learned
from llmrec.scenes.learning import LearnSettings, learn_from, play
from llmrec.scenes.opening import Scene, adapt, scores_of, zero_shot
from llmrec.scenes.worlds import Episode, Moments, World, last_steps, moments, right
from studies.scenes import arms
from studies.scenes.arms import Arm
from studies.scenes.mixture import Mixture, by_likeness
from studies.scenes.places import Place

METRIC = "ndcg@10"
PRIMARY = ("beauty, 64 users", METRIC)
AIMS = {64: 1.08, 256: 1.15}  # times the best control
OURS, BENT = "llmrec, chosen", "llmrec, {}"
SWAPPED = "llmrec, another's customers"
META = "reader, meta-LoRA"  # by gradient steps; what it is held against is in `gradient`
ORACLE = "llmrec, all users"
FULL, STEPPED = BENT.format(DESIGNS[2].name), BENT.format(DESIGNS[3].name)
JOINT = "joint, {} users"  # one adapter for all scenes, at other sizes
MIXTURES = (("uniform mixture", 0.0), ("mixture by likeness", 4.0), ("nearest scene", float("inf")))
_TASKS = 128


@dataclass(frozen=True)
class Left:
    """What is known when one place is left out. others: the known ones. played: their episodes."""

    place: Place
    others: tuple[Place, ...]
    known: tuple[Moments, ...]
    played: tuple[list[list[Episode]], ...]
    learned: Learned


@dataclass
class Found:
    """Values float64 (S, T) by support size and method; size 0 holds what needs no support users. chosen: what `choose` did."""

    values: dict[int, dict[str, list[np.ndarray]]] = field(default_factory=dict)
    chosen: list[dict] = field(default_factory=list)

    def add(self, size: int, method: str, values: np.ndarray) -> None:
        """One seed more."""
        self.values.setdefault(size, {}).setdefault(method, []).append(values)


def leave_out(places: Mapping[str, Place], name: str, settings: LearnSettings, seed: int) -> Left:
    """Learn from all places but one."""
    others = tuple(one for key, one in places.items() if key != name)
    worlds, rng = [one.world for one in others], np.random.default_rng(seed)
    known = tuple(moments(world) for world in worlds)
    played = tuple(play(worlds, known, place, rng, settings) for place in range(len(worlds)))
    return Left(places[name], others, known, played, learn_from(known, played, rng, settings))


def study(left: Left, sizes: Sequence[int], seeds: Sequence[int], settings: LearnSettings, stages: Stages) -> Found:
    """All methods at all sizes and seeds, asked about the place that was left out."""
    found, place = Found(), left.place
    world, scene = place.world, zero_shot(left.learned, place.world.shelf)
    with stages("known scenes", place.name):
        for name, arm in beginnings(left, scene, settings).items():
            found.add(0, name, asked(arm, place))
    straight = zero_shot(arms.with_mixes(left.learned, arms.straight(left.played, len(settings.sizes), 0)), world.shelf)
    with stages("all users", place.name):
        oracle = adapt(scene, world.dataset, world.users, 3, world.again, np.random.default_rng(0))
        found.add(0, "item kNN, all users", asked(arms.knn(world.dataset, world.users, 0.8, world.again), place))
    scenes: dict[tuple[int, str], list[Scene]] = {(0, "zero steps"): [scene], (0, ORACLE): [oracle]}
    for size in sizes:
        constants = choose_constants(left, size)
        for seed in seeds:
            users = np.random.default_rng(seed).permutation(world.users)[:size]
            with stages(f"{size} users", f"{place.name}, seed {seed}"):
                for name, counted in arms.counting(world.dataset, users, *constants, again=world.again).items():
                    found.add(size, name, asked(counted, place))
                made, said = adapted(left, scene, straight, users, seed)
                for name, one in made.items():
                    scenes.setdefault((size, name), []).append(one)
                found.chosen.append({"place": place.name, "users": size, "seed": seed, **said})
    with stages("ask", f"{len(place.asked):,} users of {place.name}"):
        values = iter(asked_together([one for several in scenes.values() for one in several], place))
        for (size, name), several in scenes.items():
            for _ in several:
                found.add(size, name, next(values))
    return found


def adapted(left: Left, scene: Scene, straight: Scene, users: np.ndarray, seed: int) -> tuple[dict[str, Scene], dict]:
    """Every scene that is made of one draw of support users, and what `choose` went by.

    For SWAPPED the same users took other items: the items of the scene are permuted, and the design is chosen anew.
    """
    world = left.place.world
    whole = adapt(scene, world.dataset, users, 2)
    chosen = choose(scene, world.dataset, users, np.random.default_rng(seed), world.again)
    made = {
        "joint": zero_shot(arms.joint(left.learned, left.known, world, users), world.shelf),
        "target only": adapt(arms.target_only(scene, world, users, seed), world.dataset, users, 0),
        "zero steps and both, straight": replace(straight, few=whole.few, design=0),
        BENT.format(DESIGNS[1].name): replace(whole, design=1),
        FULL: whole,
        STEPPED: adapt(scene, world.dataset, users, 3, world.again, np.random.default_rng(seed)),
        OURS: chosen.scene,
        SWAPPED: choose(scene, swapped(world, seed), users, np.random.default_rng(seed), world.again).scene,
    }
    evidence = {name: np.round(getattr(chosen, name), 4).tolist() for name in ("known", "held", "error", "expected")}
    return made, {"chosen": chosen.scene.name, **evidence}


def swapped(world: World, seed: int) -> Dataset:
    """The same events, but of other items of the scene: each stands for another one; items outside stay."""
    place = np.arange(world.dataset.n_items)
    order = np.random.default_rng((seed, len(world.shelf.items))).permutation(world.shelf.items)
    place[order] = np.roll(order, 1)  # no item stays in its place
    return replace(world.dataset, item=place[world.dataset.item].astype(world.dataset.item.dtype))


def beginnings(left: Left, scene: Scene, settings: LearnSettings) -> dict[str, Arm]:
    """What else can be asked before anybody is known: mixtures of what single known scenes would answer, and counts carried."""
    singles = tuple(zero_shot(arms.of_one(left.learned, one, settings.mix, 0), scene.shelf) for one in left.played)
    centres, found = np.stack([one.centre for one in left.others]), {}
    for name, sharpness in MIXTURES:
        weights = by_likeness(left.place.centre, centres, sharpness)
        used = np.flatnonzero(weights)
        found[name] = Mixture(tuple(singles[k] for k in used), weights[used])
    return {**found, "popularity of similar items": arms.carried([one.world for one in left.others], scene.shelf)}


def choose_constants(left: Left, size: int) -> tuple[float, float]:
    """Ridge of EASE, and what a history loses per basket back, as they do best in the known scenes with as many support
    users."""
    total = {(ridge, decay): 0.0 for ridge in arms.RIDGES for decay in arms.DECAYS}
    for other in left.others:
        world = other.world
        users = np.random.default_rng(size).permutation(world.users)
        tasks = last_steps(world.dataset, users[size : size + 500], world.shelf.among)
        target = right(tasks, world.shelf.among, np.random.default_rng(size))
        for ridge, decay in total:
            ease = arms.fit_few_ease(world.dataset, users[:size], ridge, decay)
            total[ridge, decay] += gained(ease, world, tasks, target).mean()
    return max(total, key=lambda key: total[key])


def asked(arm: Arm, place: Place) -> np.ndarray:
    """float64 (T,): NDCG@10 of everybody who asks."""
    return gained(arm, place.world, place.asked, place.target)


def asked_together(scenes: Sequence[Scene], place: Place) -> np.ndarray:
    """float64 (scenes, T): the same of many scenes over one shelf, which read a history once."""
    found = np.empty((len(scenes), len(place.asked)))
    for rows in bar(list(_blocks(len(place.asked))), desc=f"{len(scenes)} scenes"):
        part = place.asked.take(rows)
        barred = _barred(place.world, part)
        for number, score in enumerate(scores_of(scenes, part)):
            found[number, rows] = _gain(score, barred, np.searchsorted(place.world.shelf.items, place.target[rows]))
    return found


def gained(arm: Arm, world: World, tasks: Tasks, target: np.ndarray) -> np.ndarray:
    """float64 (T,): NDCG@10 where one item is right, which is 1 / log2(1 + rank); among equals the mean over all orders. Only
    the scene's items are ranked, and unless they may come again, none that the user had."""
    found, items = np.empty(len(tasks)), world.shelf.items
    for rows in _blocks(len(tasks)):
        part = tasks.take(rows)
        found[rows] = _gain(arm.scores(part)[:, items], _barred(world, part), np.searchsorted(items, target[rows]))
    return found


def _blocks(count: int) -> Iterator[np.ndarray]:
    return (np.arange(first, min(first + _TASKS, count)) for first in range(0, count, _TASKS))


def _barred(world: World, tasks: Tasks) -> np.ndarray | None:
    """bool (T, M): what may not come; None where everything may."""
    return None if world.again else (support_counts(tasks)[:, world.shelf.items] > 0).toarray()


def _gain(score: np.ndarray, barred: np.ndarray | None, target: np.ndarray, k: int = 10) -> np.ndarray:
    gain = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, k + 2)))])
    own = score[np.arange(len(score)), target][:, None]
    above, tied = score > own, score == own
    if barred is not None:
        above, tied = above & ~barred, tied & ~barred
        tied[np.arange(len(score)), target] = True
    higher, equal = above.sum(1), tied.sum(1)
    return (gain[np.minimum(higher + equal, k)] - gain[np.minimum(higher, k)]) / equal


def report(found: Mapping[str, Found], rng: np.random.Generator, benchmark: str) -> list[Result]:
    """Rows of each place, and of the mean over places: all methods, and ours against each of the others, paired."""
    rows: list[Result] = []
    for size in sorted({size for one in found.values() for size in one.values}):
        drawn = [
            resampled({name: np.stack(values) for name, values in tables(one, size).items()}, rng)
            for one in bar(list(found.values()), desc=f"intervals, {size} users")
        ]
        label = "no user" if size == 0 else f"{size} users"
        for name, here in zip(found, drawn, strict=True):
            rows += cell(benchmark, f"{name}, {label}", here)
        if len(found) > 1:
            rows += cell(benchmark, f"mean of {len(found)}, {label}", together(drawn))
    return rows


def tables(one: Found, size: int) -> dict[str, list[np.ndarray]]:
    """Methods at one size, with zero steps, the adapter of all users and the joint one of more users among them."""
    if size == 0:
        return one.values[0]
    more = {
        JOINT.format(other): one.values[other]["joint"]
        for other in sorted(one.values)
        if other > size and "joint" in one.values[other]
    }
    if "zero steps" not in one.values.get(0, {}):  # gradient steps alone have been measured so far
        return one.values[size]
    return {"zero steps": one.values[0]["zero steps"], **one.values[size], **more, ORACLE: one.values[0][ORACLE]}


def together(drawn: Sequence[Mapping[str, Resampled]]) -> dict[str, Resampled]:
    """The mean over places, each weighing the same, of what was asked in all; places are drawn from independently."""
    return {
        name: Resampled(
            float(np.mean([one[name].value for one in drawn])),
            np.mean([one[name].draws for one in drawn], axis=0),
            sum(one[name].n for one in drawn),
        )
        for name in drawn[0]
        if all(name in one for one in drawn)
    }


def cell(benchmark: str, setting: str, here: Mapping[str, Resampled]) -> list[Result]:
    """All methods of a cell, ours against each, and another's customers against zero steps."""

    def row(method: str, found: Interval, versus: str = "") -> Result:
        role = "ours" if method.startswith(("llmrec", "zero steps", META)) and "straight" not in method else "control"
        return Result(benchmark, method, role, setting, METRIC, found.value, found.low, found.high, versus, found.n, None, None)

    rows = [row(name, one.interval()) for name, one in here.items()]
    ours = [name for name in (OURS, META) if name in here] or [name for name in ("zero steps",) if name in here]
    pairs = [(first, name) for first in ours for name in here if name != first]
    pairs += [(SWAPPED, "zero steps")] if SWAPPED in here and "zero steps" in here else []
    return rows + [row(first, here[first].minus(here[name]).interval(), name) for first, name in pairs]


def best_control(rows: Sequence[Result], setting: str) -> Result:
    """The control that is highest in a cell, of those with the same support; zero steps and zero steps with both counts are
    controls here too."""
    ours = (OURS, FULL, STEPPED, ORACLE, META, SWAPPED)
    same = [row for row in rows if row.setting == setting and not row.versus and not row.method.startswith("joint, ")]
    plain = [row for row in same if row.method not in ours]
    return max(plain, key=lambda row: row.value)
