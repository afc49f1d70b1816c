"""The weights of a ranker of one's own in new scenes, such as a language model, learned on the known ones.

Each known scene plays the new one in turn, as in meta-validation: what the others taught orders its items, for customers who
are not among its first ones.

Axis convention: `T` tasks, `W` known scenes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from llmrec.progress import Stages
from llmrec.ranking.llm_ranker import LLMRanker
from llmrec.ranking.rankers import CandidateRanker
from llmrec.recommender.reranking import ASKED, telling, told, weigh
from llmrec.scenes.learned import Learned
from llmrec.scenes.learning import LearnSettings
from llmrec.scenes.ranker_steps import Taught, learn_steps
from llmrec.scenes.visits import adapted_scene, asked_about
from llmrec.scenes.worlds import World

KINDS = ("no customers", "first customers")  # of scenes that have weights of their own


def without_plan(ranker: CandidateRanker | None) -> CandidateRanker | None:
    """The same ranker; that of a language model without the plan of an adapter."""
    return replace(ranker, plan=None) if isinstance(ranker, LLMRanker) else ranker


def learn_ranker(
    ranker: CandidateRanker,
    worlds: Sequence[World],
    learned: Learned,
    left_out: Sequence[Learned],
    settings: LearnSettings,
    seed: int,
    stages: Stages,
) -> tuple[CandidateRanker | None, Learned]:
    """The ranker that new scenes begin with, None where it is left out, and what known scenes taught with its weights; of a
    language model with the plan of an adapter, under this adapter, and with its steps.

    left_out: of each of the W scenes what the others taught. Raises as `learn_steps`.
    """
    taught = None
    if isinstance(ranker, LLMRanker) and ranker.plan is not None:
        taught = learn_steps(ranker, worlds, left_out, settings, seed, stages)
        ranker = taught.ranker
    weights = learn_weights(ranker, worlds, left_out, settings, seed, stages, taught)
    learned = replace(learned, ranker_weights=weights)
    if not any(weights):
        return None, learned
    return ranker, learned if taught is None else replace(learned, ranker_steps=taught.steps)


def learn_weights(
    ranker: CandidateRanker,
    worlds: Sequence[World],
    left_out: Sequence[Learned],
    settings: LearnSettings,
    seed: int,
    stages: Stages,
    taught: Taught | None = None,
) -> tuple[float, float]:
    """The weights of `Learned.ranker_weights`, 0 where the ranker is left out.

    left_out: of each of the W scenes what the others taught. With first customers the weight is learned over supports of all
    sizes together, each under the design that gained most in the other scenes. Every scene is asked about as often as another.
    taught: of an adapter; each scene is then asked about by one that was learned without it, after its steps.
    """
    with stages("reranker", telling(ranker, len(KINDS), f"{len(worlds)} scenes")) as say:
        began, rng, learned = time.perf_counter(), np.random.default_rng([seed, 3]), {}
        for kind, sizes in zip(KINDS, ((0,), settings.sizes), strict=True):
            most, looked = -(-ASKED // (len(worlds) * len(sizes))), settings.queries * settings.draws
            parts, rankers = [], []
            for place, (world, others) in enumerate(zip(worlds, left_out, strict=True)):
                for size in sizes:
                    scene, users = adapted_scene(world, others, size, rng)
                    parts.append(asked_about(scene, world, users[size:], looked, most))
                    first = replace(world, users=users[:size])
                    rankers.append(ranker if taught is None else taught.in_scene(place, scene, first))
            learned[kind] = weigh(rankers, parts, seed)
        say(told(ranker, learned, time.perf_counter() - began))
    without, adapted = (learned[kind].weight for kind in KINDS)
    return without, adapted
