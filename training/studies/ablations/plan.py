"""How much the ablation study trains: what the demonstration trained when its figures were taken, and scenes beside it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from llmrec import Settings
from llmrec.demo.plan import KNOWN
from llmrec.recommender.budget import equal_steps

MINUTES = 4.5  # of training on two cores
SETTINGS = Path(__file__).resolve().parents[2] / "settings" / "ablations.yaml"


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
    return Plan(Settings.from_yaml(SETTINGS))


def quick() -> Plan:
    """Everything once, in about two minutes."""
    settings = Settings.from_yaml(SETTINGS)
    train = replace(settings.train, max_steps=8, batch_size=24, max_slots=32)
    short = replace(settings, layers=2, train=train, outer=replace(settings.outer, episodes=3), ranking_tasks=200)
    return Plan(short, known=(1,), users=400, scene_episodes=2, scene_support=16)


def shortened(plan: Plan, fitted: Settings) -> tuple[Plan, str]:
    """The plan by which a recommender was fitted, whose time may have been too short for all steps; and a line that says so."""
    steps, whole = fitted.train.max_steps, plan.settings.train.max_steps
    said = f"{steps} steps of the base and {fitted.outer.episodes} episodes"
    if steps == whole:
        return replace(plan, settings=fitted), f"{said}, as planned"
    scene_episodes = max(2, int(plan.scene_episodes * steps / whole))
    return replace(plan, settings=fitted, scene_episodes=scene_episodes), f"SHORTENED: {said}. Expect lower numbers"
