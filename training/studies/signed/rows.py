"""Protocols of language models on MovieLens-1M that ask about rows: will this user like this film (4 or 5 of 5)?

ReLLa (Lin et al., WWW 2024): ratings sorted by time, user and film; the first 5 of a user are history only; the others are
rows, of which the first 80% in time may be trained on, the next 10% are validation and the last 10% test. What was rated before
a row is its history, also what has the time of the row itself and a smaller number: a third of the test rows have such.
Trained on are `n` rows drawn at random, each with the last 30 films of its history *and their ratings*, which is what the
prompts of the paper hold: 8,192 rows show about 203,000 ratings. A test row's support is its whole history, which holds ratings
that are later than the rows trained on, and earlier test rows.

CoLLM (Zhang et al., TKDE 2025): a table that is cut by time. A test row's support are the user's rows of the training part, or
of the training and the validation part: never another test row, although the histories in the table hold those.

Ours reads the time of the row that is asked; a variant does not. A rating of 4 or 5 is a like; where the table has likes alone,
they stand as 4 and 3.

Axis convention: `E` ratings, `N` films.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks import movielens
from benchmarks.files import build_whole, read
from llmrec.data.dataset import Dataset
from llmrec.signed.labels import Labels, Scale
from studies.ratings.melu import Episode
from studies.signed.protocol import LIKED

FIRST, LAST = 5, 30  # ratings of a user that are history only; films of a history that a training row shows
PRIMARY = ("8,192 rows", "auc")  # declared before any test row was read
COLLM = "collm-ml1m.parquet"
COLLM_SOURCE = "data/ml-1m of github.com/zyang1580/CoLLM, its three parts as one table; ratings by GroupLens, MovieLens 1M"
TRAIN, HISTORY = "training rows", "training and validation rows"  # what a support of CoLLM holds
SCALE = Scale((), (), True, LIKED, LIKED, LIKED - 1)
WANTED = {"256 rows": 0.755, "1,024 rows": 0.785, "8,192 rows": 0.803, "65,536 rows": 0.810, TRAIN: 0.7357 + 0.015}
PUBLISHED = {
    "8,192 rows": {"ReLLa, Vicuna-13B": 0.7927},
    "65,536 rows": {"ReLLa, Vicuna-13B": 0.8033},
    TRAIN: {"CoLLM-DIN, Vicuna-7B": 0.7353, "BinLLM, Vicuna-7B": 0.7425},
}


@dataclass(frozen=True, eq=False)
class Rows:
    """labels: E ratings, by user and then in the protocol's order. start: (U + 1,), where a user's begin. train, validation,
    test: int64, which of the E ratings are rows, in the order of time."""

    labels: Labels
    start: np.ndarray
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray

    def episode(self, row: int) -> Episode:
        """A row with all that its user rated before it as support."""
        user = self.labels.user[row]
        return _episode(self.labels.take(slice(int(self.start[user]), row)), self.labels.take(slice(row, row + 1)))

    def shown(self, rows: np.ndarray) -> Labels:
        """The ratings that training rows show, without repetition: their own, and those of the last films before them."""
        first = np.maximum(self.start[self.labels.user[rows]], rows - LAST)
        seen = np.zeros(len(self.labels) + 1, np.int64)
        np.add.at(seen, first, 1)
        np.add.at(seen, rows + 1, -1)
        return self.labels.take(np.cumsum(seen[:-1]) > 0)


def rella(data: str | Path) -> tuple[Rows, Dataset]:
    """The rows of the protocol, and the dataset for the films' texts."""
    whole = movielens.dataset(data)
    table = read(data, movielens.EVENTS, ("user_id", "item_id", "rating", "timestamp"), movielens.SOURCE)
    user, film, time = (table.column(name).to_numpy() for name in ("user_id", "item_id", "timestamp"))
    item = whole.catalogue.ids.find(film.tolist())
    rating = table.column("rating").to_numpy().astype(np.float64)
    return in_time(Labels(np.unique(user, return_inverse=True)[1], item, rating, time.astype(np.float64)), film), whole


def in_time(labels: Labels, film: np.ndarray) -> Rows:
    """The rows of ratings with times, where `film` (E,) settles ties within a user."""
    time = labels.time
    assert time is not None
    order = np.lexsort((film, time, labels.user))
    ordered = labels.take(order)
    start = np.searchsorted(ordered.user, np.arange(ordered.user.max() + 2))
    rows = np.flatnonzero(np.arange(len(order)) - start[ordered.user] >= FIRST)
    rows = rows[np.lexsort((film[order][rows], ordered.user[rows], time[order][rows]))]
    return Rows(ordered, start, *np.split(rows, [int(0.8 * len(rows)), int(0.9 * len(rows))]))


@dataclass(frozen=True, eq=False)
class Parts:
    """Ratings of the three parts of CoLLM's table, each by user and time."""

    train: Labels
    validation: Labels
    test: Labels

    def episodes(self, asked: Labels, known: Sequence[Labels]) -> list[Episode]:
        """One of each row of `asked`, with what its user rated in `known` as support."""
        found = []
        for user in np.unique(asked.user):
            some = [one.take(one.user == user) for one in known]
            support = Labels(*(np.concatenate([vars(one)[name] for one in some]) for name in vars(some[0])))
            found += [_episode(support, asked.take(slice(row, row + 1))) for row in np.flatnonzero(asked.user == user).tolist()]
        return found


def collm(data: str | Path) -> tuple[Parts, Dataset]:
    """The three parts, and the dataset for the films' titles."""
    table = read(data, COLLM, ("split", "user_id", "item_id", "timestamp", "label", "title"), COLLM_SOURCE)
    films = table.select(["item_id", "title"])
    first = np.unique(films.column("item_id").to_numpy(), return_index=True)[1]
    events = table.select(["user_id", "item_id", "timestamp"])
    whole = build_whole(events, films.take(pa.array(np.sort(first))), None, "collm", seed=0)
    item = whole.catalogue.ids.find(table.column("item_id").to_pylist())
    user, time = table.column("user_id").to_numpy(), table.column("timestamp").to_numpy()
    labels = Labels(user, item, table.column("label").to_numpy() + LIKED - 1, time.astype(np.float64))
    part, order = np.array(table.column("split").to_pylist()), np.lexsort((item, time, user))
    return Parts(*(labels.take(order[part[order] == name]) for name in ("train", "valid", "test"))), whole


def _episode(support: Labels, row: Labels) -> Episode:
    """One row of one rating."""
    now = None if row.time is None else float(row.time[0])
    return Episode(int(row.user[0]), support.item, support.value, row.item, row.value, support.time, now)


def each_with_earlier(labels: Labels) -> list[Episode]:
    """One of each rating that has others of its user before it, these as support: for the regression on counts."""
    start = np.searchsorted(labels.user, labels.user)
    whole = Rows(labels, np.searchsorted(labels.user, np.arange(labels.user.max() + 2)), *[np.zeros(0, np.int64)] * 3)
    return [whole.episode(row) for row in np.flatnonzero(np.arange(len(labels)) > start).tolist()]
