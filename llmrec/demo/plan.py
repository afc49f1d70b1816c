"""How much to train: full, quick, or what a number of minutes allows on this machine."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np

from llmrec.data.dataset import Dataset
from llmrec.encoder.model import SlotModel
from llmrec.encoder.train import TrainSettings, train
from llmrec.meta.outer import OuterSettings
from llmrec.recommender.settings import Settings

MINUTES = 4.5  # of training on two cores; the whole demonstration takes about twice that
KNOWN = (1, 3, 5)


@dataclass(frozen=True)
class Plan:
    """What is done.

    settings: of the recommender. known: baskets known of a test user, one setting each. users: at most so many users, drawn at
    random; None for all.
    """

    settings: Settings
    known: tuple[int, ...] = KNOWN
    users: int | None = None

    @property
    def equal_steps(self) -> float:
        """How many steps of base training cost as many multiplications as the meta-learning.

        In units of one block forward over one prompt: a step of base training is 3 (forward and backward) x blocks x batch; an
        episode is the lower blocks once, and the upper ones forward and backward for the query at every step, and backward once
        more for every inner gradient.
        """
        lora, base = self.settings.lora, self.settings.train
        layers = self.settings.layers or 12
        episode = lora.meta_batch_size * (
            layers - lora.n_adapted_blocks + lora.n_adapted_blocks * (3 * (lora.inner_steps + 1) + 2 * lora.inner_steps)
        )
        return self.settings.outer.episodes * episode / (3 * layers * base.batch_size)


def full() -> Plan:
    """The demonstration as it is meant."""
    return Plan(Settings(train=TrainSettings(max_steps=240, known=(1, 6)), outer=OuterSettings(episodes=80)))


def quick() -> Plan:
    """Everything once, in under a minute: shows that it works, not how good it gets."""
    return Plan(Settings.quick(), known=(1,), users=400)


def fitted(plan: Plan, model: SlotModel, dataset: Dataset, users: np.ndarray, minutes: float) -> tuple[Plan, str]:
    """The plan, shrunk so that training takes about `minutes` here, and a line that says so, from three steps on `model`.

    `model` is trained a little by this: give a copy.
    """
    began = 0.0

    def watch(step: int, _: float) -> None:
        nonlocal began
        if step == 0:  # the first step pays for memory that the others find ready
            began = time.perf_counter()

    train(model, dataset, users, replace(plan.settings.train, max_steps=3), np.random.default_rng(0), watch)
    step = (time.perf_counter() - began) / 2
    wanted = step * (plan.settings.train.max_steps + plan.equal_steps) / 60
    share = minutes / wanted
    if share >= 1:
        return plan, f"a training step takes {step:.2f} s: about {wanted:.1f} min of training, as planned"
    settings = replace(
        plan.settings,
        train=replace(plan.settings.train, max_steps=max(8, int(plan.settings.train.max_steps * share))),
        outer=replace(plan.settings.outer, episodes=max(3, int(plan.settings.outer.episodes * share))),
    )
    said = (
        f"SHRUNK: a training step takes {step:.2f} s, the plan is {wanted:.1f} min of training and {minutes:g} are given: "
        f"{settings.train.max_steps} steps instead of {plan.settings.train.max_steps}, {settings.outer.episodes} episodes "
        f"instead of {plan.settings.outer.episodes}. Expect lower numbers"
    )
    return replace(plan, settings=settings), said
