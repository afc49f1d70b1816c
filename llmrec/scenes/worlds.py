"""Known scenes and the episodes sampled from them: a few users form the support, others the queries.

A known scene is a catalogue or any part of it; `parts` makes hundreds out of one, each around some item by text. In an episode
what is known of all *other* catalogues is the ground, so that a known scene is met as a new one will be.

Axis convention: `T` tasks, `N` items, `C` candidates of a task (the right one first), `F` columns, `d` width of text vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from llmrec.data.dataset import Dataset
from llmrec.data.tasks import Tasks
from llmrec.errors import DataError
from llmrec.scenes.few import Few, Ground, learn_few
from llmrec.scenes.histories import came, means, steps
from llmrec.scenes.readings import COLUMNS, columns_of, read_base, read_few, stacked
from llmrec.scenes.shelf import SceneItems

RIDGE = 0.03  # of the trace of what is regressed on
HARD, DRAWN = 200, 100  # candidates of a task: those that text and the support put first, and others by chance
OWN_PARTS = 4  # of the support users, each asked about by what the others said
OWN_BASKETS, OWN_MOST = 6, 600  # that are asked for: the last of a user; of all users together


@dataclass(frozen=True)
class World:
    """A known scene. dataset: its events. shelf: its items. users: int, whose events may be support or query. again: whether
    what a user had may come again, and is ranked."""

    dataset: Dataset
    shelf: SceneItems
    users: np.ndarray
    again: bool = False


@dataclass(frozen=True)
class Moments:
    """What a ground is made of, of one known scene: second moments float64 (d, d) of histories, of histories with what came
    next, of items, and (d,) of items with how often they were bought."""

    histories: np.ndarray
    next: np.ndarray
    items: np.ndarray
    bought: np.ndarray


@dataclass(frozen=True)
class Episode:
    """inputs: float32 (T, C, F), columns of candidates, the right one first. offset: float32 (T, C), log of how many items a
    candidate stands for; -inf where it is none. own: the support users' own events, see `own_events`; None where they were not
    looked at. names: F, of the columns: `columns_of` the shelf, or its `base` alone where nobody was the support. first: the
    same users asked as on a first visit, see `first_visits`; None where nobody bought anything else."""

    inputs: np.ndarray
    offset: np.ndarray
    own: Episode | None = None
    names: tuple[str, ...] = COLUMNS
    first: Episode | None = None

    def columns(self, names: Sequence[str]) -> np.ndarray:
        """float32 (T, C, len(names)): those of `inputs` that are named."""
        return self.inputs[:, :, [self.names.index(name) for name in names]]


def moments(world: World, most: int = 3000) -> Moments:
    """Of the scene's first `most` users."""
    dataset, shelf = world.dataset, world.shelf
    asked = steps(dataset, world.users[:most])
    places, after = came(shelf.vectors, shelf.among, asked)
    if len(places) == 0:
        raise DataError("world: no user has a second basket with an item of the scene, expected some; give more users")
    given = means(shelf.vectors, asked.take(places))
    at = shelf.vectors[shelf.among]
    centred = at - at.mean(0)
    count = np.log1p(np.bincount(dataset.take(world.users).item, minlength=dataset.n_items)[shelf.items])
    n, m = len(given), len(at)
    pairs = given.T @ given / n, given.T @ (after - at.mean(0)) / n
    return Moments(*pairs, centred.T @ centred / m, centred.T @ ((count - count.mean()) / max(count.std(), 1e-6)) / m)


def ground(known: Sequence[Moments], ridge: float = RIDGE) -> Ground:
    """The ground of known scenes, each weighing the same: two ridge regressions. Raises DataError without any."""
    if not known:
        raise DataError("known: expected moments of at least one scene, got none; a ground is learned from known scenes")
    histories, items = (sum(getattr(one, name) for one in known) for name in ("histories", "items"))
    found = [
        np.linalg.solve(square + ridge * np.trace(square) * np.eye(len(square)), sum(getattr(one, name) for one in known))
        for square, name in ((histories, "next"), (items, "bought"))
    ]
    return Ground(found[0].astype(np.float32), found[1].astype(np.float32))


def parts(
    world: World, count: int, sizes: tuple[int, int], rng: np.random.Generator, least: int = 600, crowd: bool = True
) -> list[World]:
    """`count` scenes within one: an item drawn by chance and those most like it in text, log-uniformly many of `sizes`, with
    the users who had two of them or more. Where these are fewer than `least`, another one is drawn. crowd: whether each one's
    own is measured, which takes most of the time; without, it is that of the whole."""
    dataset = world.dataset.take(world.users)
    found: list[World] = []
    items = world.shelf.items
    for _ in range(20 * count):
        if len(found) == count:
            break
        many = min(int(np.exp(rng.uniform(*np.log(sizes)))), len(items))
        near = world.shelf.vectors[items] @ world.shelf.vectors[rng.choice(items)]
        among = np.zeros(dataset.n_items, bool)
        among[items[np.argpartition(-near, many - 1)[:many]]] = True
        had = np.bincount(dataset.user[among[dataset.item]], minlength=dataset.n_users)
        users = np.flatnonzero(had >= 2)
        if len(users) >= least:
            found.append(World(dataset.keep(among[dataset.item]), world.shelf.part(among, crowd), users, world.again))
    return found


def last_steps(dataset: Dataset, users: np.ndarray, among: np.ndarray) -> Tasks:
    """Of each user the last basket with an item `among` bool (N,), given all before it; users without one have no task. A first
    basket is not asked for: nothing is known before it."""
    there = np.logical_or.reduceat(among[dataset.item], dataset.basket_start[:-1]) if dataset.n_events else np.zeros(0, bool)
    owner = np.repeat(np.arange(dataset.n_users), dataset.n_baskets)
    there &= np.arange(len(there)) > dataset.first_basket[:-1][owner]
    last = np.full(dataset.n_users, -1, np.int64)
    np.maximum.at(last, owner[there], np.flatnonzero(there))
    users = np.asarray(users, np.int64)
    users = users[last[users] >= 0]
    cut = dataset.basket_start
    return Tasks(dataset, dataset.start[:-1][users], cut[last[users]], cut[last[users] + 1])


def first_visits(dataset: Dataset, users: np.ndarray, among: np.ndarray) -> Tasks:
    """`last_steps` as if the last visit were the first: histories hold no earlier purchase of the items `among`, bool (N,). A
    user who bought nothing else before has no task."""
    found = last_steps(dataset, users, among)
    keep = ~among[dataset.item]
    for task in range(len(found)):
        keep[found.query(task)] = True
    return last_steps(dataset.keep(keep), found.user, among)


def episode(world: World, known: Ground, support: int, queries: int, rng: np.random.Generator, own: bool = False) -> Episode:
    """Support users and others who ask, all drawn anew; `support` 0 is a scene without any. own: with the support's own
    events."""
    users = rng.permutation(world.users)
    few = None if support == 0 else learn_few(known, world.shelf, world.dataset, users[:support])
    others = users[support : support + queries]
    found = posed(world, known, few, last_steps(world.dataset, others, world.shelf.among), rng)
    if not world.shelf.among.all():
        asked = first_visits(world.dataset, others, world.shelf.among)
        found = replace(found, first=posed(world, known, few, asked, rng.spawn(1)[0]) if len(asked) else None)
    return replace(found, own=own_events(replace(world, users=users[:support]), known, rng)) if own and support else found


def posed(
    world: World,
    known: Ground,
    few: Few | None,
    asked: Tasks,
    rng: np.random.Generator,
    hard: int = HARD,
    drawn: int = DRAWN,
) -> Episode:
    """What is seen of the candidates of each task, of which every query holds an item of the scene. few: what the support users
    said; None where there are none. hard, drawn: candidates that text and the support put first, and others by chance."""
    target = right(asked, world.shelf.among, rng)
    columns = read_base(known, world.shelf, asked)
    if few is not None:
        columns |= read_few(few, world.shelf, asked)
    place = np.searchsorted(world.shelf.items, target)
    barred = np.zeros((len(asked), len(world.shelf.items)), bool) if world.again else columns["own"] > 0
    barred[np.arange(len(asked)), place] = True
    rough = world.shelf.rough(columns)
    if few is not None:
        rough = rough + columns["bought"] + columns["change"]
    chosen, offset = _candidates(rough, barred, min(hard, barred.shape[1] // 4), drawn, rng)
    chosen = np.concatenate([place[:, None], chosen], axis=1)
    offset = np.concatenate([np.zeros((len(asked), 1), np.float32), offset], axis=1)
    names = world.shelf.base if few is None else columns_of(world.shelf)
    inputs = stacked({name: np.take_along_axis(columns[name], chosen, 1) for name in names}, names)
    return Episode(inputs, offset, names=names)


def own_events(world: World, known: Ground, rng: np.random.Generator) -> Episode:
    """What the support users, `world.users`, took themselves, up to `OWN_MOST` of their baskets: each is asked about by what
    the other support users said, as anybody else will be."""
    users = rng.permutation(world.users)
    asked = [
        _with_item(steps(world.dataset, users[part::OWN_PARTS], OWN_BASKETS), world.shelf.among) for part in range(OWN_PARTS)
    ]
    share = min(1.0, OWN_MOST / max(sum(map(len, asked)), 1))
    found = []
    for part, tasks in enumerate(asked):
        some = tasks.take(np.sort(rng.permutation(len(tasks))[: round(share * len(tasks))]))
        if len(some):
            few = learn_few(known, world.shelf, world.dataset, np.delete(users, np.s_[part::OWN_PARTS]))
            found.append(posed(world, known, few, some, rng))
    names = columns_of(world.shelf)
    if not found:
        return Episode(np.zeros((0, 1, len(names)), np.float32), np.zeros((0, 1), np.float32), names=names)
    inputs, offset = (np.concatenate([getattr(one, name) for one in found]) for name in ("inputs", "offset"))
    return Episode(inputs, offset, names=names)


def right(tasks: Tasks, among: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """int64 (T,): one item of each query by chance, of those `among`; every query holds one."""
    items = (tasks.dataset.item[tasks.query(task)] for task in range(len(tasks)))
    return np.array([rng.choice(wanted[among[wanted]]) for wanted in items], np.int64)


def _with_item(tasks: Tasks, among: np.ndarray) -> Tasks:
    """Those in whose query there is an item `among`, bool (N,)."""
    event = np.concatenate([[0], np.cumsum(among[tasks.dataset.item])])
    return tasks.take(np.flatnonzero(event[tasks.stop] > event[tasks.split]))


def _candidates(
    rough: np.ndarray, barred: np.ndarray, hard: int, drawn: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Places (T, C - 1) of items that are not right, and the offset of each: those that `rough` (T, M) puts first stand for
    themselves, those drawn by chance for all the others."""
    rough = np.where(barred, -np.inf, rough)
    first = np.argpartition(-rough, hard, axis=1)[:, :hard]
    chance = rng.integers(0, rough.shape[1], (len(rough), drawn))
    taken = barred.copy()
    np.put_along_axis(taken, first, True, axis=1)
    stands = np.where(np.take_along_axis(taken, chance, 1), -np.inf, np.log(rough.shape[1] / drawn))
    own = np.where(np.take_along_axis(barred, first, 1), -np.inf, 0.0)
    return np.concatenate([first, chance], axis=1), np.concatenate([own, stands], axis=1).astype(np.float32)
