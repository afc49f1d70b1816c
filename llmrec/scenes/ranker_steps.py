"""Gradient steps of a language model's adapter on the choices of a scene's first customers.

Each customer gives one choice: what was taken at the last visit, beside items that the scene, before it is adapted, shows this
customer first. Known scenes say how many customers are worth the steps, see `llmrec.scenes.adapter_learning`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from llmrec.adapters.language_adapter import LanguageAdapter
from llmrec.data.dataset import Dataset
from llmrec.errors import AdapterError
from llmrec.meta.gate import Choice, Gate, adapt_by, from_dict
from llmrec.meta.inner import initialisation
from llmrec.meta.title_choices import TitleChoices, choice_loss
from llmrec.ranking.llm_ranker import LLMRanker
from llmrec.scenes.opening import Scene, zero_steps
from llmrec.scenes.shown import shown_choices
from llmrec.scenes.worlds import World

CUSTOMERS = 64  # at most so many customers give choices for the steps
STEPS, RATES = 3, (0.03, 0.1, 0.3)
WAYS = (Choice(), *(Choice(STEPS, rate) for rate in RATES))


@dataclass(frozen=True)
class RankerSteps:
    """How the adapter of a scene's ranker moves on the choices of its first customers.

    gate: by their number. temperature: nats of score that count as one in the loss. negatives: items that are shown, beside the
    one that was taken, in each choice.
    """

    gate: Gate
    temperature: float
    negatives: int

    def way(self, customers: int) -> Choice:
        """Steps and rate for so many customers."""
        return self.gate.choices[self.gate.choose(np.array([customers]))[0]]

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers, as JSON holds them."""
        return {"gate": self.gate.to_dict(), "temperature": self.temperature, "negatives": self.negatives}

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> RankerSteps:
        """The inverse. Raises DataError for a gate that contradicts itself."""
        return cls(from_dict(saved["gate"]), saved["temperature"], saved["negatives"])


def with_ranker_steps(
    scene: Scene, dataset: Dataset, users: np.ndarray, repeat_purchases: bool, rng: np.random.Generator
) -> Scene:
    """A scene that is adapted to its first customers, int `users`, with its ranker adapted to them too, where the gate takes
    steps for so many. The other arguments as of `llmrec.scenes.opening.adapt`."""
    steps, ranker = scene.learned.ranker_steps, scene.ranker
    if steps is None or scene.design is None or not isinstance(ranker, LLMRanker) or scene.reranker is None:
        return scene
    world = World(dataset, scene.shelf, np.asarray(users, np.int64), repeat_purchases)
    found = stepped_ranker(ranker, steps, steps.way(len(users)), scene, world, rng)
    return scene if found is ranker else replace(scene, adapted_ranker=found)


def stepped_ranker(
    ranker: LLMRanker, steps: RankerSteps, way: Choice, scene: Scene, world: World, rng: np.random.Generator
) -> LLMRanker:
    """The ranker after steps on the choices of a scene's first customers, `world.users`; the same object for zero steps, and
    where these customers made no choice."""
    if not way.steps:
        return ranker
    given = support_of(ranker, steps, scene, world, rng)
    return ranker.with_adapter(after_steps(ranker, given, [way])[0]) if len(given) else ranker


def support_of(ranker: LLMRanker, steps: RankerSteps, scene: Scene, world: World, rng: np.random.Generator) -> TitleChoices:
    """Choices of CUSTOMERS first customers at most, out of `world.users`, at the temperature of `steps`."""
    users = rng.permutation(world.users)
    given = shown_choices(ranker, zero_steps(scene), world, users, CUSTOMERS, steps.negatives, rng)
    return replace(given, temperature=steps.temperature)


def after_steps(ranker: LLMRanker, choices: TitleChoices, ways: Sequence[Choice]) -> list[LanguageAdapter]:
    """The adapter after each way on choices, at least one, which are read once and taken together as one scene's.

    Raises AdapterError for a ranker without an adapter.
    """
    model, start = ranker.language_model, ranker.adapter
    if start is None:
        raise AdapterError("ranker: expected the adapter that was learned with its scenes, got none; pass the saved one")
    mine = choices.owned(np.zeros(len(choices), np.int64))
    init, loss = initialisation(start, STEPS, 1.0), choice_loss(model, mine, start.n_blocks(model))
    return [adapt_by(init, loss, [way]) if way.steps else start for way in ways]
