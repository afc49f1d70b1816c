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

from llmrec.data.tasks import Tasks
from llmrec.errors import DataError
from llmrec.index.candidates import Candidates
from llmrec.progress import Stages
from llmrec.ranking.llm_ranker import LLMRanker
from llmrec.ranking.rankers import CandidateRanker
from llmrec.ranking.reranker import TOP
from llmrec.recommender.reranking import ASKED, Asked, telling, to_ask, told, weigh
from llmrec.scenes.learned import Learned
from llmrec.scenes.learning import LearnSettings
from llmrec.scenes.opening import Scene, adapt, zero_shot
from llmrec.scenes.ranked import RankedShelf, scored_candidates
from llmrec.scenes.reranked import first_items, shown_scores
from llmrec.scenes.worlds import World, last_steps

KINDS = ("no customers", "first customers")  # of scenes that have weights of their own


def checked_plan(ranker: CandidateRanker | None) -> CandidateRanker | None:
    """The same ranker. Raises DataError for a language model with the plan of an adapter, which scenes do not learn."""
    if isinstance(ranker, LLMRanker) and ranker.plan is not None:
        raise DataError(
            "ranker: expected one without plan, for Scenes cannot train an adapter; fit "
            "Recommender(ranker=LLMRanker(..., plan=...)) and pass Scenes(recommender=...)"
        )
    return ranker


def without_plan(ranker: CandidateRanker | None) -> CandidateRanker | None:
    """The same ranker; that of a language model without the plan of an adapter."""
    return replace(ranker, plan=None) if isinstance(ranker, LLMRanker) else ranker


def learn_weights(
    ranker: CandidateRanker,
    worlds: Sequence[World],
    left_out: Sequence[Learned],
    settings: LearnSettings,
    seed: int,
    stages: Stages,
) -> tuple[float, float]:
    """The weights of `Learned.ranker_weights`, 0 where the ranker is left out.

    left_out: of each of the W scenes what the others taught. With first customers the weight is learned over supports of all
    sizes together, each under the design that gained most in the other scenes. Every scene is asked about as often as another.
    """
    with stages("reranker", telling(ranker, len(KINDS), f"{len(worlds)} scenes")) as say:
        began, rng, learned = time.perf_counter(), np.random.default_rng([seed, 3]), {}
        for kind, sizes in zip(KINDS, ((0,), settings.sizes), strict=True):
            most, asked = -(-ASKED // (len(worlds) * len(sizes))), settings.queries * settings.draws
            parts = [
                _asked(world, others, size, asked, most, rng)
                for world, others in zip(worlds, left_out, strict=True)
                for size in sizes
            ]
            learned[kind] = weigh(ranker, parts, seed)
        say(told(ranker, learned, time.perf_counter() - began))
    without, adapted = (learned[kind].weight for kind in KINDS)
    return without, adapted


def _asked(world: World, learned: Learned, size: int, looked: int, most: int, rng: np.random.Generator) -> Asked:
    """Last visits of customers of a scene that is adapted to `size` others, `looked` at most, and of these up to `most` to ask
    about."""
    users, among = rng.permutation(world.users), world.shelf.among
    scene = zero_shot(learned, world.shelf)
    if size:
        design = int(learned.gain[learned.size(size)].argmax())
        scene = adapt(scene, world.dataset, users[:size], design, world.again, rng)
    tasks = last_steps(world.dataset, users[size:], among)
    relevant = [items[among[items]] for items in tasks.relevant(new_only=not world.again)]
    some = np.flatnonzero([len(items) > 0 for items in relevant])[:looked]
    scored = partial(_scored, scene, filter_viewed=not world.again)
    return to_ask(tasks.take(some), [relevant[task] for task in some], scored, most)


def _scored(scene: Scene, tasks: Tasks, filter_viewed: bool) -> tuple[Candidates, np.ndarray]:
    """What is moved, and its scores float32 (C,) before."""
    if isinstance(scene.shelf, RankedShelf):
        return scored_candidates(scene, tasks, filter_viewed)
    return first_items(shown_scores(scene, tasks, filter_viewed), TOP)
