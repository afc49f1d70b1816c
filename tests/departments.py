"""Planted departments: users take items of one kind, which both words of a title tell together and neither alone; and rankers
that know it, or nothing."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from llmrec import SceneRecommender, Scenes
from llmrec.scenes.learning import LearnSettings, MixSettings

FIRST, SECOND, KINDS = ("red", "blue", "green", "small"), ("mug", "lamp", "rope", "tent"), 4
ITEMS, USERS, NAMES = 48, 110, ("bread", "fruit", "soap", "new")
QUICK = LearnSettings(sizes=(16,), draws=1, queries=90, mix=MixSettings(bends=2, steps=20))


class Counting:
    """What each subclass says. asked: lists; longest: of them."""

    def __init__(self) -> None:
        self.asked, self.longest = 0, 0

    def score(self, tasks, candidates):
        self.asked, self.longest = self.asked + len(tasks), max(self.longest, int(np.diff(candidates.start).max(initial=0)))
        assert (tasks.stop == tasks.split).all()  # nothing of what comes later
        return self.say(tasks, candidates).astype(np.float32)


class Truth(Counting):
    """Whether an item is of the kind that the history has most of."""

    def say(self, tasks, candidates):
        kind = np.array([kind_of(title) for title in tasks.dataset.catalogue.column("title")])
        most = [np.bincount(kind[tasks.dataset.item[tasks.support(t)]]).argmax() for t in range(len(tasks))]
        return kind[candidates.item] == np.array(most)[candidates.task]


class Noise(Counting):
    """A number for each item that says nothing."""

    def say(self, tasks, candidates):
        return np.random.default_rng(1).normal(size=tasks.dataset.n_items)[candidates.item]


def kind_of(title: str) -> int:
    one, two = title.split()
    return (FIRST.index(one) + SECOND.index(two)) % KINDS


def department(name: str, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """48 items, of which user u takes six different ones of kind u % 4."""
    rng = np.random.default_rng(seed)
    titles = [f"{FIRST[i % 4]} {SECOND[i // 4 % 4]}" for i in range(ITEMS)]
    ids, kinds = [f"{name} {i:02}" for i in range(ITEMS)], np.array([kind_of(title) for title in titles])
    rows = [
        (user, ids[item], 1.6e9 + 1e5 * visit + 1000 * seed + user)
        for user in range(USERS)
        for visit, item in enumerate(rng.choice(np.flatnonzero(kinds == user % KINDS), 6, replace=False))
    ]
    items = pd.DataFrame({"item_id": ids, "title": titles, "aisle": name})
    return pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"]), items


SHOPS = {name: department(name, seed) for seed, name in enumerate(NAMES)}
KNOWN = {name: SHOPS[name] for name in NAMES[:3]}
EVENTS, TITLES = (pd.concat([shop[table] for shop in SHOPS.values()], ignore_index=True) for table in range(2))
FEW, LATER = (SHOPS["new"][0][SHOPS["new"][0]["user_id"].between(*ends)] for ends in ((0, 15), (16, USERS)))


def ndcg(shop: SceneRecommender, events: pd.DataFrame) -> np.ndarray:
    """NDCG@10 of the last event in the new department of every user, given those before."""
    events = events.sort_values(["user_id", "timestamp"])
    last = events[events["item_id"].str.startswith("new ")].groupby("user_id").tail(1)
    answer = shop.recommend(histories=events.drop(last.index), k=10).merge(last[["user_id", "item_id"]])
    rank = last["user_id"].map(answer.set_index("user_id")["rank"])
    return (1 / np.log2(rank + 1)).fillna(0).to_numpy()


def same(one: pd.DataFrame, other: pd.DataFrame) -> None:
    what = "title" if "title" in one else "item_id"  # items of one title have one score, up to rounding
    assert one[what].tolist() == other[what].tolist()
    np.testing.assert_allclose(one["score"], other["score"], rtol=1e-5, atol=1e-5)


def with_ranker(known: Scenes, ranker: Any, weights: tuple[float, float] = (0.7, 0.4)) -> Scenes:
    """The same with a ranker, whatever it is worth."""
    changed = copy.copy(known)
    learned = replace(known.known.learned, ranker_weights=weights)
    changed._known = replace(known.known, learned=learned, ranker=ranker)
    return changed
