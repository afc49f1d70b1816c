"""What the demonstration does: in full, or quickly."""

from __future__ import annotations

from dataclasses import dataclass, replace

from llmrec.encoder.train import TrainSettings
from llmrec.meta.outer import OuterSettings
from llmrec.ranking.ranker import RankerSettings
from llmrec.recommender.settings import Settings
from llmrec.scenes.learning import LearnSettings, MixSettings

MINUTES = 4.5  # of training on two cores, over all acts; the whole demonstration takes under twice that
SHARES = {"films": 0.08, "trips": 0.72, "steps": 0.2}
KNOWN = (1, 3, 5)
HORIZON = 3  # baskets after the known ones that are relevant


@dataclass(frozen=True)
class Plan:
    """What is done.

    films, trips, steps: settings of the recommenders of acts 0, 1 and 3. department: of the scenes of act 2.
    known: baskets known of a test user in act 1, one setting each. users: of acts 1 and 2, at most so many, drawn at random;
    None for all. customers: of the new department, beside none. draws: of these customers.
    minutes: of training, all acts together; act 2 has no limit.
    """

    films: Settings
    trips: Settings
    steps: Settings
    department: LearnSettings
    known: tuple[int, ...] = KNOWN
    users: int | None = None
    customers: tuple[int, ...] = (16, 64)
    draws: int = 3
    minutes: float = MINUTES

    def budget(self, act: str) -> float:
        """Minutes of training that an act has."""
        return self.minutes * SHARES[act]


def full(minutes: float = MINUTES) -> Plan:
    """The demonstration as it is meant: default settings, less where an act asks for less, such as shorter prompts."""
    return Plan(
        films=_small(TrainSettings(max_steps=100, max_slots=32, known=(1, 16), horizon=5)),
        trips=Settings(train=TrainSettings(horizon=HORIZON, max_slots=64, known=(1, 6))),
        steps=replace(
            _small(TrainSettings(max_steps=300, max_slots=10, known=(20, 100), horizon=10, from_start=0.0)), adapter="core"
        ),
        department=LearnSettings(sizes=(16, 64), draws=1, queries=150, mix=MixSettings(bends=8, steps=80)),
        minutes=minutes,
    )


def quick() -> Plan:
    """Everything once, in a minute or two: shows that it works, not how good it gets."""
    whole, settings = full(), Settings.quick()

    def less(one: Settings) -> Settings:
        return replace(
            one,
            train=replace(one.train, max_steps=10, batch_size=32),
            outer=OuterSettings(episodes=2),
            core=replace(one.core, episodes=2),
        )

    return replace(
        whole,
        films=less(whole.films),
        trips=replace(settings, train=replace(settings.train, horizon=HORIZON)),
        steps=less(whole.steps),
        department=replace(whole.department, queries=60, mix=MixSettings(bends=2, steps=10)),
        known=(1,),
        users=400,
        draws=1,
    )


def _small(train: TrainSettings) -> Settings:
    """For the hundreds of people of MovieLens-100K: half a minute on two cores."""
    rankers = (
        RankerSettings(hidden=16, max_steps=100, weight_decay=1.0),
        RankerSettings(hidden=4, max_steps=100, weight_decay=0.1),
    )
    return Settings(train=train, outer=OuterSettings(episodes=3), counts_ranker=rankers[0], blend=rankers[1], ranking_tasks=400)
