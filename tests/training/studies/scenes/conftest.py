"""A made shop whose right answer no text tells, for both studies."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from llmrec.data.build import build
from llmrec.scenes.shelf import shelve
from llmrec.scenes.worlds import World
from studies.scenes.places import Place, place

ITEMS, USERS = 40, 150


def made_shop(seed: int, again: bool = False) -> Place:
    """150 shoppers; what sells differs from shop to shop, and no text tells."""
    rng = np.random.default_rng(seed)
    weight = rng.gamma(0.4, size=ITEMS) + 0.01
    rows: dict[str, list] = {"user_id": [], "item_id": [], "timestamp": []}
    for user in range(USERS):
        for visit, item in enumerate(rng.choice(ITEMS, 5, replace=again, p=weight / weight.sum())):
            rows["user_id"].append(user)
            rows["item_id"].append(f"i{item:02d}")
            rows["timestamp"].append(1.3e9 + 1e5 * visit + user)
    titles = {"item_id": [f"i{item:02d}" for item in range(ITEMS)], "title": [f"t{seed}x{item}" for item in range(ITEMS)]}
    dataset = build(rows, titles)[0]
    text = rng.normal(size=(dataset.n_items, 8)).astype(np.float32)
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    shelf = shelve(dataset, text, dataset.catalogue.column("title"))
    return place(f"shop {seed}", World(dataset, shelf, np.arange(50, USERS), again), np.arange(50), text.mean(0))


@pytest.fixture(scope="session")
def shop() -> Callable[..., Place]:
    return made_shop
