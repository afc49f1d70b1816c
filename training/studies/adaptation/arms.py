"""The ways to adapt that are compared, each learned by the outer loop on users whom the base has not met.

Every arm answers one question: scores of the query (T, N), given a bank and what one of its readouts stands for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch

from llmrec.adapters.lora import Adapter
from llmrec.meta.algorithms import maml_pp
from llmrec.meta.core import CONTEXT, Core
from llmrec.meta.inner import Initialisation, initialisation
from llmrec.meta.outer import OuterSettings, meta_train
from studies.adaptation import cores, loras
from studies.adaptation.bank import Base, scores
from studies.adaptation.cores import Place

AXES = 64  # of the user vector
FEW = 32  # numbers of a core that goes by gradient steps
Made = TypeVar("Made")


@dataclass(frozen=True)
class Effort:
    """How much the outer loops are given; chosen on validation users.

    size: numbers of a core. newton: steps of its closed form. rank, steps: of LoRA and of gradient steps on a core.
    core, gradient, head, lora: episodes of each; with 0 the arm is left out. longer: steps of plain training in their place.
    whole: most steps of full fine-tuning. users: in an episode.
    """

    size: int = 128
    newton: int = 2
    rank: int = 4
    steps: int = 3
    core: int = 40
    gradient: int = 200
    head: int = 30
    lora: int = 150
    longer: int = 60
    whole: int = 10
    users: int = 32


@dataclass(frozen=True)
class Arm:
    """role: as in report rows. answer: where it is asked -> scores float32 (T, N). seconds: of learning."""

    name: str
    role: str
    answer: Callable[[Place], np.ndarray]
    seconds: float = 0.0


def zero(place: Place) -> np.ndarray:
    """The base alone, from the prompt."""
    return scores(place.bank.matrix, place.bank.query).numpy()


def closed_form(features: np.ndarray, places: Sequence[Place], effort: Effort, rng: np.random.Generator) -> Core:
    """A core in closed form, whose spreads are learned through Newton's steps."""
    start, settings = (
        cores.core_on(features),
        OuterSettings(effort.core, 5e-2, inner_lr_learning_rate=0.0, anneal=0.0, first_order=False),
    )
    return _without_steps(start, places, effort.newton, settings, (False, False, True), effort.users, rng)


def closed_form_of_learned(features: np.ndarray, places: Sequence[Place], effort: Effort, rng: np.random.Generator) -> Core:
    """The same with features that are learned too, each by itself, which takes smaller steps and more of them."""
    start, settings = (
        cores.core_on(features),
        OuterSettings(effort.gradient, 3e-3, inner_lr_learning_rate=0.0, anneal=0.0, first_order=False),
    )
    return _without_steps(start, places, effort.newton, settings, (False, True, True), effort.users, rng)


def head_only(base: Base, places: Sequence[Place], effort: Effort, rng: np.random.Generator) -> Core:
    """The user vector itself, on the main axes of the base's item vectors: the spreads alone are learned."""
    start = cores.core_on(cores.of_items(base.matrix[:, :-1].numpy(), AXES))
    settings = OuterSettings(effort.head, 5e-2, inner_lr_learning_rate=0.0, anneal=0.0, first_order=False)
    return _without_steps(start, places, 1, settings, (False, False, True), effort.users, rng)


def _without_steps(
    start: Core,
    places: Sequence[Place],
    newton: int,
    settings: OuterSettings,
    outer: tuple[bool, ...],
    users: int,
    rng: np.random.Generator,
) -> Core:
    init = Initialisation(start, torch.zeros(0, len(start.leaves())), outer=outer)
    return meta_train(init, cores.episodes(places, users, newton, rng), settings).adapter


def by_gradient(
    features: np.ndarray, places: Sequence[Place], effort: Effort, rng: np.random.Generator
) -> Initialisation[Core]:
    """A core whose numbers go by gradient steps with learned rates: CAVIA with what MAML++ adds."""
    start = cores.core_on(features[:, :FEW])
    init, settings = maml_pp(start, effort.steps, 0.3, OuterSettings(effort.gradient, 3e-3))
    init = replace(init, inner=CONTEXT, outer=tuple(not own for own in CONTEXT))
    return meta_train(init, cores.episodes(places, effort.users, None, rng), settings)


def lora(base: Base, places: Sequence[Place], effort: Effort, rng: np.random.Generator, seed: int) -> Initialisation[Adapter]:
    """LoRA on the last block, first order with learned rates and the query loss of every step."""
    init, settings = maml_pp(loras.start(base, effort.rank, seed), effort.steps, 0.3, OuterSettings(effort.lora, 1e-3))
    banks = [place.bank for place in places]
    return meta_train(init, loras.episodes(base, banks, effort.users, rng), replace(settings, first_order=True))


def joint_lora(
    base: Base, places: Sequence[Place], effort: Effort, rng: np.random.Generator, seed: int
) -> Initialisation[Adapter]:
    """The same adapter for everybody, learned without inner steps from twice as many episodes: about half the multiplications
    of `lora`, for an episode without steps takes a quarter; `compute.joint_alike` says how many take as much."""
    init = initialisation(loras.start(base, effort.rank, seed), 0, 1.0)
    settings = OuterSettings(2 * effort.lora, 1e-3, inner_lr_learning_rate=0.0, anneal=0.0)
    banks = [place.bank for place in places]
    return meta_train(init, loras.episodes(base, banks, effort.users, rng), settings)


def random_lora(base: Base, effort: Effort, seed: int, rate: float) -> Initialisation[Adapter]:
    """The base itself, with B = 0 and one rate."""
    return initialisation(loras.start(base, effort.rank, seed, b_std=0.0), effort.steps, rate)


def timed(make: Callable[[], Made]) -> tuple[Made, float]:
    """What is made, and how many seconds that took."""
    began = time.perf_counter()
    return make(), time.perf_counter() - began
