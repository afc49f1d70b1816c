"""Made shops whose right answer is known: what text says of them, and whether there is anything to learn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from llmrec.data.build import build
from llmrec.encoder.weights import Weights
from llmrec.scenes.api import Scenes
from llmrec.scenes.learned import Learned
from llmrec.scenes.learning import LearnSettings, MixSettings, learn
from llmrec.scenes.shelf import shelve
from llmrec.scenes.worlds import World

ITEMS, GROUPS, USERS, VISITS = 60, 6, 260, 6
SETTINGS = LearnSettings(sizes=(16, 64), draws=1, queries=120, mix=MixSettings(bends=4, steps=40))


def make_tables(seed: int, habits: bool, users: int = USERS) -> tuple[dict[str, list], dict[str, list]]:
    """Events and items of a shop of 60 items in 6 groups that no text tells apart. With habits a shopper mostly takes one
    group's items, and some items are taken far more often; without, everything is taken by chance. Nothing is taken twice."""
    rng = np.random.default_rng(seed)
    group, liked = rng.integers(0, GROUPS, ITEMS), rng.gamma(0.5, size=ITEMS) + 0.02
    rows: dict[str, list] = {"user_id": [], "item_id": [], "timestamp": []}
    for user in range(users):
        weight = liked * np.where(group == rng.integers(GROUPS), 1.0, 0.05) if habits else np.ones(ITEMS)
        for visit, item in enumerate(rng.choice(ITEMS, VISITS, replace=False, p=weight / weight.sum())):
            rows["user_id"].append(user)
            rows["item_id"].append(f"i{item:02d}")
            rows["timestamp"].append(1.3e9 + 1e5 * visit + user)
    names = ["".join("abcdefghij"[int(digit)] for digit in f"{seed}{item:02d}") for item in range(ITEMS)]
    return rows, {"item_id": [f"i{item:02d}" for item in range(ITEMS)], "title": names}


def make_shop(seed: int, habits: bool, users: int = USERS, again: bool = False) -> World:
    """The same as a world, with text vectors that say nothing."""
    dataset = build(*make_tables(seed, habits, users))[0]
    text = np.random.default_rng([seed, 1]).normal(size=(dataset.n_items, 12)).astype(np.float32)
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    return World(dataset, shelve(dataset, text, dataset.catalogue.column("title")), np.arange(users), again)


@pytest.fixture(scope="session")
def shop() -> Callable[..., World]:
    return make_shop


@pytest.fixture(scope="session")
def tables() -> Callable[..., tuple[dict[str, list], dict[str, list]]]:
    return make_tables


@pytest.fixture(scope="session")
def scenes(tiny_folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Scenes]]:
    """`scenes(settings=SETTINGS, family="bert", seed=0)` -> Scenes that nothing is known of, with a cache of the session's."""

    def make(settings: LearnSettings | None = SETTINGS, family: str = "bert", seed: int = 0) -> Scenes:
        return Scenes(Weights.folder(tiny_folders[family]), settings, seed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMREC_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield make


@pytest.fixture(scope="session")
def fitted(scenes: Callable[..., Scenes]) -> Scenes:
    """Of three shops with habits, as tables; never changed by a test."""
    return scenes().fit({f"shop {seed}": make_tables(seed, True) for seed in range(3)})


@pytest.fixture(scope="session")
def newcomer() -> tuple[dict[str, list], dict[str, list]]:
    """Events and items of a shop with habits that is not among the known ones."""
    return make_tables(7, True)


@pytest.fixture(scope="session")
def known() -> Learned:
    """Learned from three shops with habits."""
    return learn([make_shop(seed, True) for seed in range(3)], np.random.default_rng(0), SETTINGS)


@pytest.fixture(scope="session")
def aimless() -> Learned:
    """Learned from three shops without."""
    return learn([make_shop(seed, False) for seed in range(3)], np.random.default_rng(0), SETTINGS)
