"""Merge histories: known events and the events observed since, datasets side by side, and one over another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from llmrec.data.dataset import Dataset
from llmrec.data.ids import Ids
from llmrec.errors import SchemaError


def merge(known: Dataset, later: Dataset) -> Dataset:
    """Both datasets' events over `known`'s catalogue, in canonical order: baskets by the time of their first event.

    Users of `known` keep their index; new ones follow. Both must be over the same catalogue (the same internal items). Baskets
    of `later` are baskets of their own, also where they happened at the same time as a known one. An attribute that only one
    side has is NaN on the other, and a scene -1. Raises SchemaError when the users' ids are of two kinds (str, int, UUID).
    """
    check_kinds(known.users, later.users)
    place = known.users.find(later.users.values)
    fresh = np.flatnonzero(place < 0)
    place[fresh] = known.n_users + np.arange(len(fresh))
    user = np.concatenate([known.user, place[later.user]])
    began = np.concatenate([_began(known), _began(later)])
    side = np.repeat([0, 1], [known.n_events, later.n_events])
    basket = np.concatenate([known.basket, later.basket])
    inside = np.arange(len(user))  # events of a basket keep their order
    order = np.lexsort((inside, basket, side, began, user))
    user, side, basket = user[order], side[order], basket[order]
    fresh_basket = np.ones(len(user), bool)
    fresh_basket[1:] = (np.diff(user) != 0) | (np.diff(side) != 0) | (np.diff(basket) != 0)
    ordinal = np.cumsum(fresh_basket)
    n_users = known.n_users + len(fresh)
    start = np.concatenate([[0], np.cumsum(np.bincount(user, minlength=n_users))]).astype(np.int64)
    return Dataset(
        users=Ids([*known.users.values, *later.users.take(fresh).values]),
        catalogue=known.catalogue,
        start=start,
        item=np.concatenate([known.item, later.item])[order],
        time=np.concatenate([known.time, later.time])[order],
        basket=(ordinal - np.repeat(ordinal[start[:-1]], np.diff(start))).astype(np.int32),
        attributes={name: np.concatenate([_values(known, name), _values(later, name)])[order] for name in _names(known, later)},
        event_types=known.event_types,
        scene=None if known.scene is None and later.scene is None else np.concatenate([_scene(known), _scene(later)])[order],
        scenes=known.scenes,
        event_weights=known.event_weights,
        context=known.context,
    )


def already_known(known: Dataset, later: Dataset) -> np.ndarray:
    """bool (E,): events of `later` that `known` holds: the same user, item and time, and where `later` says it, event type.

    Baskets and prices are not compared: a basket's label is not kept, and an extreme price was clipped. Of several such events
    in `later` as many are held as `known` has.
    """
    place = known.users.find(later.users.values)
    typed = "event_type" in later.attributes

    def keys(dataset: Dataset, user: np.ndarray, rows: np.ndarray) -> list[tuple[float, ...]]:
        kind = np.nan_to_num(_values(dataset, "event_type")[rows], nan=-1.0) if typed else np.zeros(len(rows))
        return list(
            zip(user[rows].tolist(), dataset.item[rows].tolist(), dataset.time[rows].tolist(), kind.tolist(), strict=True)
        )

    near = np.isin(known.user, place[place >= 0]) & np.isin(known.time, later.time)  # the others cannot be meant
    left = Counter(keys(known, known.user, np.flatnonzero(near)))
    found = np.zeros(later.n_events, bool)
    for row, key in enumerate(keys(later, place[later.user], np.arange(later.n_events))):
        if left[key] > 0:
            left[key] -= 1
            found[row] = True
    return found


def stacked(parts: Sequence[Dataset]) -> Dataset:
    """One dataset of all users of `parts`, in order, each with the events it has there. At least one part.

    All must be over the same catalogue, and no user in two of them. An attribute that only some have is NaN in the others, and
    a scene -1.
    """
    some = [part for part in parts if part.n_users] or list(parts[:1])
    return some[0] if len(some) == 1 else _stacked(some)


def overlaid(older: Dataset, newer: Dataset) -> Dataset:
    """The users of `older`, those that `newer` has with the events that they have there, and then the others of `newer`."""
    place = older.users.find(newer.users.values)
    order = np.concatenate([np.arange(older.n_users), older.n_users + np.flatnonzero(place < 0)])
    order[place[place >= 0]] = older.n_users + np.flatnonzero(place >= 0)
    return _stacked([older, newer]).take(order)


def check_kinds(known: Ids, later: Ids) -> None:
    """Raises SchemaError where the ids of users are of two kinds (str, int, UUID), which never match."""
    if len(known) and len(later) and type(known[0]) is not type(later[0]):
        raise SchemaError(
            f"user_id: known are {type(known[0]).__name__} such as {known[0]!r}, got {type(later[0]).__name__} such as "
            f"{later[0]!r}; expected one kind. Convert the column first"
        )


def _stacked(parts: Sequence[Dataset]) -> Dataset:
    """As `stacked`; a user may be in several parts, and is then several users of one id, of whom `take` has to choose."""
    counts = np.concatenate([np.diff(part.start) for part in parts])
    return replace(
        parts[0],
        users=Ids([value for part in parts for value in part.users.values]),
        start=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        item=np.concatenate([part.item for part in parts]),
        time=np.concatenate([part.time for part in parts]),
        basket=np.concatenate([part.basket for part in parts]),
        attributes={name: np.concatenate([_values(part, name) for part in parts]) for name in _names(*parts)},
        scene=None if all(part.scene is None for part in parts) else np.concatenate([_scene(part) for part in parts]),
    )


def _began(dataset: Dataset) -> np.ndarray:
    """Time (E,) of the first event of each event's basket."""
    edge = dataset.basket_start
    return np.repeat(np.minimum.reduceat(dataset.time, edge[:-1]), np.diff(edge)) if dataset.n_events else dataset.time


def _names(*sides: Dataset) -> list[str]:
    return list(dict.fromkeys(name for side in sides for name in side.attributes))


def _values(dataset: Dataset, name: str) -> np.ndarray:
    values = dataset.attributes.get(name)
    return np.full(dataset.n_events, np.nan, np.float32) if values is None else values


def _scene(dataset: Dataset) -> np.ndarray:
    return np.full(dataset.n_events, -1, np.int32) if dataset.scene is None else dataset.scene
