"""What a scene's answers show before a ranker of one's own moves it, and the choices that customers made among it.

Axis convention: `T` tasks, `C` candidates of all tasks one after another.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llmrec.data.tasks import Tasks
from llmrec.encoder.users import batches
from llmrec.index.candidates import POPULAR, Candidates
from llmrec.meta.title_choices import TitleChoices
from llmrec.ranking.llm_ranker import LLMRanker
from llmrec.ranking.reranker import TOP, first_candidates
from llmrec.scenes.opening import Scene
from llmrec.scenes.ranked import RankedShelf, scored_candidates
from llmrec.scenes.reranked import first_items, shown_scores
from llmrec.scenes.worlds import World, last_steps


def scored(scene: Scene, tasks: Tasks, filter_viewed: bool) -> tuple[Candidates, np.ndarray]:
    """What a ranker moves, and its scores float32 (C,) before."""
    if isinstance(scene.shelf, RankedShelf):
        return scored_candidates(scene, tasks, filter_viewed)
    return first_items(shown_scores(scene, tasks, filter_viewed), TOP)


def last_visits(world: World, users: np.ndarray) -> tuple[Tasks, list[np.ndarray]]:
    """Of each user, int, the last basket with an item of the scene, and those of its items that may be ranked; users without
    such an item have no task."""
    among = world.shelf.among
    tasks = last_steps(world.dataset, users, among)
    relevant = [items[among[items]] for items in tasks.relevant(new_only=not world.again)]
    some = np.flatnonzero([len(items) > 0 for items in relevant])
    return tasks.take(some), [relevant[task] for task in some]


def shown_choices(
    ranker: LLMRanker, scene: Scene, world: World, users: np.ndarray, most: int, negatives: int, rng: np.random.Generator
) -> TitleChoices:
    """One choice each of the first `most` of some users, int, who have one: an item of the last visit, beside `negatives` drawn
    of the items that `scene` shows this user first, or as many as there are. Users to whom nothing else is shown have none."""
    tasks, relevant = last_visits(world, users)
    tasks = tasks.take(np.arange(min(len(tasks), most)))
    parts, begin = [], 0
    for part in batches(tasks):
        found, value = scored(scene, part, filter_viewed=not world.again)
        first = first_candidates(found, value, TOP)[1]
        parts += [_drawn(part, t, relevant[begin + t], first.of(t), negatives, rng) for t in range(len(part))]
        begin += len(part)
    return ranker.choices(tasks, _candidates(parts))


def _drawn(
    tasks: Tasks, task: int, relevant: np.ndarray, shown: np.ndarray, negatives: int, rng: np.random.Generator
) -> np.ndarray:
    """Items of one choice, ascending; none where nothing else is shown."""
    others = np.setdiff1d(shown, tasks.dataset.item[tasks.query(task)])
    if not len(others):
        return others
    others = rng.choice(others, min(negatives, len(others)), replace=False)
    return np.sort(np.append(others, rng.choice(relevant)))


def _candidates(parts: Sequence[np.ndarray]) -> Candidates:
    start = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
    items = np.concatenate([np.zeros(0, np.int64), *parts]).astype(np.int32)
    return Candidates(start, items, np.full(len(items), POPULAR, np.uint8))
