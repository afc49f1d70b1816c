"""A shop where new items come in three waves, for tests of first buyers: their buyers show a taste, and titles do not."""

from __future__ import annotations

from typing import Any

import numpy as np

USERS, OLD, NEW, DAY = 120, 20, 30, 86_400.0
WORDS = ("red", "blue", "green", "small", "large")
IDS = [f"o{item:02}" for item in range(OLD)] + [f"x{item:02}" for item in range(NEW)]


def tables(taste: bool) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """Even users purchase one half of the old items, odd ones the other. Then new items come in three waves, a quarter of all
    events: each is sold to users of one kind where there is `taste`, to anybody otherwise. Titles say
    nothing of taste."""
    rng, rows = np.random.default_rng(0), []
    for user in range(USERS):
        old = rng.choice(OLD // 2, 9, replace=False) + user % 2 * (OLD // 2)
        rows += [(f"u{user}", f"o{item:02}", DAY * day + user) for day, item in enumerate(old)]
        for wave in range(3):
            item = NEW // 3 * wave + (2 * rng.integers(5) + user % 2 if taste else rng.integers(10))
            rows.append((f"u{user}", f"x{item:02}", DAY * (30 + 5 * wave) + 3600 * user))
    events = dict(zip(("user_id", "item_id", "timestamp"), map(list, zip(*rows, strict=True)), strict=True))
    return events, {"item_id": IDS, "title": [f"{WORDS[place // 2 % 5]} mug" for place in range(len(IDS))]}
