"""What our scene adapters are held against: counting on the support users, one adapter for all scenes, and known scenes' own.

Axis convention: `T` tasks, `N` items of the catalogue, `M` items of the scene, `U` support users.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from scipy import sparse

from llmrec.data.dataset import Dataset
from llmrec.data.tasks import Tasks
from llmrec.models.counts import support_counts, user_items
from llmrec.models.item_item import ItemKnn, fit_item_knn
from llmrec.models.popularity import Popularity, fit_popularity
from llmrec.scenes.few import Ground
from llmrec.scenes.learned import DESIGNS, ZERO, Learned, Mixes
from llmrec.scenes.learning import MixSettings, fit_mix
from llmrec.scenes.opening import Scene
from llmrec.scenes.shelf import SceneItems
from llmrec.scenes.worlds import Episode, Moments, World, episode, ground, moments

STRAIGHT = MixSettings(bends=0)
RIDGES, DECAYS = (1.0, 10.0, 100.0), (1.0, 0.8)
ALL = DESIGNS[1]  # item bias and company, without a change of the map: zero steps and both counts together


class Arm(Protocol):
    """What can be asked."""

    def scores(self, tasks: Tasks) -> np.ndarray:
        """float32 (T, N)."""
        ...


@dataclass(frozen=True)
class FewEase:
    """EASE of a few users, exactly, without the (N, N) matrix: of X (U, N) the inverse of X'X + ridge I is
    (I - X' inner X) / ridge with inner, float64 (U, U), the inverse of XX' + ridge I. diagonal: float64 (N,), ridge times its
    own."""

    had: sparse.csr_array
    inner: np.ndarray
    diagonal: np.ndarray
    decay: float
    name: str = "EASE"

    def scores(self, tasks: Tasks) -> np.ndarray:
        """float32 (T, N); an item's own weight is zero, as in EASE."""
        history = support_counts(tasks, self.decay)
        seen = (history @ self.had.T).toarray() @ self.inner  # (T, U)
        found = np.asarray(seen @ self.had)  # less the history itself: -ridge times (history @ inverse)
        rows = np.repeat(np.arange(len(tasks)), np.diff(history.indptr))
        found[rows, history.indices] -= history.data * (1 - self.diagonal[history.indices])
        return (found / self.diagonal).astype(np.float32)


def fit_few_ease(dataset: Dataset, users: np.ndarray, ridge: float, decay: float = 1.0) -> FewEase:
    """What `fit_ease` gives, in the time of U^3."""
    had = user_items(dataset.take(users))
    had.data = np.ones_like(had.data)
    inner = np.linalg.inv((had @ had.T).toarray() + ridge * np.eye(len(users)))
    column = had.tocsc()
    taken = np.asarray(column.multiply(sparse.csc_array(inner @ column)).sum(0)).ravel()  # diagonal of X' inner X
    return FewEase(had, inner, 1 - taken, decay)


def counting(dataset: Dataset, users: np.ndarray, ridge: float, decay: float, again: bool) -> dict[str, Arm]:
    """Popularity, item kNN and EASE of the support users alone."""
    return {
        "target popularity": fit_popularity(dataset, users),
        "item kNN": knn(dataset, users, decay, again),
        "EASE": fit_few_ease(dataset, users, ridge, decay),
    }


def knn(dataset: Dataset, users: np.ndarray, decay: float, again: bool) -> ItemKnn:
    """Item kNN of some users; where items come again, an item is its own neighbour."""
    return fit_item_knn(dataset, users, decay=decay, include_self=again)


def straight(played: Sequence[list[list[Episode]]], sizes: int, seed: int) -> tuple:
    """Zero steps, popularity and company under a straight line, of each support size: weights fitted on known scenes."""
    return tuple(fit_mix([scene[size] for scene in played], ALL, STRAIGHT, seed) for size in range(sizes))


def with_mixes(learned: Learned, mixes: tuple) -> Learned:
    """The same with one design, `ALL`, whose mixes are these."""
    one = np.ones((len(mixes), 1))
    later = replace(learned.later, by_size=tuple((mix,) for mix in mixes))
    return replace(learned, designs=(ALL,), later=later, first=None, gain=one, spread=one)


def of_one(learned: Learned, played: list[list[Episode]], settings: MixSettings, seed: int) -> Learned:
    """Zero steps as one known scene alone would take them."""
    zero = fit_mix([[one for size in played for one in size]], ZERO, settings, seed)
    return replace(learned, later=replace(learned.later, zero=zero), first=None)


def joint(learned: Learned, known: Sequence[Moments], world: World, users: np.ndarray) -> Learned:
    """One adapter over all scenes: the map is regressed on the known scenes' pairs and the support users' together, each scene
    weighing the same, and the mix is that of zero steps."""
    return replace(learned, ground=ground([*known, moments(replace(world, users=users))]))


def target_only(scene: Scene, world: World, users: np.ndarray, seed: int) -> Scene:
    """A scene whose map begins at zero and whose weights come from the support users alone: one half is the support of the
    other when they are fitted. To be adapted to the same users by its only design."""
    rng = np.random.default_rng(seed)
    width = world.shelf.vectors.shape[1]
    nothing = Ground(np.zeros((width, width), np.float32), np.zeros(width, np.float32))
    drawn, half = replace(world, users=users), len(users) // 2
    played = [episode(drawn, nothing, half, len(users) - half, rng) for _ in range(4)]
    mix, one = fit_mix([played], DESIGNS[2], STRAIGHT, seed), np.ones((1, 1))
    learned = Learned(nothing, (DESIGNS[2],), (len(users),), Mixes(scene.learned.later.zero, ((mix,),)), None, one, one)
    return replace(scene, learned=learned)


def carried(known: Sequence[World], shelf: SceneItems, near: int = 20) -> Popularity:
    """How often the items most like this one by text were bought in the known scenes: what a shop would show without a user."""
    at = shelf.vectors[shelf.among]
    total = np.zeros(len(at))
    for world in known:
        items, dataset = world.shelf.items, world.dataset.take(world.users)
        count = np.log1p(np.bincount(dataset.item, minlength=dataset.n_items)[items])
        for first in range(0, len(at), 512):
            like = at[first : first + 512] @ world.shelf.vectors[items].T
            most = np.argpartition(-like, min(near, like.shape[1]) - 1, axis=1)[:, :near]
            weight = np.maximum(np.take_along_axis(like, most, 1), 1e-6) ** 2
            total[first : first + 512] += (weight * count[most]).sum(1) / weight.sum(1)
    found = np.zeros(len(shelf.among))
    found[shelf.among] = total
    return Popularity("popularity of similar items", found)
