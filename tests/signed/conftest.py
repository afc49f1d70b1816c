"""A planted world of ratings whose weights are known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from llmrec.signed.beliefs import Beliefs
from llmrec.signed.labels import Labels, Scale
from llmrec.signed.learning import learn

USERS, ITEMS, RATED, NEW = 400, 80, 70, 200
LIKED = 3.5


@dataclass(frozen=True, eq=False)
class World:
    """labels: of the training users, none of the items from RATED on. whole: (NEW, ITEMS), ratings of other users.
    text: (ITEMS, 6), which tells an item's effect and two factors. scale: how labels are read."""

    labels: Labels
    whole: np.ndarray
    text: np.ndarray
    scale: Scale


def planted(seed: int = 0, noise: float = 0.5) -> World:
    """Ratings about 3.5: an offset of the user, an effect of the item, two directions of taste and noise."""
    rng = np.random.default_rng(seed)
    text = rng.normal(size=(ITEMS, 6))
    effect, factors = 0.4 * text[:, 0], 0.6 * text[:, 1:3]
    n = USERS + NEW
    offset, taste = rng.normal(0, 0.3, n), rng.normal(0, 1, (n, 2))
    whole = 3.5 + offset[:, None] + effect + taste @ factors.T + rng.normal(0, noise, (n, ITEMS))
    user, item = np.nonzero((rng.random((USERS, ITEMS)) < 0.4) & (np.arange(ITEMS) < RATED))
    scale = Scale((), (), True, LIKED, 4.2, 2.8)
    return World(Labels(user, item, whole[user, item]), whole[USERS:], text, scale)


@pytest.fixture(scope="session")
def world() -> World:
    return planted()


@pytest.fixture(scope="session")
def beliefs(world: World) -> Beliefs:
    return learn(world.labels, world.scale, world.text)
