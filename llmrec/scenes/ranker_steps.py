"""A language model's adapter in scenes: learned from choices in known scenes, and moved by gradient steps on the choices of a
new scene's first customers, as far as such steps helped in known scenes.

Known scenes are split into two halves. The adapter that is learned in one half is the initialisation in each scene of the
other, so that no scene is judged by an adapter that has seen it. Choices are among items that the scene's answers show first,
which are the items that the ranker will order.

Axis convention: `W` known scenes, `D` ways to step, the first of zero steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from llmrec.adapters.language_adapter import LanguageAdapter
from llmrec.data.dataset import Dataset
from llmrec.errors import DataError
from llmrec.meta.fit_gate import fit_gate
from llmrec.meta.gate import Choice, Gate, adapt_by, from_dict
from llmrec.meta.inner import initialisation
from llmrec.meta.title_choices import TitleChoices, choice_loss, joined, scores_of_each
from llmrec.progress import Stages, bar
from llmrec.ranking.learn_adapter import learn_from
from llmrec.ranking.llm_ranker import LLMRanker
from llmrec.ranking.reranker import TOP, first_candidates
from llmrec.recommender.reranking import ASKED, LEAST
from llmrec.scenes.learned import Learned
from llmrec.scenes.learning import LearnSettings
from llmrec.scenes.opening import Scene, zero_shot, zero_steps
from llmrec.scenes.shown import shown_choices
from llmrec.scenes.visits import adapted_scene, asked_about
from llmrec.scenes.worlds import World

CUSTOMERS = 64  # of a scene, at most, whose choices are stepped on
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


@dataclass(frozen=True, eq=False)
class Taught:
    """What known scenes teach. ranker: under the adapter that new scenes begin with. steps: how it moves there. left_out: of
    each of the W scenes, the ranker under an adapter that was learned without it."""

    ranker: LLMRanker
    steps: RankerSteps
    left_out: tuple[LLMRanker, ...]

    def in_scene(self, place: int, scene: Scene, first: World) -> LLMRanker:
        """The ranker of a known scene as it would be in a new one, with `first.users` as first customers."""
        way = self.steps.way(len(first.users))
        return stepped_ranker(self.left_out[place], self.steps, way, scene, first, np.random.default_rng(place))


def learn_steps(
    ranker: LLMRanker,
    worlds: Sequence[World],
    left_out: Sequence[Learned],
    settings: LearnSettings,
    seed: int,
    stages: Stages,
) -> Taught:
    """The adapter that the plan of `ranker` asks for, and its steps in new scenes.

    left_out: of each of the W scenes what the others taught. Raises DataError where the customers of half of the scenes made
    no choice that can be learned from.
    """
    plan, rng = ranker.plan, np.random.default_rng([seed, 4])
    assert plan is not None
    plain, share = replace(ranker, plan=None), -(-plan.users // len(worlds))
    with stages("choices", f"{plan.users:,} customers of {len(worlds)} scenes") as say:
        given = []
        for world, learned in zip(worlds, left_out, strict=True):
            users, scene = rng.permutation(world.users)[:share], zero_shot(learned, world.shelf)
            given.append(shown_choices(plain, scene, world, users, plan.negatives, rng))
        say(f"{sum(map(len, given)):,} choices, {sum(int(part.tokens.sum()) for part in given):,} tokens")
    half = [place % 2 for place in range(len(worlds))]
    parts = [[part for part, side in zip(given, half, strict=True) if side != one] for one in range(2)]
    _check_enough(parts)
    taught = learn_from(ranker, joined(given), plan, seed, stages)
    steps = RankerSteps(Gate((Choice(),), ()), taught.temperature, plan.negatives)
    with stages("adapter steps", f"{plan}, of each half of the scenes in the other half") as say:
        starts = [learn_from(ranker, joined(part), plan, seed, Stages(verbose=False)).ranker for part in parts]
        met = tuple(starts[side] for side in half)
        steps = replace(steps, gate=_gate(plain, met, steps, worlds, left_out, settings, rng))
        say(_told(steps.gate))
    return Taught(taught.ranker, steps, met)


def _gate(
    plain: LLMRanker,
    met: Sequence[LLMRanker],
    steps: RankerSteps,
    worlds: Sequence[World],
    left_out: Sequence[Learned],
    settings: LearnSettings,
    rng: np.random.Generator,
) -> Gate:
    """Which way helps with how many customers. plain: the ranker without adapter. met: of each scene, the ranker under the
    adapter that steps begin with."""
    sizes = [size for size in settings.sizes if size <= CUSTOMERS] or [min(settings.sizes)]
    most, looked = -(-ASKED // (len(worlds) * len(sizes))), settings.queries * settings.draws
    count, worth = [np.zeros(0, np.int64)], [np.zeros((0, len(WAYS)))]
    with bar(total=len(sizes) * len(worlds), desc="scenes") as drawn:
        for size in sizes:
            for ranker, world, learned in zip(met, worlds, left_out, strict=True):
                scene, users = adapted_scene(world, learned, size, rng)
                asked = asked_about(scene, world, users[size:], looked, most)
                given = shown_choices(plain, zero_steps(scene), world, users[:size], steps.negatives, rng)
                query = plain.choices(asked.tasks, first_candidates(asked.found, asked.value, TOP)[1])
                found = _worth(ranker, replace(given, temperature=steps.temperature), query)
                worth.append(found)
                count.append(np.full(len(found), size))
                drawn.update(1)
    if not sum(map(len, worth)):
        return steps.gate
    return fit_gate(WAYS, np.concatenate(count), np.concatenate(worth), sizes, rng, least=LEAST, monotone=False)


def stepped_ranker(
    ranker: LLMRanker, steps: RankerSteps, way: Choice, scene: Scene, world: World, rng: np.random.Generator
) -> LLMRanker:
    """The ranker after steps on the choices of a scene's first customers, `world.users`, among what `scene` shows them before
    it is adapted; itself for zero steps, and where these customers made no choice."""
    if not way.steps:
        return ranker
    users = rng.permutation(world.users)[:CUSTOMERS]
    plain = replace(ranker, adapter=None)
    given = shown_choices(plain, zero_steps(scene), world, users, steps.negatives, rng)
    return replace(ranker, adapter=_moved(ranker, replace(given, temperature=steps.temperature), [way])[0])


def with_ranker_steps(
    scene: Scene, dataset: Dataset, users: np.ndarray, repeat_purchases: bool, rng: np.random.Generator
) -> Scene:
    """A scene that is adapted to its first customers, int `users`, with its ranker adapted to them too, as far as known scenes
    say that this helps. The other arguments as of `llmrec.scenes.opening.adapt`."""
    steps, ranker = scene.learned.ranker_steps, scene.ranker
    if steps is None or scene.design is None or not isinstance(ranker, LLMRanker) or scene.reranker is None:
        return scene
    way, world = steps.way(len(users)), World(dataset, scene.shelf, np.asarray(users, np.int64), repeat_purchases)
    return replace(scene, adapted_ranker=stepped_ranker(ranker, steps, way, scene, world, rng)) if way.steps else scene


def _moved(ranker: LLMRanker, choices: TitleChoices, ways: Sequence[Choice]) -> list[LanguageAdapter]:
    """The adapter after each way on choices as of one scene, which are read once; as it was without choices or steps."""
    model, start = ranker.language_model, ranker.adapter
    assert start is not None
    if not len(choices):
        return [start] * len(ways)
    mine = choices.owned(np.zeros(len(choices), np.int64))
    init, loss = initialisation(start, STEPS, 1.0), choice_loss(model, mine, start.n_blocks(model))
    return [adapt_by(init, loss, [way]) if way.steps else start for way in ways]


def _worth(ranker: LLMRanker, support: TitleChoices, query: TitleChoices) -> np.ndarray:
    """float64 (T, D): log probability of what was taken in each choice of `query`, in nats, after each way on `support`, at the
    temperature of this."""
    if not len(query):
        return np.zeros((0, len(WAYS)))
    scores = scores_of_each(ranker.language_model, query, _moved(ranker, support, WAYS))
    return np.stack([_log_probability(one, query.taken, support.temperature) for one in scores], 1)


def _log_probability(scores: Sequence[np.ndarray], taken: Sequence[np.ndarray], temperature: float) -> np.ndarray:
    """float64 (B,): mean over what was taken, of a softmax over each choice's candidates."""
    found = []
    for mine, right in zip(scores, taken, strict=True):
        one = mine.astype(np.float64) / temperature
        top = one.max()
        found.append(float((one[right] - top - np.log(np.exp(one - top).sum())).mean()))
    return np.array(found)


def _told(gate: Gate) -> str:
    """What was found for each number of customers."""
    found = []
    for one in gate.bins:
        way = gate.choices[one.about]
        figures = f"{way.steps} steps at {way.rate:g} {one.gain:+.4f} [{one.low:+.4f}, {one.high:+.4f}] nats a choice"
        found.append(f"{one.least} customers: {'' if one.chosen else 'zero steps, the best is within noise: '}{figures}")
    return "; ".join(found) or "zero steps: nobody could be asked"


def _check_enough(parts: Sequence[Sequence[TitleChoices]]) -> None:
    for part in parts:
        if not sum(map(len, part)):
            raise DataError(
                "AdapterPlan: expected customers in each half of the known scenes who took something beside what is shown, got "
                "none; give more scenes or customers, or leave the plan out"
            )
