"""Categories of one shop, and choices of their users: what each took last, among items drawn by popularity.

Axis convention: `N` items of a category, `T` users who choose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import amazon
from llmrec.data.dataset import Dataset
from llmrec.data.tasks import Tasks, last_baskets
from llmrec.index.candidates import Candidates
from llmrec.index.drawn import drawn_candidates
from llmrec.metrics.ranking import rank_targets

AMONG = 19  # items drawn beside what was taken, where it is measured
DECLARED = 1_000  # users of the new category who are asked on test
LOOKED_AT = 500  # users of each category by whom constants are chosen
NEGATIVES = 4  # items drawn beside what was taken, in choices that teach


@dataclass(frozen=True, eq=False)
class Category:
    """name: of the category. dataset: all its events. test, validation, teaching: int64, its users by a fixed permutation, in
    parts that share nobody."""

    name: str
    dataset: Dataset
    test: np.ndarray
    validation: np.ndarray
    teaching: np.ndarray

    @property
    def popularity(self) -> np.ndarray:
        """int64 (N,): events of the users who are not asked on test or validation."""
        asked = np.concatenate([self.test, self.validation])
        return np.bincount(self.dataset.item[~np.isin(self.dataset.user, asked)], minlength=self.dataset.n_items)


def category(data: str | Path, name: str, seed: int) -> Category:
    """A category and its users' parts."""
    dataset = amazon.dataset(data, name)
    order = np.random.default_rng((seed, len(name), dataset.n_users)).permutation(dataset.n_users)
    return Category(name, dataset, *np.split(order, [DECLARED, DECLARED + LOOKED_AT]))


def asked(here: Category, users: np.ndarray, negatives: int, seed: int) -> tuple[Tasks, Candidates]:
    """What each of the users took last beside `negatives` other items of the category, drawn by popularity."""
    tasks = last_baskets(here.dataset, users, 1)
    return tasks, drawn_candidates(tasks, here.popularity, negatives, np.random.default_rng((seed, len(users), negatives)))


def asked_within(
    here: Category, users: np.ndarray, part: np.ndarray, negatives: int, seed: int, most: int
) -> list[tuple[Tasks, Candidates]]:
    """The same within parts of the catalogue, each a scene: what each of the users took last beside other items of its part.

    part: int64 (N,), the part of each item. Parts without enough items are left out. most: users of each part.
    """
    tasks, popularity, found = last_baskets(here.dataset, users, 1), here.popularity, []
    taken = part[here.dataset.item[tasks.split]]
    for one in np.unique(taken):
        mine = np.where(part == one, popularity, 0)
        if np.count_nonzero(mine) < 20 * negatives:
            continue
        some = tasks.take(np.flatnonzero(taken == one)[:most])
        found.append((some, drawn_candidates(some, mine, negatives, np.random.default_rng((seed, int(one))))))
    return found


def ndcg(scores: Sequence[np.ndarray], taken: Sequence[np.ndarray]) -> np.ndarray:
    """float64 (T,): NDCG@10 of the candidate that was taken. scores, taken: (C,) of each user's candidates, as many for all."""
    return rank_targets(np.stack(scores), [np.flatnonzero(hit) for hit in taken]).ndcg(10)


def hit(values: np.ndarray) -> np.ndarray:
    """Hit@1 out of NDCG@10 of one among AMONG + 1: 1 at the first place, 1 / n where it is shared by n items, else 0."""
    place = np.arange(AMONG + 1)
    shared = np.cumsum(np.where(place < 10, 1 / np.log2(2 + place), 0.0)) / (1 + place)  # NDCG where n items are first
    return np.isclose(values[..., None], shared, rtol=0, atol=1e-9) @ (1 / (1.0 + place))
