"""A scene as a reader sees it: text vectors as tensors, windows of histories, and how many support users bought what.

Axis convention: `N` items of the catalogue, `M` items of the scene, `T` windows, `L` events of a window, `d` width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from llmrec.data.tasks import Tasks
from llmrec.errors import DataError
from llmrec.models.counts import basket_of_events, support_counts, user_items
from llmrec.scenes.histories import steps
from llmrec.scenes.worlds import World

MOST = 30  # last events of a history that are read


@dataclass(frozen=True)
class Bought:
    """What support users bought. row: int64 (U,), of each user of the dataset its row of `had`; -1 for others. had: float32
    sparse (support users, M). count: float32 (M,), of how many each item was."""

    row: np.ndarray
    had: sparse.csr_array
    count: np.ndarray


@dataclass(frozen=True)
class Room:
    """world: the scene. vectors: (N, d). at: (M, d), those of the scene's own items. items: int64 (M,), these. place: int64
    (N,), of an item among them; -1 outside. bought: None where there is nobody to count."""

    world: World
    vectors: Tensor
    at: Tensor
    items: np.ndarray
    place: np.ndarray
    bought: Bought | None = None


@dataclass(frozen=True)
class Windows:
    """T histories, and what is known of the scene's items beside each.

    item: int64 (T, L), the last events, latest first; 0 where there is none. back: float32 (T, L), how many baskets before the
    last one. there: bool (T, L). own: int64 (R,) window, int64 (R,) place and float32 (R,) log(1 + times) of what was had
    before. taken: None, or int64 (Q,) window and int64 (Q,) place where the window's own user is one of those counted.
    target: int64 (T,), place of what came next; -1 where nobody asks for it.
    """

    item: Tensor
    back: Tensor
    there: Tensor
    own: tuple[Tensor, Tensor, Tensor]
    taken: tuple[Tensor, Tensor] | None
    target: Tensor

    def __len__(self) -> int:
        return len(self.item)


def room(world: World) -> Room:
    """A world with nobody counted."""
    items = world.shelf.items
    place = np.full(len(world.shelf.among), -1, np.int64)
    place[items] = np.arange(len(items))
    vectors = torch.from_numpy(world.shelf.vectors)
    return Room(world, vectors, vectors if world.shelf.among.all() else vectors[torch.from_numpy(items)], items, place)


def counted(room: Room, users: np.ndarray) -> Room:
    """The same with support `users`, int indices; nobody gives a room where nobody is counted."""
    if len(users) == 0:
        return replace(room, bought=None)
    dataset = room.world.dataset
    had = user_items(dataset.take(users))[:, room.items].tocsr().astype(np.float32)
    had.data = np.ones_like(had.data)
    row = np.full(dataset.n_users, -1, np.int64)
    row[users] = np.arange(len(users))
    return replace(room, bought=Bought(row, had, np.asarray(had.sum(0)).ravel().astype(np.float32)))


def asks(world: World, users: np.ndarray, most: int = 20) -> tuple[Tasks, np.ndarray]:
    """Every item of the scene that each of `users` took after a first basket, of his last `most` baskets: tasks (T,), one an
    item, and the items, int64 (T,)."""
    tasks = steps(world.dataset, users, most)
    length = tasks.stop - tasks.split
    row = np.repeat(np.arange(len(tasks)), length)
    event = np.repeat(tasks.split - np.cumsum(length) + length, length) + np.arange(length.sum())
    item = world.dataset.item[event].astype(np.int64)
    inside = world.shelf.among[item]
    return tasks.take(row[inside]), item[inside]


def windows(room: Room, tasks: Tasks, target: np.ndarray | None = None, most: int = MOST) -> Windows:
    """Histories of tasks, and their targets, int (T,) items of the scene, or None.

    Raises DataError for a target outside the scene. A target is never counted among what was had before, nor is anything the
    query holds.
    """
    dataset, count = tasks.dataset, len(tasks)
    length = np.minimum(tasks.split - tasks.start, most)
    deep = max(int(length.max(initial=0)), 1)
    event = tasks.split[:, None] - 1 - np.arange(deep)
    there = np.arange(deep) < length[:, None]
    event = np.where(there, event, 0)
    item = np.where(there, dataset.item[event] if dataset.n_events else 0, 0).astype(np.int64)
    basket = basket_of_events(dataset)[event] if dataset.n_events else event
    there &= ~_twice(basket, item, there)
    back = np.where(there, basket[:, :1] - basket, 0).astype(np.float32)
    own = support_counts(tasks)[:, room.items].tocoo()
    row, place, times = own.row.astype(np.int64), own.col.astype(np.int64), np.log1p(own.data).astype(np.float32)
    at = np.full(count, -1, np.int64) if target is None else room.place[target]
    if target is not None and (at < 0).any():
        raise DataError("target: expected items of the scene, got one outside; draw it with `worlds.right`")
    if not room.world.again:
        free = place != at[row]
        row, place, times = row[free], place[free], times[free]
    mine = (torch.from_numpy(row), torch.from_numpy(place), torch.from_numpy(times))
    tokens = (torch.from_numpy(np.where(there, item, 0)), torch.from_numpy(back), torch.from_numpy(there))
    return Windows(*tokens, mine, _taken(room, tasks), torch.from_numpy(at))


def _twice(basket: np.ndarray, item: np.ndarray, there: np.ndarray) -> np.ndarray:
    """bool (T, L): the item was in the same basket at an earlier place of the window."""
    found = np.zeros(there.shape, bool)
    row, column = np.nonzero(there)
    key = (basket[row, column].astype(np.int64) << 32) | item[row, column]
    order = np.lexsort((column, key, row))
    same = (np.diff(key[order]) == 0) & (np.diff(row[order]) == 0)
    found[row[order][1:][same], column[order][1:][same]] = True
    return found


def _taken(room: Room, tasks: Tasks) -> tuple[Tensor, Tensor] | None:
    if room.bought is None or len(tasks) == 0:
        return None
    at = room.bought.row[tasks.user]
    inside = np.flatnonzero(at >= 0)
    if len(inside) == 0:
        return None
    found = room.bought.had[at[inside]].tocoo()
    return torch.from_numpy(inside[found.row].astype(np.int64)), torch.from_numpy(found.col.astype(np.int64))
