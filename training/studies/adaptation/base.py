"""A small base for the study, trained without the users that the outer loop learns from; and the same base trained on."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.protocol import Benchmark
from llmrec import Recommender, Settings, TrainSettings
from llmrec.encoder.train import finalize, init_state, train_step
from llmrec.progress import bar
from llmrec.recommender.pipeline import frozen_items
from studies.adaptation.bank import Base


def trained(benchmark: Benchmark, users: np.ndarray, settings: Settings, seed: int, folder: Path) -> Base:
    """The base of a recommender that is fitted on these users, by `base_alone`; a run that was killed goes on from `folder`."""
    fitted = Recommender(settings=base_alone(settings), seed=seed).fit(benchmark.train.take(users), output_dir=folder)
    return Base(fitted.state.model, fitted.state.items, settings.train.max_slots)


def base_alone(settings: Settings) -> Settings:
    """The settings by which a recommender trains its base on all users that it is given, and nothing above the base."""
    nothing = replace(settings.counts_ranker, max_steps=0)
    return replace(
        settings,
        adapter="lora",
        outer=replace(settings.outer, episodes=0),
        counts_ranker=nothing,
        blend=nothing,
        blend_features=(),
        meta_fraction=0.0,  # with nobody to hold out, everybody serves for everything
        blend_fraction=0.0,
        ranking_tasks=1,
    )


def trained_on(
    base: Base, benchmark: Benchmark, users: np.ndarray, plan: TrainSettings, seed: int, steps: int, share: float = 1 / 3
) -> Base:
    """The base after some steps more of plain training on these users, from a share of its first rate down to nothing.

    The control that spends on training what meta-training spends: those whom meta-training learned from are to be among the
    users. The 60 steps of `Effort.longer` take about as many multiplications as a core's meta-learning, and four fifths of
    LoRA's; `compute.plain_steps` counts what is exactly as much. plan: by which the base was trained.
    """
    model = copy.deepcopy(base.model).requires_grad_(True)
    gentle = replace(plan, max_steps=steps, learning_rate=share * plan.learning_rate, ema_decay=0.0)
    training = init_state(model, gentle, warmup=False)
    for _ in bar(range(steps), desc="trained on"):
        train_step(training, benchmark.train, users, gentle, seed + 10_000)
    finalize(training)
    model.requires_grad_(False)
    return Base(model, frozen_items(model), base.most)
