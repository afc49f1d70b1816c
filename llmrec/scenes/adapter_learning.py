"""A language model's adapter learned from choices in known scenes, with a gate of its steps in new ones.

Known scenes are split into two halves. The adapter that is learned in one half is the initialisation in each scene of the
other, so no scene is judged by an adapter that has seen it. Customers are split too, by their ids: those who teach the adapter
are asked about in no scene.

Axis convention: `W` known scenes, `D` ways to step, the first of zero steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import log_softmax

from llmrec.errors import DataError
from llmrec.meta.fit_gate import fit_gate
from llmrec.meta.gate import Choice, Gate
from llmrec.meta.title_choices import TitleChoices, joined, scores_of_each
from llmrec.progress import Stages, bar
from llmrec.ranking.learn_adapter import learn_from_choices
from llmrec.ranking.llm_ranker import LLMRanker
from llmrec.ranking.reranker import TOP, first_candidates
from llmrec.recommender.reranking import ASKED
from llmrec.scenes.learned import Learned
from llmrec.scenes.learning import LearnSettings
from llmrec.scenes.opening import Scene, zero_shot
from llmrec.scenes.ranker_steps import CUSTOMERS, WAYS, RankerSteps, after_steps, stepped_ranker, support_of
from llmrec.scenes.shown import shown_choices
from llmrec.scenes.visits import adapted_scene, asked_about
from llmrec.scenes.worlds import World

SUPPORTS, LEAST_SUPPORTS = 8, 6  # of each size that the gate is learned from, over all scenes, and how many it needs
TEACHERS = 3  # customers set apart for each choice that a plan asks for, since not all made one; half of all at most


@dataclass(frozen=True, eq=False)
class LearnedAdapter:
    """What known scenes teach of an adapter.

    ranker: under the adapter that new scenes begin with. steps: how it moves there. left_out: of each of the W scenes, the
    ranker under an adapter that was learned without it. worlds: W, without the customers who taught any of these adapters.
    """

    ranker: LLMRanker
    steps: RankerSteps
    left_out: tuple[LLMRanker, ...]
    worlds: tuple[World, ...]

    def in_scene(self, place: int, scene: Scene, first: World) -> LLMRanker:
        """The ranker of a known scene as it would be in a new one, with `first.users` as first customers."""
        way = self.steps.way(len(first.users))
        return stepped_ranker(self.left_out[place], self.steps, way, scene, first, np.random.default_rng(place))


def learn_scene_adapter(
    ranker: LLMRanker,
    worlds: Sequence[World],
    left_out: Sequence[Learned],
    settings: LearnSettings,
    seed: int,
    stages: Stages,
) -> LearnedAdapter:
    """The adapter that the plan of `ranker` asks for, and its steps in new scenes.

    left_out: of each of the W scenes what the others taught. Raises DataError where the customers of half of the scenes made no
    choice that can be learned from, AdapterError for a plan that does not fit the model.
    """
    plan, rng = ranker.plan, np.random.default_rng([seed, 4])
    assert plan is not None
    plain = replace(ranker, plan=None)
    teachers, others = split_customers(worlds, TEACHERS * plan.users, rng)
    shares = [len(part) for part in np.array_split(np.arange(plan.users), len(worlds))]
    with stages("choices", f"{plan.users:,} customers of {len(worlds)} scenes") as say:
        given = [
            shown_choices(plain, zero_shot(learned, world.shelf), world, world.users, share, plan.negatives, rng)
            for world, learned, share in zip(teachers, left_out, shares, strict=True)
        ]
        say(f"{sum(map(len, given)):,} choices, {sum(int(part.tokens.sum()) for part in given):,} tokens")
    half = [place % 2 for place in range(len(worlds))]
    parts = [_mixed([part for part, side in zip(given, half, strict=True) if side != one], rng) for one in range(2)]
    whole = learn_from_choices(ranker, _mixed(given, rng), plan, seed, stages)
    steps = RankerSteps(Gate((Choice(),), ()), whole.temperature, plan.negatives)
    with stages("adapter steps", f"{plan}, learned in each half of the scenes and tried in the other") as say:
        starts = [learn_from_choices(ranker, part, plan, seed, Stages(verbose=False)).ranker for part in parts]
        found = LearnedAdapter(whole.ranker, steps, tuple(starts[side] for side in half), tuple(others))
        found = replace(found, steps=replace(steps, gate=_gate(found, left_out, settings, rng)))
        say(_told(found.steps.gate))
    return found


def split_customers(worlds: Sequence[World], most: int, rng: np.random.Generator) -> tuple[list[World], list[World]]:
    """The scenes with the customers who teach, `most` at most and half of all, drawn by their ids, and with all others. Users
    are in an order of chance."""
    names = [np.array(world.dataset.users.take(world.users).values, object) for world in worlds]
    every = list(dict.fromkeys(name for part in names for name in part.tolist()))
    drawn = rng.permutation(len(every))[: min(most, len(every) // 2)]
    teaching = {every[place] for place in drawn.tolist()}
    sides = [np.array([name in teaching for name in part.tolist()], bool) for part in names]
    mixed = [rng.permutation(len(world.users)) for world in worlds]

    def those(side: bool) -> list[World]:
        return [
            replace(world, users=world.users[order[mine[order] == side]])
            for world, order, mine in zip(worlds, mixed, sides, strict=True)
        ]

    return those(True), those(False)


def _mixed(given: Sequence[TitleChoices], rng: np.random.Generator) -> TitleChoices:
    """The choices of several scenes in an order of chance. Raises DataError without any."""
    if not sum(map(len, given)):
        raise DataError(
            "AdapterPlan: expected in each half of the known scenes customers with a second visit and another item to choose, "
            f"got none in {len(given)} scenes; give more scenes or customers, or leave the plan out"
        )
    whole = joined([part for part in given if len(part)])
    return whole.take(rng.permutation(len(whole)))


def _gate(found: LearnedAdapter, left_out: Sequence[Learned], settings: LearnSettings, rng: np.random.Generator) -> Gate:
    """Which way helps with how many customers. A row of `fit_gate` is one support, the mean over the customers who are asked
    about: their gains have the support in common. Supports of one scene count as independent of each other."""
    steps, worlds = found.steps, found.worlds
    sizes = sorted({min(size, CUSTOMERS) for size in settings.sizes})
    times = -(-SUPPORTS // len(worlds))
    most, looked = -(-ASKED // (len(worlds) * times * len(sizes))), settings.queries * settings.draws
    count, worth = [], []
    with bar(total=len(sizes) * len(worlds) * times, desc="supports") as drawn:
        for size in np.repeat(sizes, times).tolist():
            for ranker, world, learned in zip(found.left_out, worlds, left_out, strict=True):
                scene, users = adapted_scene(world, learned, size, rng)
                asked = asked_about(scene, world, users[size:], looked, most)
                support = support_of(ranker, steps, scene, replace(world, users=users[:size]), rng)
                if len(support) and len(asked.kept):
                    query = ranker.choices(asked.tasks, first_candidates(asked.found, asked.value, TOP)[1])
                    worth.append(_worth(ranker, support, query))
                    count.append(size)
                drawn.update(1)
    if not worth:
        return steps.gate
    return fit_gate(WAYS, np.array(count), np.stack(worth), sizes, rng, least=LEAST_SUPPORTS, monotone=False)


def _worth(ranker: LLMRanker, support: TitleChoices, query: TitleChoices) -> np.ndarray:
    """float64 (D,): log probability in nats of what was taken, mean over choices of `query`, after each way on `support`."""
    every = scores_of_each(ranker.language_model, query, after_steps(ranker, support, WAYS))
    return np.array(
        [
            np.mean(
                [
                    log_softmax(mine.astype(np.float64) / support.temperature)[right].mean()
                    for mine, right in zip(scores, query.taken, strict=True)
                ]
            )
            for scores in every
        ]
    )


def _told(gate: Gate) -> str:
    """What was found for each number of customers."""
    found = []
    for one in gate.bins:
        way = gate.choices[one.about]
        if one.users < LEAST_SUPPORTS:
            found.append(f"{one.least} customers: zero steps, {one.users} supports could be tried, {LEAST_SUPPORTS} are needed")
            continue
        figures = f"{way.steps} steps at {way.rate:g} {one.gain:+.4f} [{one.low:+.4f}, {one.high:+.4f}] nats a choice"
        refused = "" if one.chosen else "zero steps, the best is within noise: "
        found.append(f"{one.least} customers: {refused}{figures}, {one.users} supports")
    return "; ".join(found) or "zero steps: no customers to test on"
