"""What the demonstration does: in full, or quickly."""

from __future__ import annotations

from dataclasses import dataclass, replace

from llmrec.encoder.train import TrainSettings
from llmrec.recommender.settings import Settings

MINUTES = 4.5  # of training on two cores; the whole demonstration takes about twice that
KNOWN = (1, 3, 5)
HORIZON = 3  # baskets after the known ones that are relevant


@dataclass(frozen=True)
class Plan:
    """What is done.

    settings: of the recommender. known: baskets known of a test user, one setting each. users: at most so many users, drawn at
    random; None for all.
    """

    settings: Settings
    known: tuple[int, ...] = KNOWN
    users: int | None = None


def full() -> Plan:
    """The demonstration as it is meant: the default settings."""
    return Plan(Settings(train=TrainSettings(horizon=HORIZON)))


def quick() -> Plan:
    """Everything once, in under a minute: shows that it works, not how good it gets."""
    settings = Settings.quick()
    return Plan(replace(settings, train=replace(settings.train, horizon=HORIZON)), known=(1,), users=400)
