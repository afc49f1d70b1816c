"""A new scene: opened without events, adapted to a few users, and reset exactly.

A scene is a value. Adapting gives another one and changes nothing: neither what it was adapted from, nor what was learned, nor
any other scene, so no scene is forgotten when one is opened.

Axis convention: `T` tasks, `N` items of the catalogue, `M` items of the scene.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from llmrec.data.dataset import Dataset
from llmrec.data.tasks import Tasks
from llmrec.errors import DataError
from llmrec.scenes.few import Few, learn_few
from llmrec.scenes.learned import Learned, Mixes
from llmrec.scenes.mix import Mix
from llmrec.scenes.readings import read_few, read_ground
from llmrec.scenes.shelf import SceneItems
from llmrec.scenes.stepping import stepped
from llmrec.scenes.worlds import World, own_events

if TYPE_CHECKING:
    from llmrec.ranking.rankers import CandidateRanker
    from llmrec.ranking.reranker import Reranker

_TASKS = 128  # read at once


@dataclass(frozen=True)
class Scene:
    """A scene that can be asked. few: what its support users said; None for zero steps. design: which of the learned ones.
    own: the mix after steps on its own events, of a design with steps; users who never bought there are scored without these
    steps. ranker: of one's own, such as a language model, which moves the first items of an answer by the learned weight; None
    without. adapted_ranker: the same after steps on the choices of first customers; None without steps."""

    learned: Learned
    shelf: SceneItems
    few: Few | None = None
    design: int | None = None
    own: Mix | None = None
    ranker: CandidateRanker | None = None
    adapted_ranker: CandidateRanker | None = None

    @property
    def reranker(self) -> Reranker | None:
        """What moves the first items of an answer; None where nothing does."""
        if self.ranker is None:
            return None
        weight = self.learned.ranker_weights[self.design is not None]
        if not weight:
            return None
        from llmrec.ranking.reranker import Reranker  # brings in torch, which a scene read by its texts does without

        return Reranker(self.ranker if self.adapted_ranker is None else self.adapted_ranker, weight, weight)

    @property
    def name(self) -> str:
        """How it is adapted, as reports print it."""
        return "zero steps" if self.design is None else self.learned.designs[self.design].name

    def scores(self, tasks: Tasks) -> np.ndarray:
        """float32 (T, N): log probability up to a constant a row, without `ranker`; -inf for items outside the scene."""
        found = np.full((len(tasks), len(self.shelf.among)), -np.inf, np.float32)
        for first in range(0, len(tasks), _TASKS):
            part = tasks.take(np.arange(first, min(first + _TASKS, len(tasks))))
            found[first : first + len(part), self.shelf.items] = next(scores_of([self], part))
        return found

    def score(self, columns: dict[str, np.ndarray], again: np.ndarray) -> np.ndarray:
        """float32, in the shape of its columns. again: bool, (T, 1) or of their shape, whether the user bought something of the
        scene before."""
        first = self.learned.first
        if first is None or again.all():
            return self.mix(columns)
        newcomer = self._of(first)(columns)
        return np.where(again, self.mix(columns), newcomer) if again.any() else newcomer

    @property
    def mix(self) -> Mix:
        """What scores the columns of users who bought something of the scene before."""
        return self._of(self.learned.later) if self.own is None else self.own

    def _of(self, mixes: Mixes) -> Mix:
        if self.few is None or self.design is None:
            return mixes.zero
        return mixes.by_size[self.learned.size(self.few.users)][self.design]


def scores_of(scenes: Sequence[Scene], tasks: Tasks) -> Iterator[np.ndarray]:
    """Scores float32 (T, M) of several scenes over one shelf, one after the other; what they have in common is read once."""
    shelf = scenes[0].shelf
    common = shelf.read(tasks)
    ground, few = None, None
    for scene in scenes:
        if scene.learned.ground is not ground:
            ground = scene.learned.ground
            common |= read_ground(ground, shelf, tasks)
        if scene.few is not few and scene.few is not None:
            few = scene.few
            common |= read_few(few, shelf, tasks)
        yield scene.score(common, bought_before(common))


def bought_before(columns: dict[str, np.ndarray]) -> np.ndarray:
    """bool (T, 1): whether each user bought something of the scene before. columns: float32 (T, M), `own` among them."""
    return np.max(columns["own"], axis=1, keepdims=True) > 0


def zero_shot(learned: Learned, shelf: SceneItems, ranker: CandidateRanker | None = None) -> Scene:
    """A scene of which nothing is known but the texts of its items: zero steps. ranker: that `learned` has weights of.

    Raises DataError where the text vectors are not as wide as those that were learned from.
    """
    width = learned.ground.map.shape[0]
    if shelf.vectors.shape[1] != width:
        raise DataError(f"shelf: expected text vectors of width {width}, got {shelf.vectors.shape[1]}; encode the texts alike")
    return Scene(learned, shelf, ranker=ranker)


def adapt(
    scene: Scene,
    dataset: Dataset,
    users: np.ndarray,
    design: int | None = None,
    repeat_purchases: bool = False,
    rng: np.random.Generator | None = None,
) -> Scene:
    """The scene with an adapter of its own, from the histories of its support users; a new value.

    users: int indices of the dataset, which is over the shelf's catalogue. design: None for the one that meta-validation
    prefers for so many users, which may be zero steps; without users it is zero steps. repeat_purchases, rng: for a design with
    gradient steps, whether users may buy an item again, and the generator that draws negative items; None for the same ones in
    every call. Raises DataError for another catalogue.
    """
    if dataset.n_items != len(scene.shelf.among):
        raise DataError(
            f"dataset: expected a catalogue of {len(scene.shelf.among)} items, got {dataset.n_items}; use the scene's"
        )
    users = np.asarray(users, np.int64)
    design = scene.learned.best(len(users)) if design is None else design
    if design is None or len(users) == 0:
        return zero_steps(scene)
    few = learn_few(scene.learned.ground, scene.shelf, dataset, users)
    return with_design(replace(scene, few=few), dataset, users, design, repeat_purchases, rng)


def with_design(
    scene: Scene,
    dataset: Dataset,
    users: np.ndarray,
    design: int,
    repeat_purchases: bool = False,
    rng: np.random.Generator | None = None,
) -> Scene:
    """A scene whose support `users` have been listened to, under another design: what they said is not learned again, and a
    design with steps takes its own. The rest as for `adapt`."""
    found = replace(scene, design=design, own=None, adapted_ranker=None)
    if not scene.learned.designs[design].steps:
        return found
    world = World(dataset, scene.shelf, users, repeat_purchases)
    own = own_events(world, scene.learned.ground, np.random.default_rng(0) if rng is None else rng)
    return replace(found, own=stepped(found.mix, own))


def zero_steps(scene: Scene) -> Scene:
    """The scene as it was opened, which is what an alarm rolls back to."""
    return replace(scene, few=None, design=None, own=None, adapted_ranker=None)
