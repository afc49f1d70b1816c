"""One small shop with its fitted recommender, shared by the folder: fitting is what takes time.

Every event of a user has a time of its own, so that no answer depends on the shuffle among ties.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rule_items import IDS, PEOPLE, ROWS

WORDS = ("red", "blue", "green", "small", "large", "mug", "lamp", "rope", "tent", "soap")
USERS, ITEMS = 24, 30


def event_table(users: list[Any], items: list[Any], seed: int = 1) -> dict[str, list[Any]]:
    """Histories of 5 to 9 baskets of 1 to 3 distinct items; even users like one half of the catalogue, odd ones the other."""
    rng, rows = np.random.default_rng(seed), []
    for number, user in enumerate(users):
        half = np.arange(len(items) // 2) + (number % 2) * (len(items) // 2)
        for basket in range(rng.integers(5, 10)):
            for place, item in enumerate(rng.choice(half, rng.integers(1, 4), replace=False)):
                when = 1.6e9 + 86_400.0 * basket + 60.0 * place + number
                rows.append((user, items[item], when, f"{number}-{basket}", 2.5 + item))
    names = ("user_id", "item_id", "timestamp", "basket_id", "price")
    return {name: [row[column] for row in rows] for column, name in enumerate(names)}


def item_table(ids: list[Any]) -> dict[str, list[Any]]:
    return {"item_id": ids, "title": [f"{WORDS[i % 5]} {WORDS[5 + i // 5 % 5]}" for i in range(len(ids))]}


@pytest.fixture(scope="session")
def world() -> Any:
    """`world.events(users, items, seed)` and `world.items(ids)` make tables; `world.users` and `world.ids` are the shop's."""
    users, ids = [f"u{number:03}" for number in range(USERS)], [f"i{number:03}" for number in range(ITEMS)]
    return SimpleNamespace(events=event_table, items=item_table, users=users, ids=ids)


@pytest.fixture(scope="session")
def fitting(
    tiny_folders: dict[str, Path], tiny_settings: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Any]]:
    """`fitting(events, items, settings=..., seed=0, **more)` -> Recommender fitted on tables, with its own cache."""
    from llmrec import Recommender, Weights

    def fit(events: Any, items: Any = None, settings: Any = tiny_settings, seed: int = 0, **more: Any) -> Any:
        return Recommender(Weights.folder(tiny_folders["bert"]), settings, seed).fit(events, items, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMREC_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield fit


@pytest.fixture(scope="session")
def fitted(fitting: Callable[..., Any], world: Any) -> Any:
    """Never changed by a test: one that observes takes `recommender`."""
    return fitting(world.events(world.users, world.ids), world.items(world.ids))


@pytest.fixture
def recommender(fitted: Any) -> Any:
    """A recommender of one's own over the shared state, which is a value."""
    return copy.copy(fitted)


@pytest.fixture(scope="session")
def ruled_shop(fitting: Callable[..., Any], world: Any, tiny_settings: Any) -> Any:
    """A recommender over the items of `rule_items`; "visitor" is known by attributes alone. Never changed by a test."""
    people = pd.DataFrame({"user_id": [*PEOPLE, "visitor"], "country": ["north", "south"] * 12 + ["south"]})
    events = world.events(PEOPLE, IDS)
    del events["price"]
    return fitting(events, pd.DataFrame(ROWS), tiny_settings, users=people)


@pytest.fixture(scope="session")
def clicks(world: Any) -> dict[str, list[Any]]:
    """Histories of five people whom the recommender has never met, in the order new4, ..., new0."""
    return world.events([f"new{number}" for number in (4, 3, 2, 1, 0)], world.ids, seed=9)
