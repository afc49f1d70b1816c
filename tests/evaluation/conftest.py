"""A small shop with two tastes, and a recommender fitted on it for moments, with users held out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

USERS, ITEMS, HELD_OUT = 130, 24, 40


@pytest.fixture(scope="session")
def purchases() -> dict[str, list[Any]]:
    """130 people buy in 7 baskets, mostly what they have bought; even ones of one half of the items, odd ones of the other."""
    rng, rows = np.random.default_rng(5), []
    for person in range(USERS):
        half = np.arange(ITEMS // 2) + (person % 2) * (ITEMS // 2)
        usual = rng.choice(half, 3, replace=False)
        for basket in range(7):
            for place, item in enumerate([usual[basket % 3], rng.choice(half)]):
                when = 1.6e9 + 86_400.0 * basket + 60.0 * place + person
                rows.append((f"person-{person:04}", f"i{item:02}", when, f"{person}-{basket}"))
    names = ("user_id", "item_id", "timestamp", "basket_id")
    return {name: [row[column] for row in rows] for column, name in enumerate(names)}


@pytest.fixture(scope="session")
def fit_shop(
    tiny_folders: dict[str, Path], tiny_settings: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Any]]:
    """`fit_shop(data, items=None, **more)` -> Recommender, trained for moments, with its own cache."""
    from llmrec import OuterSettings, Recommender, Weights
    from llmrec.ranking.ranker import RankerSettings

    little = RankerSettings(hidden=2, max_steps=4)
    train = replace(tiny_settings.train, max_steps=3, batch_size=8, max_slots=8)
    settings = replace(
        tiny_settings,
        train=train,
        outer=OuterSettings(episodes=1),
        counts_ranker=little,
        blend=little,
        ranking_tasks=20,
    )

    def fit(data: Any, items: Any = None, **more: Any) -> Any:
        return Recommender(Weights.folder(tiny_folders["bert"]), settings).fit(data, items, verbose=False, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMREC_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield fit


@pytest.fixture(scope="session")
def fitted(fit_shop: Callable[..., Any], purchases: dict[str, list[Any]]) -> Any:
    """Never changed by a test: one that observes takes a copy."""
    titles = {"item_id": [f"i{item:02}" for item in range(ITEMS)], "title": [f"red mug {item}" for item in range(ITEMS)]}
    return fit_shop(purchases, titles, held_out_users=HELD_OUT)


@pytest.fixture(scope="session")
def evaluation(fitted: Any) -> Any:
    from llmrec.evaluation.held_out import evaluate_held_out

    return evaluate_held_out(fitted)
