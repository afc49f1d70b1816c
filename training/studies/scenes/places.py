"""Scenes to be left out: whole catalogues of Amazon reviews, product categories of the Complete Journey, and Christmas.

What is a part of the protocol whatever the seed: who asks. Of the others a seed draws the support users.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import amazon
from benchmarks.controls import texts_of
from benchmarks.files import AS_IT_IS
from llmrec.data.build import build
from llmrec.data.journey import load_journey
from llmrec.data.tasks import Tasks
from llmrec.encoder.backbone import load_text
from llmrec.encoder.weights import Weights
from llmrec.progress import bar
from llmrec.recommender.pipeline import text_vectors
from llmrec.recommender.settings import Settings
from llmrec.scenes.shelf import part_of, shelve
from llmrec.scenes.worlds import World, last_steps, right
from studies.recognition.cases import load_retail

CATALOGUES = ("beauty", "clothing", "health", "electronic", "book")
ASKED_SEED = 2014  # who asks, whatever the seed of a run
ASKED = 1200  # users of a catalogue who ask on test
CATEGORIES, LEAST_ITEMS, BUYERS = 8, 20, 200  # largest categories of the journey; items of one; buyers of an item

CHRISTMAS = "November and December"
SEASONS = {"January and February": 1, "March and April": 3, "May and June": 5, "July and August": 7, CHRISTMAS: 11}


@dataclass(frozen=True)
class Place:
    """A scene that can be left out.

    world: whose `users` may be support, or teach when another scene is left out. asked: one task a user who has no other part.
    target: int64 (T,), what comes next. centre: float32 (d,), mean of the items' text vectors before they are centred.
    """

    name: str
    world: World
    asked: Tasks
    target: np.ndarray
    centre: np.ndarray


def catalogues(
    data: str | Path, names: Sequence[str], cache: Path | None, tried: bool = False, asked: int = ASKED
) -> dict[str, Place]:
    """Each catalogue a scene: all its items, what a user had is not ranked again, the last event of those who ask is the
    query.

    tried: users of validation ask, who are as many others, instead of those of test; either have no other part.
    """
    model, found = load_text(Weights.packaged()), {}
    for name in bar(names, desc="catalogues"):
        dataset = amazon.dataset(data, name)
        text, centring = text_vectors(model, dataset.catalogue, Settings(), cache)
        shelf = shelve(dataset, text, texts_of(dataset.catalogue))
        users = np.random.default_rng(ASKED_SEED).permutation(dataset.n_users)
        found[name] = place(name, World(dataset, shelf, users[2 * asked :]), _who(users, asked, tried), centring.mean)
    return found


def categories(cache: Path | None, tried: bool = False, count: int = CATEGORIES, asked: float = 0.3) -> dict[str, Place]:
    """The largest product categories of the Complete Journey, each a scene of one catalogue: the whole history is read, its own
    items are ranked, and what was bought may come again. `asked`: share of the households, those who ask in every scene."""
    dataset = build(*load_journey(buyers=BUYERS), cleaning=AS_IT_IS)[0]
    text, centring = text_vectors(load_text(Weights.packaged()), dataset.catalogue, Settings(), cache)
    whole = shelve(dataset, text, texts_of(dataset.catalogue))
    label = np.array([str(value) for value in dataset.catalogue.column("category")])
    events = {
        name: int((label[dataset.item] == name).sum()) for name in np.unique(label) if (label == name).sum() >= LEAST_ITEMS
    }
    users = np.random.default_rng(ASKED_SEED).permutation(dataset.n_users)
    cut = round(asked * len(users))
    found = {}
    for name in sorted(events, key=lambda one: -events[one])[:count]:
        among = label == name
        world = World(dataset, part_of(whole, among), users[2 * cut :], again=True)
        found[str(name)] = place(str(name).lower(), world, _who(users, cut, tried), text[among].mean(0) + centring.mean)
    return found


def seasons(data: str | Path, cache: Path | None, tried: bool = False, asked: float = 0.35) -> dict[str, Place]:
    """Pairs of months of Online Retail in 2011, each a scene of one catalogue: nothing later than its end is in its events. Its
    users are those who bought in it, its query is their last basket. `CHRISTMAS` is to be left out, by what came before it."""
    whole = load_retail(data)
    text, centring = text_vectors(load_text(Weights.packaged()), whole.catalogue, Settings(), cache)
    shelf = shelve(whole, text, texts_of(whole.catalogue))
    order = np.random.default_rng(ASKED_SEED).permutation(whole.n_users)
    cut = round(asked * len(order))
    who, rest = _who(order, cut, tried), order[2 * cut :]
    found = {}
    for name, first in SEASONS.items():
        begin, end = (np.datetime64(f"2011-{first:02d}") + np.array([0, 2])).astype("datetime64[s]").astype(np.float64)
        until = whole.keep(whole.time < end)
        there = np.bincount(until.user[until.time >= begin], minlength=until.n_users) > 0
        world = World(until, shelf, rest[there[rest]], again=True)
        found[name] = place(name, world, who[there[who]], text.mean(0) + centring.mean)
    return found


def place(name: str, world: World, users: np.ndarray, centre: np.ndarray) -> Place:
    """A place whose query is the last basket of each of `users` with an item of the scene, and of it one such item, by a
    fixed draw."""
    tasks = last_steps(world.dataset, users, world.shelf.among)
    target = right(tasks, world.shelf.among, np.random.default_rng(ASKED_SEED))
    return Place(name, world, tasks, target, centre)


def _who(users: np.ndarray, count: int, tried: bool) -> np.ndarray:
    return users[count : 2 * count] if tried else users[:count]
