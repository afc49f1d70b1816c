"""How much the ablation study trains: what the demonstration trains, and the scenes beside it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from llmrec.data.dataset import Dataset
from llmrec.demo.plan import HORIZON, KNOWN
from llmrec.encoder.model import SlotModel
from llmrec.encoder.train import TrainSettings
from llmrec.meta.outer import OuterSettings
from llmrec.recommender.budget import equal_steps, within
from llmrec.recommender.settings import Settings

MINUTES = 4.5  # of training on two cores


@dataclass(frozen=True)
class Plan:
    """What is done.

    settings: of the recommender. known: baskets known of a test user, one setting each. users: at most so many users, drawn at
    random; None for all. scene_episodes: of meta-learning across scenes. scene_support: users whose events a scene starts with.
    """

    settings: Settings
    known: tuple[int, ...] = KNOWN
    users: int | None = None
    scene_episodes: int = 16
    scene_support: int = 64

    @property
    def continued_steps(self) -> int:
        """Steps of plain training that cost as many multiplications as the meta-learning."""
        return max(1, round(equal_steps(self.settings, self.settings.layers or 12)))


def full() -> Plan:
    """The study as it was meant when its figures were taken: the pretrained transformer reads histories."""
    return Plan(_settings(TrainSettings(240, known=(1, 6), max_slots=64), OuterSettings(episodes=80)))


def quick() -> Plan:
    """Everything once, in about two minutes."""
    short = _settings(TrainSettings(8, batch_size=24, known=(1, 6), max_slots=32), OuterSettings(episodes=3))
    settings = replace(short, layers=2, ranking_tasks=200)
    return Plan(settings, known=(1,), users=400, scene_episodes=2, scene_support=16)


def _settings(train: TrainSettings, outer: OuterSettings) -> Settings:
    whole = replace(train, horizon=HORIZON, learning_rate=3e-4, text_only_rate=0.15, dropout=0.0, ema_decay=0.0)
    return Settings(user_encoder="pretrained", train=whole, outer=outer, blend_features=())


def fitted(plan: Plan, model: SlotModel, dataset: Dataset, users: np.ndarray, minutes: float) -> tuple[Plan, str]:
    """The plan, shortened so that training takes about `minutes` here, and a line that says so."""
    less, said = within(minutes, plan.settings, model, dataset, users)
    share = less.train.max_steps / plan.settings.train.max_steps
    return replace(plan, settings=less, scene_episodes=max(2, int(plan.scene_episodes * share))), said
