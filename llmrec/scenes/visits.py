"""Last visits of customers of a known scene, which is treated as new and adapted to other customers."""

from __future__ import annotations

from functools import partial

import numpy as np

from llmrec.recommender.reranking import Asked, to_ask
from llmrec.scenes.learned import Learned
from llmrec.scenes.opening import Scene, adapt, zero_shot
from llmrec.scenes.shown import last_visits, scored
from llmrec.scenes.worlds import World


def adapted_scene(world: World, learned: Learned, size: int, rng: np.random.Generator) -> tuple[Scene, np.ndarray]:
    """A known scene as a new one, adapted to `size` of its customers under the design that gained most in the other scenes, and
    all customers, int, these first. learned: what the other scenes taught."""
    users = rng.permutation(world.users)
    scene = zero_shot(learned, world.shelf)
    if not size:
        return scene, users
    design = int(learned.gain[learned.size(size)].argmax())
    return adapt(scene, world.dataset, users[:size], design, world.again, rng), users


def asked_about(scene: Scene, world: World, users: np.ndarray, looked: int, most: int) -> Asked:
    """Last visits of some users, int: `looked` at most, and of these up to `most` to ask about."""
    tasks, relevant = last_visits(world, users)
    some = np.arange(min(len(tasks), looked))
    filter_viewed = not world.again
    return to_ask(tasks.take(some), relevant[:looked], partial(scored, scene, filter_viewed=filter_viewed), most)
