"""Study `long`: users with more events than the prompt holds. What are the older events worth, and to whom?

Support and query are what a user took before and after the prompt; where the order of a history says nothing (`ml1m-taste`)
they are exchangeable, and that is the regime in which adapting has something to gain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from benchmarks.protocol import first_known
from llmrec.data.dataset import Dataset
from llmrec.progress import bar
from studies.adaptation import arms, cores, loras
from studies.adaptation.arms import Arm, Effort
from studies.adaptation.bank import Bank, Base, Lists
from studies.adaptation.cores import Place
from studies.adaptation.counting import Counting, best, ndcg, weighed
from studies.adaptation.gating import DEEP, taken_by_gate
from studies.adaptation.regimes import Cell, Long, cells, long_bank, practice, swapped
from studies.adaptation.report import Aim

KNOWN, PROMPTS, HORIZON, LEAST = (50, 100, 200), (10, 20, 50), 10, 3
PRIMARY = Cell(100, 10)  # declared before any test user was asked
ZERO, ONE, CORE, LORA = "zero steps", "core, one Newton step", "core, closed form", "LoRA"
GATED, LONGEST = "llmrec, gated", "longest prompt, zero steps"
SWAPPED, EASE, KNN = "core, another's support", "EASE, all known", "item kNN, all known"
BLEND, BOTH = "zero steps + EASE + item kNN", "core + EASE + item kNN"
OURS = (CORE, ONE, GATED, BOTH, "core, gradient steps", LORA)
RATES = (0.3, 1.0, 3.0)  # tried for LoRA from a random start
FEW = 200
Reorder = Callable[[Dataset, np.random.Generator], Dataset]


@dataclass(frozen=True)
class Asked:
    """The users of a cell: what they know, how it is read, and where arms are asked about them."""

    cell: Cell
    long: Long
    place: Place

    @property
    def relevant(self) -> Lists:
        return self.place.bank.query.target


def asked(base: Base, dataset: Dataset, users: np.ndarray, cell: Cell) -> Asked:
    """Users with `cell.known` events and `LEAST` more."""
    long = Long(first_known(dataset, users, cell.known, HORIZON, LEAST), cell.prompt)
    return Asked(cell, long, Place(long_bank(base, long), cell.older))


def practices(
    base: Base,
    dataset: Dataset,
    users: np.ndarray,
    cells: Sequence[Cell],
    count: int,
    reorder: Reorder | None,
    rng: np.random.Generator,
) -> Iterator[Place]:
    """Places to learn in, one a cell: windows of `users`, in a new order of each history where order says nothing."""
    mine = dataset.take(users)
    for cell in bar(cells, desc="practice", unit="cell"):
        data = mine if reorder is None else reorder(mine, rng)
        if (data.n_baskets >= cell.known + LEAST).any():
            drawn = practice(data, np.arange(data.n_users), cell, count, HORIZON, LEAST, rng)
            yield Place(long_bank(base, drawn), cell.older)


@dataclass(frozen=True)
class Team:
    """The arms of one seed, learned. heavy: those that run the transformer again, asked in some cells only. random: one for
    each rate that is tried."""

    light: tuple[Arm, ...]
    heavy: tuple[Arm, ...]
    random: tuple[Arm, ...]


def learn(
    base: Base, features: np.ndarray, places: Sequence[Place], effort: Effort, rng: np.random.Generator, seed: int
) -> Team:
    """All arms from one base and the same places."""
    light = [Arm(ZERO, "control", arms.zero)]
    if effort.core:
        core, cost = arms.timed(lambda: arms.closed_form(features, places, effort, rng))
        light.append(Arm(ONE, "ours", lambda place: cores.adapted(core, place, 1), cost))
        light.append(Arm(CORE, "ours", lambda place: cores.adapted(core, place, effort.newton), cost))
    if effort.gradient:
        steps, cost = arms.timed(lambda: arms.by_gradient(features, places, effort, rng))
        light.append(Arm("core, gradient steps", "ours", lambda place: cores.stepped(steps, place, effort.steps), cost))
    if effort.head:
        head, cost = arms.timed(lambda: arms.head_only(base, places, effort, rng))
        light.append(Arm("user vector alone, closed form", "control", lambda place: cores.adapted(head, place, 1), cost))
    if not effort.lora:
        return Team(tuple(light), (), ())
    lora, of_lora = arms.timed(lambda: arms.lora(base, places, effort, rng, seed))
    joint, of_joint = arms.timed(lambda: arms.joint_lora(base, places, effort, rng, seed))
    light.append(Arm(LORA, "ours", lambda place: loras.adapted(base, lora, place.bank, effort.steps), of_lora))
    heavy = (
        Arm("LoRA, zero steps", "control", lambda place: loras.adapted(base, lora, place.bank, 0), of_lora),
        Arm("joint LoRA", "control", lambda place: loras.adapted(base, joint, place.bank, 0), of_joint),
    )

    def from_random(rate: float, place: Place) -> np.ndarray:
        return loras.adapted(base, arms.random_lora(base, effort, seed, rate), place.bank, effort.steps)

    random = tuple(Arm("LoRA, random start", "control", partial(from_random, rate)) for rate in RATES)
    return Team(tuple(light), heavy, random)


def measured(
    base: Base, longer: Base, team: Team, counts: Counting, chosen: Asked, asked: Asked, heavy: bool, rng: np.random.Generator
) -> tuple[dict[str, np.ndarray], str]:
    """Method -> NDCG@10 (T,) of the users asked in one cell, and what the gate took. Constants come from `chosen`."""
    found = answers(base, team, chosen, asked, heavy)
    by_name = {arm.name: arm for arm in team.light}
    whole = Long(asked.long.tasks, base.most)
    found[LONGEST] = arms.zero(Place(long_bank(base, whole)))
    found["trained on, zero steps"] = arms.zero(Place(long_bank(longer, asked.long)))
    found["trained on, longest prompt"] = arms.zero(Place(long_bank(longer, whole)))
    pair = (chosen.long.tasks, chosen.place.bank), (asked.long.tasks, asked.place.bank)
    ease, knn = best(counts.ease, *pair), best(counts.knn, *pair)
    found |= {EASE: ease[1], KNN: knn[1]}
    mine = {name: by_name[name].answer(chosen.place) for name in (ZERO, ONE, CORE)}
    for name, first in ((BLEND, ZERO), (BOTH, CORE)):
        found[name] = weighed({first: (mine[first], found[first]), EASE: ease, KNN: knn}, chosen.relevant)[0]
    values = {name: ndcg(scores, asked.relevant) for name, scores in found.items()}
    worth = np.stack([ndcg(scores, chosen.relevant, DEEP) for scores in mine.values()], 1)
    taken = list(mine)[taken_by_gate(worth, asked.cell.older, rng)]
    return values | {GATED: values[taken]}, taken


def answers(base: Base, team: Team, chosen: Asked, asked: Asked, heavy: bool) -> dict[str, np.ndarray]:
    """Arm -> scores (T, N) of the users asked in one cell; those of another's support beside them."""
    found = {arm.name: arm.answer(asked.place) for arm in (*team.light, *(team.heavy if heavy else ()))}
    other = Place(long_bank(base, asked.long, swapped(asked.long.older)), asked.place.events)
    by_name = {arm.name: arm for arm in team.light}
    if CORE in by_name:
        found[SWAPPED] = by_name[CORE].answer(other)
    if heavy and team.random:
        few = some(chosen)
        tried = [np.nanmean(ndcg(arm.answer(Place(few)), few.query.target)) for arm in team.random]
        arm = team.random[int(np.argmax(tried))]
        found[arm.name] = arm.answer(asked.place)
        found["LoRA, another's support"] = by_name[LORA].answer(other)
    return found


def some(chosen: Asked) -> Bank:
    """Users that constants of dear arms are chosen on: the first `FEW`."""
    return chosen.place.bank.take(np.arange(min(len(chosen.place.bank), FEW)))


def aims() -> list[Aim]:
    """1.05 times the same prompt without steps, and the longest prompt, in every cell."""
    found = []
    for cell in cells(KNOWN, PROMPTS):
        found += [Aim(cell.name, GATED, ZERO, 1.05), Aim(cell.name, GATED, LONGEST, 1.0)]
    return found
