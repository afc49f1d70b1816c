"""The Dataset: every event of every user in canonical order, as flat arrays.

Axis convention: `E` events, `U` users, `N` items. Events of user `u` are `start[u]:start[u + 1]`, ordered by time, then basket,
then a seeded shuffle (never by id: in public sets ties are sorted by id, and a model learns that).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from llmrec.data.attributes import Attributes, Encoding
from llmrec.data.ids import Ids


@dataclass(frozen=True)
class Catalogue:
    """The items. Row `i` of `table` describes the item with internal index `i`.

    ids: `Ids` of length N, as the user wrote them.
    table: Arrow table of N rows with at least `title`; optional `text`, `category`, `price`, `image`, ...
    attributes: None, or some columns of the table as the model reads them, row by row; see `llmrec.data.item_attributes`.
    """

    ids: Ids
    table: pa.Table
    attributes: Attributes | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def column(self, name: str) -> list:
        """Values of one column as Python objects, length N; a KeyError names a column that is not there."""
        return self.table.column(name).to_pylist()

    @cached_property
    def blocks(self) -> np.ndarray | None:
        """float32 (N, W + B): the attributes, see `Attributes.blocks`; None without."""
        return None if self.attributes is None else self.attributes.blocks()


@dataclass(frozen=True)
class EventWeights:
    """How the sample weight of an event is computed: its weight over `scale`, times the factor of its event type.

    types: a factor for each of `Dataset.event_types`; () for 1 each. scale: the mean weight in the table that was fitted.
    An event that counts 0, such as a dislike, speaks for no item: see `Dataset.counted`.
    """

    types: tuple[float, ...] = ()
    scale: float = 1.0


@dataclass(frozen=True)
class Dataset:
    """Users' events over a catalogue.

    users: `Ids` of length U.
    start: int64 (U + 1,), offsets of each user's events.
    item: int32 (E,), internal item index.
    time: float64 (E,), seconds since 1970-01-01 UTC (float: sub-second events keep their order).
    basket: int32 (E,), ordinal of the basket within its user: 0, 1, 2, ..., non-decreasing.
    attributes: name -> float32 (E,), any of rating, weight, price, quantity, and `event_type` as a code; NaN where unknown.
    event_types: names of the codes in `attributes["event_type"]`, empty without event types.
    scene: None, or int32 (E,) code into `scenes`; -1 where the event names none.
    scenes: names of the scene codes.
    event_weights: how `sample_weight` is computed from weights and event types.
    user_attributes: None, or what else is known of the U users. Training reads it; the users of answers have theirs in
        `Tasks.user_attributes`, for some have no events.
    context: None, or how the context of events is encoded, whose codes are among `attributes`; see `llmrec.data.context`.
    """

    users: Ids
    catalogue: Catalogue
    start: np.ndarray
    item: np.ndarray
    time: np.ndarray
    basket: np.ndarray
    attributes: dict[str, np.ndarray]
    event_types: tuple[str, ...] = ()
    scene: np.ndarray | None = None
    scenes: tuple[str, ...] = ()
    event_weights: EventWeights = EventWeights()
    user_attributes: Attributes | None = None
    context: Encoding | None = None

    @property
    def n_users(self) -> int:
        return len(self.users)

    @property
    def n_items(self) -> int:
        return len(self.catalogue)

    @property
    def n_events(self) -> int:
        return len(self.item)

    @cached_property
    def latest(self) -> float:
        """Time of the newest event, seconds; minus infinity without events."""
        return float(self.time.max(initial=-np.inf))

    @cached_property
    def item_events(self) -> np.ndarray:
        """int64 (N,): number of events of each item."""
        return np.bincount(self.item, minlength=self.n_items)

    @cached_property
    def sample_weight(self) -> np.ndarray | None:
        """float32 (E,), at least 0: the weight of every event as a target of a loss, in base training and in the supports of
        the inner loop, and in counts over training users, see `models.counts`; None where all weigh 1. A missing weight counts
        as the mean weight, a missing event type as 1."""
        weight, kind = (self.attributes.get(name) for name in ("weight", "event_type"))
        found = None if weight is None else np.nan_to_num(weight / self.event_weights.scale, nan=1.0)
        if self.event_weights.types and kind is not None:
            code = np.nan_to_num(kind, nan=len(self.event_weights.types)).astype(np.int64)
            factor = np.array([*self.event_weights.types, 1.0], np.float32)[code]
            found = factor if found is None else found * factor
        return None if found is None else found.astype(np.float32)

    @cached_property
    def counting(self) -> np.ndarray | None:
        """bool (E,): which events count more than 0, see `sample_weight`; None where all do."""
        return None if self.sample_weight is None or self.sample_weight.all() else self.sample_weight > 0

    @cached_property
    def counting_before(self) -> np.ndarray:
        """int64 (E + 1,): how many events before each one count more than 0."""
        counting = np.ones(self.n_events, bool) if self.counting is None else self.counting
        return np.concatenate([[0], np.cumsum(counting)]).astype(np.int64)

    @property
    def counted(self) -> Dataset:
        """The same users and catalogue with only the events that count more than 0; the dataset itself where all do."""
        return self if self.counting is None else self._counted

    @cached_property
    def _counted(self) -> Dataset:
        return self.keep(self.counting_before[1:] > self.counting_before[:-1])

    @cached_property
    def user(self) -> np.ndarray:
        """int32 (E,): internal user index of every event."""
        return np.repeat(np.arange(self.n_users, dtype=np.int32), np.diff(self.start))

    @cached_property
    def basket_start(self) -> np.ndarray:
        """int64 (B + 1,): offsets of every basket of every user in the flat event arrays."""
        if self.n_events == 0:
            return np.zeros(1, np.int64)
        fresh = np.ones(self.n_events, bool)
        fresh[1:] = (np.diff(self.basket) != 0) | (np.diff(self.user) != 0)
        return np.append(np.flatnonzero(fresh), self.n_events).astype(np.int64)

    @cached_property
    def first_basket(self) -> np.ndarray:
        """int64 (U + 1,): number of baskets before each user; user `u` has `first_basket[u + 1] - first_basket[u]` baskets."""
        return np.searchsorted(self.basket_start, self.start).astype(np.int64)

    @property
    def n_baskets(self) -> np.ndarray:
        """int64 (U,): baskets of each user."""
        return np.diff(self.first_basket)

    def take(self, users: np.ndarray) -> Dataset:
        """The dataset of some users (int indices, in the order given) over the same catalogue; arrays are copied."""
        users = np.asarray(users, np.int64)
        counts = np.diff(self.start)[users]
        start = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        rows = np.repeat(self.start[users] - start[:-1], counts) + np.arange(start[-1])
        attributes = None if self.user_attributes is None else self.user_attributes.take(users)
        return self._rows(self.users.take(users), start, rows, attributes)

    def keep(self, mask: np.ndarray) -> Dataset:
        """The same users and catalogue with only the events where `mask` (bool, (E,)) is true; baskets are renumbered."""
        rows = np.flatnonzero(mask)
        start = np.concatenate([[0], np.cumsum(mask)])[self.start].astype(np.int64)
        kept = self._rows(self.users, start, rows, self.user_attributes)
        user, first = kept.user, kept.start[:-1]
        step = np.zeros(kept.n_events, np.int32)
        step[1:] = (np.diff(kept.basket) != 0) & (np.diff(user) == 0)
        ordinal = np.cumsum(step)
        base = np.repeat(ordinal[np.minimum(first, max(kept.n_events - 1, 0))] if kept.n_events else first, np.diff(kept.start))
        return Dataset(**{**kept._fields(), "basket": (ordinal - base).astype(np.int32)})

    def _fields(self) -> dict:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def _rows(self, users: Ids, start: np.ndarray, rows: np.ndarray, user_attributes: Attributes | None) -> Dataset:
        return Dataset(
            users=users,
            catalogue=self.catalogue,
            start=start,
            item=self.item[rows],
            time=self.time[rows],
            basket=self.basket[rows],
            attributes={name: values[rows] for name, values in self.attributes.items()},
            event_types=self.event_types,
            scene=None if self.scene is None else self.scene[rows],
            scenes=self.scenes,
            event_weights=self.event_weights,
            user_attributes=user_attributes,
            context=self.context,
        )


def empty_dataset(
    catalogue: Catalogue,
    event_types: tuple[str, ...] = (),
    scenes: tuple[str, ...] = (),
    event_weights: EventWeights = EventWeights(),
    context: Encoding | None = None,
) -> Dataset:
    """A dataset without users over a catalogue."""
    start, item, time, basket = np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0), np.zeros(0, np.int32)
    kept = event_types, None, scenes, event_weights, None, context
    return Dataset(Ids([]), catalogue, start, item, time, basket, {}, *kept)
