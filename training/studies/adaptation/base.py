"""A small base for the study, trained without the users that the outer loop learns from; and the same base trained on."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.ours import new_body
from benchmarks.protocol import Benchmark
from benchmarks.recipes import Kind, Recipe
from llmrec.encoder.backbone import load_text
from llmrec.encoder.train import finalize, init_state, train_step
from llmrec.encoder.weights import Weights
from llmrec.pretraining.loop import pretrain
from llmrec.progress import Stages, bar
from llmrec.recommender.pipeline import frozen_items, new_model, text_vectors
from studies.adaptation.bank import Base

KIND: Kind = "small"


def trained(
    benchmark: Benchmark, users: np.ndarray, recipe: Recipe, seed: int, stages: Stages, folder: Path, cache: Path | None = None
) -> Base:
    """Two blocks of 128 trained on some of the users; a run that was killed goes on from `folder`."""
    settings, plan = recipe.settings, recipe.settings.train
    with stages("encode", f"{benchmark.train.n_items:,} item texts"):
        text_model = load_text(Weights.packaged(), settings.device)
        text, _ = text_vectors(text_model, benchmark.train.catalogue, settings, cache)
    model = new_model(new_body(KIND, settings.layers, seed), text_model, text, benchmark.train, users, settings, seed)
    with (
        stages("base", f"{plan.max_steps:,} steps from {len(users):,} users"),
        bar(total=plan.max_steps, desc="base") as progress,
    ):
        pretrain(model, benchmark.train, users, plan, seed, folder, save_every=200, watch=lambda *_: progress.update() and None)
    model.requires_grad_(False)
    return Base(model, frozen_items(model), plan.max_slots)


def trained_on(
    base: Base, benchmark: Benchmark, users: np.ndarray, recipe: Recipe, seed: int, steps: int, share: float = 1 / 3
) -> Base:
    """The base after some steps more of plain training on these users, from a share of its first rate down to nothing.

    The control that spends on training what meta-training spends: those whom meta-training learned from are to be among the
    users. The 60 steps of `Effort.longer` take about as many multiplications as a core's meta-learning, and four fifths of
    LoRA's; `compute.plain_steps` counts what is exactly as much.
    """
    model = copy.deepcopy(base.model).requires_grad_(True)
    plan = replace(
        recipe.settings.train, max_steps=steps, learning_rate=share * recipe.settings.train.learning_rate, ema_decay=0.0
    )
    training = init_state(model, plan, warmup=False)
    for _ in bar(range(steps), desc="trained on"):
        train_step(training, benchmark.train, users, plan, seed + 10_000)
    finalize(training)
    model.requires_grad_(False)
    return Base(model, frozen_items(model), base.most)
