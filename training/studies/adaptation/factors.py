"""Study `factors`: one thing at a time around the default, in the primary cell of `long`, on validation users.

Everything is learned from a few episodes, so that a comparison costs minutes; figures are for comparing within a factor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from llmrec.adapters.lora import Adapter
from llmrec.meta.algorithms import Recipe, anil, cavia, fomaml, maml, maml_pp, meta_sgd
from llmrec.meta.core import CONTEXT
from llmrec.meta.inner import Initialisation, initialisation
from llmrec.meta.outer import Episode, OuterSettings, meta_train
from llmrec.progress import bar
from studies.adaptation import arms, cores, loras
from studies.adaptation.arms import FEW, Effort
from studies.adaptation.bank import Base
from studies.adaptation.cores import Place
from studies.adaptation.counting import ndcg
from studies.adaptation.reptile import ReptileSettings, reptile

STEPS, RANKS, SIZES = (0, 1, 2, 3, 5, 10), (1, 2, 4, 8, 16), (8, 16, 32, 64, 128)
EFFORT = Effort(gradient=80, head=15, lora=25)
RATE = 0.3


Scores = Callable[[], np.ndarray]
"""-> float32 (T, N), scores of the users asked."""


@dataclass(frozen=True)
class Ground:
    """What every trial learns from, and whom it is asked about. features: size of a core -> what it starts from."""

    base: Base
    features: Callable[[int], np.ndarray]
    places: Sequence[Place]
    asked: Place
    seed: int
    effort: Effort

    def rng(self) -> np.random.Generator:
        """The same episodes for every trial."""
        return np.random.default_rng(self.seed)

    def lora(self, init: Initialisation[Adapter], steps: int) -> np.ndarray:
        """Scores after so many steps of LoRA."""
        return loras.adapted(self.base, init, self.asked.bank, steps)

    def episodes(self) -> Iterator[Episode[Adapter]]:
        """Of LoRA."""
        return loras.episodes(self.base, [place.bank for place in self.places], self.effort.users, self.rng())


def trials(on: Ground) -> Iterator[tuple[str, str, Scores]]:
    """Every value of every factor: the factor's name, the value, and what it comes to."""
    yield from levels_and_steps(on)
    for size in SIZES:
        yield "numbers of a core", str(size), partial(_closed, on, size)
    yield "learned of a core", "spreads", partial(_closed, on, FEW)
    yield "learned of a core", "spreads and features", partial(_closed_of_learned, on)
    for rank in RANKS:
        yield "rank of LoRA", str(rank), partial(_ranked, on, rank)
    yield from algorithms(on)


def levels_and_steps(on: Ground) -> Iterator[tuple[str, str, Scores]]:
    """What is adapted, and how far."""
    own, effort, asked = on.features(on.effort.size), on.effort, on.asked
    core, head = arms.closed_form(own, on.places, effort, on.rng()), arms.head_only(on.base, on.places, effort, on.rng())
    lora, walked = arms.lora(on.base, on.places, effort, on.rng(), on.seed), arms.by_gradient(own, on.places, effort, on.rng())
    yield "level", "none: the base", partial(arms.zero, asked)
    yield "level", "scores, by a core in closed form", partial(cores.adapted, core, asked, effort.newton)
    yield "level", "user vector, in closed form", partial(cores.adapted, head, asked, 1)
    yield "level", "last block, by LoRA", partial(on.lora, lora, effort.steps)
    for steps in STEPS:
        yield "Newton's steps of a core", str(steps), partial(cores.adapted, core, asked, steps)
    for steps in STEPS:
        yield "gradient steps of a core", str(steps), partial(cores.stepped, walked, asked, steps)
    for steps in STEPS:
        yield "steps of LoRA", str(steps), partial(on.lora, lora, steps)


def algorithms(on: Ground) -> Iterator[tuple[str, str, Scores]]:
    """The published algorithms: the same LoRA from the same episodes, and CAVIA's context. Reptile learns a task as a whole."""
    start, steps = loras.start(on.base, on.effort.rank, on.seed), on.effort.steps
    settings = OuterSettings(on.effort.lora, 1e-3)
    of_b = tuple(index % 2 == 1 for index in range(len(start.leaves())))
    all_of_it, rates = maml_pp(start, steps, RATE, settings)
    recipes: dict[str, Recipe[Adapter]] = {
        "FOMAML": fomaml(start, steps, RATE, settings),
        "MAML": maml(start, steps, RATE, settings),
        "MAML++, second order": (all_of_it, rates),
        "MAML++, first order": (all_of_it, replace(rates, first_order=True)),
        "ANIL, B alone": anil(start, steps, RATE, of_b, settings),
        "Meta-SGD": meta_sgd(start, steps, RATE, replace(settings, inner_lr_learning_rate=1e-2)),
    }
    for name, recipe in recipes.items():
        yield "algorithm", name, partial(_learned, on, recipe, steps)
    yield "algorithm", "Reptile", partial(_reptile, on, initialisation(start, steps, RATE), steps)
    yield "algorithm", "CAVIA, on a core", partial(_cavia, on)


def measured(on: Ground) -> dict[str, dict[str, np.ndarray]]:
    """Factor -> value -> NDCG@10 (T,)."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for factor, value, scores in bar(trials(on), desc="factors", unit="trial"):
        found.setdefault(factor, {})[value] = ndcg(scores(), on.asked.bank.query.target)
    return found


def _closed(on: Ground, size: int) -> np.ndarray:
    core = arms.closed_form(on.features(size), on.places, on.effort, on.rng())
    return cores.adapted(core, on.asked, on.effort.newton)


def _closed_of_learned(on: Ground) -> np.ndarray:
    core = arms.closed_form_of_learned(on.features(FEW), on.places, on.effort, on.rng())
    return cores.adapted(core, on.asked, on.effort.newton)


def _ranked(on: Ground, rank: int) -> np.ndarray:
    init = arms.lora(on.base, on.places, replace(on.effort, rank=rank), on.rng(), on.seed)
    return on.lora(init, on.effort.steps)


def _learned(on: Ground, recipe: Recipe[Adapter], steps: int) -> np.ndarray:
    return on.lora(meta_train(recipe[0], on.episodes(), recipe[1]), steps)


def _reptile(on: Ground, init: Initialisation[Adapter], steps: int) -> np.ndarray:
    return on.lora(reptile(init, on.episodes(), ReptileSettings(on.effort.lora)), steps)


def _cavia(on: Ground) -> np.ndarray:
    start = cores.core_on(on.features(FEW))
    init, settings = cavia(start, on.effort.steps, RATE, CONTEXT, OuterSettings(on.effort.gradient, 3e-3))
    learned = meta_train(init, cores.episodes(on.places, on.effort.users, None, on.rng()), settings)
    return cores.stepped(learned, on.asked, on.effort.steps)
