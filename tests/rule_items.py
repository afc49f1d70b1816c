"""A shop with items of every type of column, some values missing, and what tests of rules read of its answers."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from llmrec import Recommender
from llmrec.errors import ShortAnswerWarning
from llmrec.rules import Rules

ITEMS, USERS = 30, 24
IDS = [f"i{number:03}" for number in range(ITEMS)]
PEOPLE = [f"u{number:03}" for number in range(USERS)]
ASKED = ["u000", "u001", "u002", "visitor", "nobody", "seller"]  # by history, by attributes, by popularity


def item_rows() -> list[dict[str, Any]]:
    rng, rows = np.random.default_rng(7), []
    for number, item in enumerate(IDS):
        row: dict[str, Any] = {
            "item_id": item,
            "title": f"{('red', 'blue', 'green')[number % 3]} {('mug', 'lamp', 'rope', 'tent')[number % 4]}",
            "price": float(rng.integers(1, 100)),
            "stock": int(rng.integers(0, 3)),
            "in_stock": bool(rng.random() < 0.7),
            "brand": f"b{rng.integers(4)}",
            "category": ("Wine", "Beer", "Tea")[rng.integers(3)],
            "seller": (*PEOPLE[:2], "visitor", "seller", "nobody")[rng.integers(5)],
            "added": f"2026-0{rng.integers(1, 10)}-1{rng.integers(10)}",
        }
        for name in ("price", "in_stock", "brand", "seller", "added"):
            if rng.random() < 0.15:
                row[name] = None
        rows.append(row)
    return rows


ROWS = item_rows()
ROW = {row["item_id"]: row for row in ROWS}


def viewed(shop: Recommender) -> dict[str, set[str]]:
    known = shop.state.histories
    place = known.users.find(ASKED)
    items = [known.item[known.start[at] : known.start[at + 1]] if at >= 0 else [] for at in place]
    return {user: {IDS[item] for item in mine} for user, mine in zip(ASKED, items, strict=True)}


def lists(frame: pd.DataFrame) -> dict[str, list[str]]:
    return {user: frame[frame.user_id == user].item_id.tolist() for user in dict.fromkeys(frame.user_id)}


def ask(shop: Recommender, rules: Rules | None = None, k: int = ITEMS, **more: Any) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ShortAnswerWarning)
        return shop.recommend(ASKED, k, rules=rules, **more)


def where(condition: Callable[[dict[str, Any]], Any]) -> set[str]:
    return {row["item_id"] for row in ROWS if condition(row)}


def at_most(items: list[str], most: dict[str, int]) -> list[str]:
    """The items of a list that fit, from the first on, where so many may share a value of each column."""
    counts, fitting = Counter[tuple[str, Any]](), []
    for item in items:
        keys = [(name, ROW[item][name]) for name in most if ROW[item][name] is not None]
        if all(counts[key] < most[key[0]] for key in keys):
            fitting.append(item)
            counts.update(keys)
    return fitting
