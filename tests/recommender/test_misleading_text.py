"""Where a new item's text misleads and its buyers tell the truth, three buyers suffice; another item's buyers make it worse."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from llmrec import Recommender

USERS, OLD, WAVES, EACH, DAY = 120, 20, 3, 10, 86_400.0
NEW = ["for even", "for odd"]
WORDS = ("red wool", "blue steel")  # of what even users take, and of what odd ones take


def tables() -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """Even users take one half of the old items, odd ones the other, and titles tell the halves apart. New items come in three
    waves; each is for users of one kind, and half of their titles say the other kind."""
    rng, rows = np.random.default_rng(0), []
    kind = [item // (OLD // 2) for item in range(OLD)] + [item % 2 for item in range(WAVES * EACH)]
    said = kind[:OLD] + [own ^ (item // 2 % 2) for item, own in enumerate(kind[OLD:])]
    ids = [f"o{item:02}" for item in range(OLD)] + [f"x{item:02}" for item in range(WAVES * EACH)]
    for user in range(USERS):
        old = rng.choice(OLD // 2, 9, replace=False) + user % 2 * (OLD // 2)
        rows += [(f"u{user}", ids[item], DAY * day + user) for day, item in enumerate(old)]
        for wave in range(WAVES):
            item = OLD + EACH * wave + 2 * rng.integers(EACH // 2) + user % 2
            rows.append((f"u{user}", ids[item], DAY * (30 + 5 * wave) + 3600 * user))
    events = dict(zip(("user_id", "item_id", "timestamp"), map(list, zip(*rows, strict=True)), strict=True))
    return events, {"item_id": ids, "title": [f"{WORDS[word]} {place}" for place, word in enumerate(said)]}


def margins(fitted: Recommender, bought: dict[str, str]) -> np.ndarray:
    """float64 (users asked,): the score of the new item for a user's kind less that of the other, after purchases user -> item
    by others."""
    rec, asked = copy.copy(fitted), [number for number in range(USERS) if f"u{number}" not in bought]
    if bought:
        rec.observe({"user_id": list(bought), "item_id": list(bought.values()), "timestamp": [DAY * 50] * len(bought)})
    answer = rec.recommend([f"u{number}" for number in asked], items_to_recommend=NEW, k=2, steps=0)
    score = {
        (user, item): value for user, item, value in zip(answer["user_id"], answer["item_id"], answer["score"], strict=True)
    }
    return np.array([score[f"u{user}", NEW[user % 2]] - score[f"u{user}", NEW[1 - user % 2]] for user in asked])


@pytest.mark.parametrize("cold", [None, True])
def test_three_buyers_outweigh_a_text_that_misleads_and_another_items_buyers_make_it_worse(fitting, tiny_settings, cold):
    """Both items sell as often, so what they sold says nothing."""
    rec = fitting(*tables(), settings=replace(tiny_settings, cold_items=cold, blend_fraction=0.5, meta_fraction=0.2))
    rec.add_items({"item_id": NEW, "title": [f"{WORDS[1]} 90", f"{WORDS[0]} 91"]})
    misled = margins(rec, {})
    own, swapped = (margins(rec, {f"u{user}": NEW[(user + other) % 2] for user in range(6)}) for other in (0, 1))
    assert (misled < 0).mean() > 0.8 < (own > 0).mean()
    assert swapped.mean() < misled.mean()
