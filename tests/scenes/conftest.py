"""Made shops whose right answer is known: what text says of them, and whether there is anything to learn."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from llmrec.data.build import build
from llmrec.scenes.learned import Learned
from llmrec.scenes.learning import LearnSettings, MixSettings, learn
from llmrec.scenes.shelf import shelve
from llmrec.scenes.worlds import World

ITEMS, GROUPS, USERS, VISITS = 60, 6, 260, 6
SETTINGS = LearnSettings(sizes=(16, 64), draws=1, queries=120, mix=MixSettings(bends=4, steps=40))


def make_shop(seed: int, habits: bool, users: int = USERS, again: bool = False) -> World:
    """A shop of 60 items in 6 groups that no text tells apart. With habits a shopper mostly takes one group's items, and some
    items are taken far more often; without, everything is taken by chance. Nothing is taken twice."""
    rng = np.random.default_rng(seed)
    group, liked = rng.integers(0, GROUPS, ITEMS), rng.gamma(0.5, size=ITEMS) + 0.02
    rows: dict[str, list] = {"user_id": [], "item_id": [], "timestamp": []}
    for user in range(users):
        weight = liked * np.where(group == rng.integers(GROUPS), 1.0, 0.05) if habits else np.ones(ITEMS)
        for visit, item in enumerate(rng.choice(ITEMS, VISITS, replace=False, p=weight / weight.sum())):
            rows["user_id"].append(user)
            rows["item_id"].append(f"i{item:02d}")
            rows["timestamp"].append(1.3e9 + 1e5 * visit + user)
    titles = {"item_id": [f"i{item:02d}" for item in range(ITEMS)], "title": [f"t{seed}x{item}" for item in range(ITEMS)]}
    dataset = build(rows, titles)[0]
    text = rng.normal(size=(dataset.n_items, 12)).astype(np.float32)
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    return World(dataset, shelve(dataset, text, dataset.catalogue.column("title")), np.arange(users), again)


@pytest.fixture(scope="session")
def shop() -> Callable[..., World]:
    return make_shop


@pytest.fixture(scope="session")
def known() -> Learned:
    """Learned from three shops with habits."""
    return learn([make_shop(seed, True) for seed in range(3)], np.random.default_rng(0), SETTINGS)


@pytest.fixture(scope="session")
def aimless() -> Learned:
    """Learned from three shops without."""
    return learn([make_shop(seed, False) for seed in range(3)], np.random.default_rng(0), SETTINGS)
