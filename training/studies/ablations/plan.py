"""How much the ablation study trains: what the demonstration trains, and the scenes beside it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from llmrec.data.dataset import Dataset
from llmrec.demo import plan as demo
from llmrec.encoder.model import SlotModel


@dataclass(frozen=True)
class Plan(demo.Plan):
    """scene_episodes: of meta-learning across scenes. scene_support: users whose events a new scene starts with."""

    scene_episodes: int = 16
    scene_support: int = 64

    @property
    def continued_steps(self) -> int:
        """Steps of plain training that cost as many multiplications as the meta-learning."""
        return max(1, round(self.equal_steps))


def full() -> Plan:
    """The study as it is meant."""
    return Plan(demo.full().settings)


def quick() -> Plan:
    """Everything once, in about two minutes."""
    short = demo.quick()
    return Plan(short.settings, short.known, short.users, scene_episodes=2, scene_support=16)


def fitted(plan: Plan, model: SlotModel, dataset: Dataset, users: np.ndarray, minutes: float) -> tuple[Plan, str]:
    """The plan, shrunk so that training takes about `minutes` here, and a line that says so; see `llmrec.demo.plan.fitted`."""
    less, said = demo.fitted(plan, model, dataset, users, minutes)
    share = less.settings.train.max_steps / plan.settings.train.max_steps
    return replace(plan, settings=less.settings, scene_episodes=max(2, int(plan.scene_episodes * share))), said
