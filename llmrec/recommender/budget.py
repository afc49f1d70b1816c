"""A time budget: training shortened so that it takes about so many minutes here, after a few steps have been timed."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from llmrec.data.dataset import Dataset
from llmrec.encoder.model import SlotModel
from llmrec.encoder.train import train
from llmrec.recommender.settings import Settings

LEAST_STEPS, LEAST_EPISODES = 8, 3
TIMED = 3  # steps


def equal_steps(settings: Settings, blocks: int) -> float:
    """How many steps of base training cost as many multiplications as the meta-learning.

    In units of one block forward over one prompt: a step of base training is 3 (forward and backward) x blocks x batch; an
    episode of LoRA is the lower blocks once, and the upper ones forward and backward for the query at every step, and backward
    once more for every inner gradient. An episode of the core is all blocks forward once; what it solves beside is small.
    """
    lora, core = settings.lora, settings.core
    adapted = min(lora.n_adapted_blocks, blocks)
    episode = lora.meta_batch_size * (blocks - adapted + adapted * (3 * (lora.inner_steps + 1) + 2 * lora.inner_steps))
    cost = 0 if settings.adapter == "core" else settings.outer.episodes * episode
    cost += 0 if settings.adapter == "lora" else core.episodes * core.meta_batch_size * blocks
    return cost / (3 * blocks * settings.train.batch_size)


def within(minutes: float, settings: Settings, model: SlotModel, dataset: Dataset, users: np.ndarray) -> tuple[Settings, str]:
    """The settings with as many steps and episodes as take about `minutes` here, never more than before; and a line that says
    what a step takes and what was shortened.

    `model` is trained a little by this: give a copy.
    """
    began = 0.0

    def watch(step: int, _: float) -> None:
        nonlocal began
        if step == 0:  # the first step pays for memory that the others find ready
            began = time.perf_counter()

    train(model, dataset, users, replace(settings.train, max_steps=TIMED), np.random.default_rng(0), watch)
    step = (time.perf_counter() - began) / (TIMED - 1)
    wanted = step * (settings.train.max_steps + equal_steps(settings, model.body.n_blocks)) / 60
    share = minutes / wanted
    if share >= 1:
        return settings, f"a training step takes {step:.2f} s: about {wanted:.1f} min of training, as planned"
    shorter = replace(
        settings,
        train=replace(settings.train, max_steps=_shorter(settings.train.max_steps, share, LEAST_STEPS)),
        outer=replace(settings.outer, episodes=_shorter(settings.outer.episodes, share, LEAST_EPISODES)),
    )
    told = [] if settings.adapter == "core" else [f"{shorter.outer.episodes} episodes instead of {settings.outer.episodes}"]
    if settings.adapter != "lora":
        core = replace(settings.core, episodes=_shorter(settings.core.episodes, share, LEAST_EPISODES))
        shorter = replace(shorter, core=core)
        told.append(f"{core.episodes} episodes of the core instead of {settings.core.episodes}")
    said = (
        f"SHORTENED: a training step takes {step:.2f} s, all steps {wanted:.1f} min, and {minutes:g} are given: "
        f"{shorter.train.max_steps} steps instead of {settings.train.max_steps}, {', '.join(told)}. Expect lower numbers"
    )
    return shorter, said


def _shorter(count: int, share: float, least: int) -> int:
    return min(count, max(least, int(count * share)))
