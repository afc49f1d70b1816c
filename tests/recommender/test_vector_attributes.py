"""A column of vectors, such as states of a language model, brings a new item to those who take what is alike in it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from llmrec import Recommender

WORDS = ("red", "blue", "green", "small", "large")
USERS, ITEMS, DAY, NEW = 80, 24, 86_400.0, ["for even", "for odd"]
KINDS = np.array([[1.0, 0.0, 0.3, 0.0], [0.0, 1.0, 0.0, 0.3]])


def tables(told: bool) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """Even users take one half of the items, odd ones the other; titles say nothing of it. told: whether the vectors tell the
    halves apart, or are drawn at random."""
    rng, rows = np.random.default_rng(0), []
    for user in range(USERS):
        some = rng.choice(ITEMS // 2, 10, replace=False) + user % 2 * (ITEMS // 2)
        rows += [(f"u{user}", f"i{item:02}", DAY * day + user) for day, item in enumerate(some)]
    events = dict(zip(("user_id", "item_id", "timestamp"), map(list, zip(*rows, strict=True)), strict=True))
    kind = np.arange(ITEMS) // (ITEMS // 2) if told else rng.integers(0, 2, ITEMS)
    vectors = KINDS[kind] + 0.1 * rng.normal(size=(ITEMS, 4))
    ids = [f"i{item:02}" for item in range(ITEMS)]
    return events, {
        "item_id": ids,
        "title": [f"{WORDS[item % 5]} mug" for item in range(ITEMS)],
        "state": vectors.astype(np.float32).tolist(),
    }


def right(rec: Recommender) -> float:
    """The share of users who get the new item of their kind before the other."""
    rec.add_items({"item_id": NEW, "title": ["red mug"] * 2, "state": KINDS.astype(np.float32).tolist()})
    users = [f"u{user}" for user in range(USERS)]
    answer = rec.recommend(users, items_to_recommend=NEW, k=1, steps=0)
    first = dict(zip(answer["user_id"], answer["item_id"], strict=True))
    return float(np.mean([first[f"u{user}"] == NEW[user % 2] for user in range(USERS)]))


@pytest.mark.slow
def test_a_new_item_is_ranked_by_its_vector(fitting, tiny_settings):
    settings = replace(
        tiny_settings,
        user_encoder="small",
        train=replace(tiny_settings.train, max_steps=300, learning_rate=3e-3, text_only_rate=0.5),
    )
    found = {told: right(fitting(*tables(told), settings=settings, item_attributes=["state"])) for told in (True, False)}
    assert found[True] > 0.9 > found[False] + 0.2
