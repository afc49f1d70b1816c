"""Adapters of a language model, learned in known categories: jointly, and meta-learned over sub-catalogues.

Axis convention: `N` items of a category.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy.cluster.vq import kmeans2

from llmrec.adapters.language_adapter import LanguageAdapter, start_lora
from llmrec.meta.inner import Initialisation, initialisation
from llmrec.meta.learn_choices import JointSettings, SceneDraw, fit_adapter, meta_fit_adapter
from llmrec.meta.outer import OuterSettings
from llmrec.meta.title_choices import TitleChoices, calibrated, joined
from llmrec.progress import Stages
from llmrec.ranking.llm_ranker import LLMRanker
from studies.categories.controls import text_vectors
from studies.categories.kept import kept
from studies.categories.shops import NEGATIVES, Category, asked, asked_within

PARTS = 28  # sub-catalogues of each known category
MOST = 32  # choices of each sub-catalogue: an episode draws 24, and reading them takes a third of a second each
CALIBRATED = 64  # choices by which the temperature of the loss is set
RESERVED = 1_000  # users of the new category, for supports; others train the mark for the headroom
DRAW = SceneDraw(scenes=4, support=16, query=8)
UNTRAINED, JOINT, META, LONGER, TWIN = (
    "untrained",
    "joint",
    "meta-learned",
    "joint for longer",
    "trained in the category",
)


@dataclass(frozen=True)
class Plan:
    """What is learned.

    r, n_blocks: of LoRA. choices: of users of all known categories together, for joint training; scene_choices: of other users,
    for sub-catalogues. joint_steps: optimiser steps of 8 choices. episodes: of meta-learning after them. more_steps: joint
    steps in their place, for as much processor time. twin_steps: joint steps in the new category itself, to see the headroom.
    steps, rate: of the inner loop, the rate at first. joint_rate: of as many steps after joint training. plain_steps,
    plain_rate: of plain LoRA, which starts from nothing and needs more steps.
    """

    r: int = 8
    n_blocks: int = 8
    choices: int = 2_400
    scene_choices: int = 9_600
    joint_steps: int = 300
    episodes: int = 0
    more_steps: int = 0
    twin_steps: int = 0
    steps: int = 2
    rate: float = 0.1
    joint_rate: float = 0.1
    plain_steps: int = 10
    plain_rate: float = 0.3


@dataclass(frozen=True)
class Adapters:
    """fixed: arm -> adapter at zero steps. init: where meta-learned adapting starts, None without. temperature: of the loss."""

    fixed: dict[str, LanguageAdapter]
    init: Initialisation[LanguageAdapter] | None
    temperature: float

    @property
    def based(self) -> str:
        """The joint arm that meta-learning is held against."""
        return LONGER if LONGER in self.fixed else JOINT


def learn(ranker: LLMRanker, known: Sequence[Category], new: Category, plan: Plan, seed: int, runs: Path) -> Adapters:
    """All adapters of a plan. What takes minutes is kept in the folder `runs`."""
    model, stages = ranker.language_model, Stages()
    with stages("choices", f"{plan.choices:,} users"):
        pool = kept(runs / f"pool-{new.name}-{plan.choices}.safetensors", lambda: [_pool(ranker, known, plan.choices, seed)])[0]
    start = LanguageAdapter(start_lora(model, plan.r, 2.0, plan.n_blocks, torch.Generator().manual_seed(seed)))
    some = np.random.default_rng(seed).permutation(len(pool))[:CALIBRATED]
    temperature = calibrated(model, pool, start, some).temperature

    def joint(choices: TitleChoices, begin: LanguageAdapter, steps: int, name: str) -> LanguageAdapter:
        with stages(name, f"{steps} steps of 8 of {len(choices):,} choices, at {temperature:.2f} nats"):
            warm = replace(choices, temperature=temperature)
            return fit_adapter(model, warm, begin, JointSettings(steps, 8, 1e-3), seed, runs / name).init.adapter

    fixed = {UNTRAINED: start, JOINT: joint(pool, start, plan.joint_steps, "joint")}
    init = None
    if plan.episodes:
        name = f"scenes-{new.name}-{plan.choices}-{plan.scene_choices}-{PARTS}-{MOST}.safetensors"
        parts = kept(runs / name, lambda: _scenes(ranker, known, plan, seed))
        parts = [replace(part, temperature=temperature) for part in parts]
        with stages("meta-learn", f"{plan.episodes} episodes, {len(parts)} sub-catalogues"):
            outer = OuterSettings(plan.episodes, 1e-3, anneal=0.0)
            begin = initialisation(fixed[JOINT], plan.steps, plan.rate)
            init = meta_fit_adapter(model, parts, begin, DRAW, outer, seed, runs / "meta").init
        fixed[META] = init.adapter
        if plan.more_steps:
            fixed[LONGER] = joint(joined(parts), fixed[JOINT], plan.more_steps, "longer")
    if plan.twin_steps:
        own = kept(
            runs / f"twin-{new.name}-{plan.twin_steps}.safetensors",
            lambda: [ranker.choices(*asked(new, new.teaching[RESERVED:][: 8 * plan.twin_steps], NEGATIVES, seed))],
        )
        fixed[TWIN] = joint(own[0], fixed[JOINT], plan.twin_steps, "twin")
    return Adapters(fixed, init, temperature)


def _pool(ranker: LLMRanker, known: Sequence[Category], count: int, seed: int) -> TitleChoices:
    """Choices of users of the known categories, equally many of each."""
    share = count // len(known)
    return joined([ranker.choices(*asked(one, one.teaching[:share], NEGATIVES, seed)) for one in known])


def _scenes(ranker: LLMRanker, known: Sequence[Category], plan: Plan, seed: int) -> list[TitleChoices]:
    """Sub-catalogues, clusters of titles within a category, and choices of users within each: other users than in `_pool`."""
    first, count, found = plan.choices // len(known), plan.scene_choices // len(known), []
    for one in known:
        _, part = kmeans2(text_vectors(one.dataset.catalogue), PARTS, iter=20, minit="++", seed=seed)
        users = one.teaching[first : first + count]
        found += [ranker.choices(*pair) for pair in asked_within(one, users, part, NEGATIVES, seed, MOST)]
    return found
