"""The weights of a ranker of one's own in new scenes, such as a language model, learned on the known ones.

Each known scene plays the new one in turn, as in meta-validation: what the others taught orders its items, for customers who
are not among its first ones.

Axis convention: `T` tasks, `W` known scenes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from llmrec.errors import DataError
from llmrec.progress import Stages
from llmrec.ranking.llm_ranker import LLMRanker
from llmrec.ranking.rankers import CandidateRanker
from llmrec.recommender.reranking import ASKED, telling, told, weigh
from llmrec.scenes.adapter_learning import LearnedAdapter, learn_scene_adapter
from llmrec.scenes.learned import Learned
from llmrec.scenes.learning import LearnSettings
from llmrec.scenes.opening import Scene
from llmrec.scenes.visits import adapted_scene, asked_about
from llmrec.scenes.worlds import World

KINDS = ("no customers", "first customers")  # of scenes that have weights of their own


def checked_plan(ranker: CandidateRanker | None) -> CandidateRanker | None:
    """The same ranker. Raises DataError for a plan on a subclass of LLMRanker, whose adapter is not saved with scenes."""
    if isinstance(ranker, LLMRanker) and ranker.plan is not None and type(ranker) is not LLMRanker:
        raise DataError(
            f"ranker: expected an LLMRanker itself where it has a plan, got a {type(ranker).__name__}, whose adapter could not "
            "be saved; learn the adapter with Recommender.fit, or leave the plan out"
        )
    return ranker


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
    """The ranker that new scenes begin with, None where it is left out, and what known scenes taught, with its weights. A
    language model with a plan gets its adapter, and `Learned` the steps of it.

    left_out: of each of the W scenes what the others taught. Raises as `learn_scene_adapter`.
    """
    taught = None
    if isinstance(ranker, LLMRanker) and ranker.plan is not None:
        taught = learn_scene_adapter(ranker, worlds, left_out, settings, seed, stages)
        ranker, worlds = taught.ranker, taught.worlds
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
    taught: LearnedAdapter | None = None,
) -> tuple[float, float]:
    """The weights of `Learned.ranker_weights`, 0 where the ranker is left out.

    left_out: of each of the W scenes what the others taught. With first customers the weight is learned over supports of all
    sizes together, each under the design that gained most in the other scenes. Every scene is asked about as often as another.
    taught: of an adapter; each scene is then asked about under one that was learned without it, after its steps, and `worlds`
    are those of it.
    """
    with stages("reranker", telling(ranker, len(KINDS), f"{len(worlds)} scenes")) as say:
        began, rng, learned = time.perf_counter(), np.random.default_rng([seed, 3]), {}
        for kind, sizes in zip(KINDS, ((0,), settings.sizes), strict=True):
            most, looked = -(-ASKED // (len(worlds) * len(sizes))), settings.queries * settings.draws
            parts, met = [], []
            for place, (world, others) in enumerate(zip(worlds, left_out, strict=True)):
                for size in sizes:
                    scene, users = adapted_scene(world, others, size, rng)
                    parts.append(asked_about(scene, world, users[size:], looked, most))
                    if taught is not None:
                        met.append((place, scene, replace(world, users=users[:size])))
            learned[kind] = weigh(partial(_asked, ranker, taught, met), parts, seed)
        say(told(ranker, learned, time.perf_counter() - began))
    without, adapted = (learned[kind].weight for kind in KINDS)
    return without, adapted


def _asked(
    ranker: CandidateRanker, taught: LearnedAdapter | None, met: Sequence[tuple[int, Scene, World]], part: int
) -> CandidateRanker:
    """The ranker that is asked about a part. met: of each part its scene's place, the scene, and its first customers; read with
    an adapter alone."""
    return ranker if taught is None else taught.in_scene(*met[part])
