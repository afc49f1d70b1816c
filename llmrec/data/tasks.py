"""Tasks: what is known (support) and what comes later (query), by user or by scene.

A task is three cuts into the flat event arrays of a Dataset, always between baskets:

    start ──── support ──── split ──── query ──── stop

so that support and query share no event and the query is later in the canonical order by construction.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from llmrec.data.attributes import Attributes
from llmrec.data.context import event_context
from llmrec.data.dataset import Dataset, empty_dataset


@dataclass(frozen=True)
class Tasks:
    """`T` tasks over one dataset.

    dataset: where the events are.
    start, split, stop: int64 (T,), cuts into the dataset's event arrays.
    user_attributes: of each of the T users; None without any.
    context: of the T requests, or of the first event of each query; None without any.
    """

    dataset: Dataset
    start: np.ndarray
    split: np.ndarray
    stop: np.ndarray
    user_attributes: Attributes | None = None
    context: Attributes | None = None

    def __len__(self) -> int:
        return len(self.start)

    @property
    def user(self) -> np.ndarray:
        """int32 (T,): internal index of each task's user, who has at least one event."""
        return self.dataset.user[self.start]

    @property
    def counted(self) -> Tasks:
        """The same tasks over `Dataset.counted`; a support or a query may be left empty."""
        if self.dataset.counting is None:
            return self
        before = self.dataset.counting_before
        return Tasks(
            self.dataset.counted, before[self.start], before[self.split], before[self.stop], self.user_attributes, self.context
        )

    def take(self, index: np.ndarray) -> Tasks:
        """Some of the tasks, in the order given."""
        attributes, context = (None if one is None else one.take(index) for one in (self.user_attributes, self.context))
        return Tasks(self.dataset, self.start[index], self.split[index], self.stop[index], attributes, context)

    def support(self, task: int) -> slice:
        """Slice of the event arrays that is known."""
        return slice(int(self.start[task]), int(self.split[task]))

    def query(self, task: int) -> slice:
        """Slice of the event arrays to be predicted."""
        return slice(int(self.split[task]), int(self.stop[task]))

    def relevant(self, new_only: bool = False) -> list[np.ndarray]:
        """Per task the distinct items of its query, int32 ascending; with `new_only` those absent from its support. Events that
        count 0, such as dislikes, make no item relevant."""
        counted, found = self.counted, []
        for task in range(len(self)):
            wanted = np.unique(counted.dataset.item[counted.query(task)])
            if new_only:
                wanted = np.setdiff1d(wanted, self.dataset.item[self.support(task)])
            found.append(wanted)
        return found


def full_histories(histories: Dataset, users: np.ndarray) -> Tasks:
    """The whole history of each user (int indices, each with at least one event) as support, with an empty query."""
    start, stop = histories.start[users], histories.start[users + 1]
    return Tasks(histories, start, stop, stop)


def without_history(histories: Dataset, attributes: Attributes) -> Tasks:
    """A task for each of T users without any event, of whom the attributes are known; it is over a dataset without users."""
    none = np.zeros(len(attributes), np.int64)
    kept = histories.event_types, histories.scenes, histories.event_weights, histories.context
    empty = empty_dataset(histories.catalogue, *kept)
    return Tasks(empty, none, none, none, attributes)


def first_baskets(dataset: Dataset, users: np.ndarray, known: int, horizon: int) -> Tasks:
    """One task per user: the first `known` baskets are support, the next `horizon` baskets the query.

    Users with fewer than `known + horizon` baskets have no task; ask `Tasks.user` who is left.
    """
    users = np.asarray(users, np.int64)
    users = users[dataset.n_baskets[users] >= known + horizon]
    first = dataset.first_basket[users]
    return _cut(dataset, first, first + known, first + known + horizon)


def last_baskets(dataset: Dataset, users: np.ndarray, horizon: int) -> Tasks:
    """One task for each of the users, int (T,): the last `horizon` baskets are the query, all before them the support. Each
    must have more baskets than that."""
    first, stop = dataset.first_basket[users], dataset.first_basket[np.asarray(users) + 1]
    return _cut(dataset, first, stop - horizon, stop)


def without_queries(tasks: Tasks) -> Dataset:
    """The dataset of the tasks, without the events of their queries; user indices do not change."""
    kept = np.ones(tasks.dataset.n_events, bool)
    kept[expand_ranges(tasks.split, tasks.stop)[1]] = False
    return tasks.dataset.keep(kept)


def joined(first: Tasks, second: Tasks) -> Tasks:
    """The tasks of both, which must be over the same dataset; user attributes and context are read from it again."""
    start, split, stop = (np.concatenate([getattr(first, cut), getattr(second, cut)]) for cut in ("start", "split", "stop"))
    return with_attributes(Tasks(first.dataset, start, split, stop))


def sample_windows(
    dataset: Dataset,
    users: np.ndarray,
    known: tuple[int, int],
    horizon: int,
    count: int,
    rng: np.random.Generator,
    from_start: float = 0.0,
    least: int | None = None,
) -> Tasks:
    """`count` tasks at random: a user (uniform over those long enough), a support of `known[0]..known[1]` consecutive
    baskets anywhere in the history, and the `horizon` baskets that follow as query.

    from_start: share of the tasks whose support begins with the user's first basket, as a new user's does.
    least: baskets of the query, where the history ends before the horizon; None for the whole horizon.

    The support's length is drawn log-uniformly, as many between 1 and 2 as between 8 and 16: what is asked later is asked
    mostly of short histories, and a long one teaches its short beginnings only once. Where a history is too short for the
    draw, the support is cut to what fits. Raises ValueError when no user has `known[0] + least` baskets.
    """
    least = horizon if least is None else least
    users = np.asarray(users, np.int64)
    users = users[dataset.n_baskets[users] >= known[0] + least]
    if len(users) == 0:
        raise ValueError(f"no user has {known[0]} + {least} baskets: shorten `known` or `horizon`")
    chosen = rng.choice(users, count)
    drawn = np.exp(rng.uniform(np.log(known[0]), np.log(known[1] + 1), count)).astype(np.int64)
    length = np.minimum(drawn, dataset.n_baskets[chosen] - least)
    late = rng.random(count) >= from_start
    offset = (late * rng.random(count) * (dataset.n_baskets[chosen] - least - length + 1)).astype(np.int64)
    first = dataset.first_basket[chosen] + offset
    return _cut(dataset, first, first + length, np.minimum(first + length + horizon, dataset.first_basket[chosen + 1]))


def with_attributes(tasks: Tasks) -> Tasks:
    """The same tasks with all that the dataset knows beside the events: the attributes of their users, and as context of each
    request that of the first event of its query. Every user has at least one event."""
    data = tasks.dataset
    of_users = None if data.user_attributes is None else data.user_attributes.take(tasks.user)
    asked = None
    if data.context is not None:
        first_asked = np.where(tasks.split < tasks.stop, tasks.split, -1)
        asked = event_context(data.context, data.attributes, first_asked)
    return replace(tasks, user_attributes=of_users, context=asked)


def _cut(dataset: Dataset, first: np.ndarray, split: np.ndarray, stop: np.ndarray) -> Tasks:
    edge = dataset.basket_start
    return with_attributes(Tasks(dataset, edge[first], edge[split], edge[stop]))


def expand_ranges(begin: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int64 (M,) each: the number of the range, and the index, for every index in the ranges `begin ... end - 1`.

    begin, end: int (R,), with begin <= end.
    """
    length = end - begin
    owner = np.repeat(np.arange(len(length)), length)
    return owner, np.arange(len(owner)) + np.repeat(begin - (np.cumsum(length) - length), length)
