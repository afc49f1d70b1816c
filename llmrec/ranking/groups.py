"""Counts by group: how much more often users of an age band, a country or any other attribute take an item than others do.

Axis convention: `N` items, `G` groups of all attributes together, `T` tasks, `C` candidates of all tasks as a flat list.

A group's count of an item is Poisson around its expectation times a ratio, and the ratio has a gamma prior of mean 1, whose
strength is learned from all cells of the attribute (empirical Bayes, after DuMouchel, The American Statistician 1999). A group
of few users, or an item that few took, is thus pulled to what everybody takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from llmrec.data.attributes import Attributes
from llmrec.data.dataset import Dataset
from llmrec.data.tasks import Tasks
from llmrec.index.candidates import Candidates
from llmrec.models.counts import user_item_weights

FEATURES = (
    "popularity",  # log of the share of an item in all that training users took
    "first_popularity",  # the same in their first baskets
    "by_group",  # log ratio of the user's groups to everybody, added up over the attributes that are known
    "first_by_group",  # the same in their first baskets
)
POPULAR = 100  # items of each group that are candidates for a user without events, at most
STRENGTH = 0.5, 1e4  # least and most of the prior, in expected purchases
SMOOTHING = 100.0  # purchases by which the shares of first baskets are pulled to those of all


@dataclass(frozen=True, eq=False)
class Groups:
    """What training users took, by what else is known of them. Each user counts an item once, with the largest sample weight of
    the events with it; first baskets are as many as the horizon of training.

    popularity, first: float32 (N,), log shares. lift, first_lift: float32 (G, N), log ratios.
    """

    popularity: np.ndarray
    first: np.ndarray
    lift: np.ndarray
    first_lift: np.ndarray

    @cached_property
    def popular(self) -> np.ndarray:
        """int64 (G, POPULAR or N): the items that each group takes first most often, the most frequent of all in front."""
        score = self.first + self.first_lift
        return np.argsort(-score, axis=1, kind="stable")[:, :POPULAR]

    def candidates(self, attributes: Attributes, k: int) -> tuple[np.ndarray, np.ndarray]:
        """int64 (P,) tasks and items: the first k of `popular` for every group of T users; a pair may come several times."""
        task, column = np.nonzero(attributes.groups() >= 0)
        items = self.popular[attributes.groups()[task, column], :k]
        return np.repeat(task, items.shape[1]), items.ravel()

    def features(self, tasks: Tasks, found: Candidates) -> np.ndarray:
        """float32 (C, 4), columns as in FEATURES; of the tasks only the attributes are read."""
        lifts = [self.lift_at(tasks, found, table) for table in (self.lift, self.first_lift)]
        return np.stack([self.popularity[found.item], self.first[found.item], *lifts], 1).astype(np.float32)

    def lift_at(self, tasks: Tasks, found: Candidates, table: np.ndarray) -> np.ndarray:
        """float64 (C,): the entries of a table (G, N) at each candidate, added up over the groups of its task's user."""
        if tasks.user_attributes is None:
            return np.zeros(len(found.item))
        groups, value = tasks.user_attributes.groups(), np.zeros(len(found.item))
        for column in groups.T:
            group = column[found.task]
            value += np.where(group < 0, 0.0, table[group, found.item])
        return value


def fit_groups(part: Dataset, attributes: Attributes, horizon: int) -> Groups:
    """Count over all U users of `part`, with their `attributes` row by row; the first `horizon` baskets of each come first."""
    members = _members(attributes)
    overall, every = user_item_weights(part), user_item_weights(part.keep(part.basket < horizon))
    share = _share(np.asarray(overall.sum(0)) + 0.5)
    first = np.asarray(every.sum(0))
    lift = _lift(overall, members, attributes, np.zeros((members.shape[0], part.n_items)))
    return Groups(
        popularity=np.log(share).astype(np.float32),
        first=np.log(_share(first + SMOOTHING * share)).astype(np.float32),
        lift=lift.astype(np.float32),
        first_lift=_lift(every, members, attributes, lift).astype(np.float32),
    )


def _share(count: np.ndarray) -> np.ndarray:
    return count / count.sum()


def _members(attributes: Attributes) -> sparse.csr_array:
    """float64 (G, U): 1 where the user is of the group."""
    groups = attributes.groups()
    user, column = np.nonzero(groups >= 0)
    shape = attributes.encoding.groups, len(groups)
    return sparse.coo_array((np.ones(len(user)), (groups[user, column], user)), shape=shape).tocsr()


def _lift(bought: sparse.csr_array, members: sparse.csr_array, attributes: Attributes, prior: np.ndarray) -> np.ndarray:
    """float64 (G, N): log ratio of each group's count to what its users would take if they were like all users of whom the
    attribute is known, on top of the log ratio `prior` (G, N), to which it is pulled. bought: (U, N). members: (G, U)."""
    count, found, first = (members @ bought).toarray(), prior.copy(), 0
    for column in attributes.encoding.columns:
        rows = slice(first, first + column.groups)
        mine = count[rows]
        total = max(float(mine.sum()), 1e-12)
        expected = mine.sum(1, keepdims=True) * mine.sum(0) / total * np.exp(prior[rows])
        some = expected > 0
        excess = float(((mine[some] - expected[some]) ** 2 / expected[some] - 1).sum())
        strength = np.clip(float(expected[some].sum()) / excess, *STRENGTH) if excess > 0 else STRENGTH[1]
        found[rows] += np.log((mine + strength) / (expected + strength))
        first += column.groups
    return found
