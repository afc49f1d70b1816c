"""Signed labels of MovieLens-1M: who is asked what after 8, 16 and 32 ratings, and how it is measured.

Users are those of `ml1m-cold`: of a fifth nothing is trained on, and constants are chosen on another tenth. Of these the users
with 62 ratings or more are asked, the same ones at every size: so many of their ratings are the support, the next 30 the query.
Primary is a seeded shuffle of each user's ratings; in the order of the file the support is what they rated first. A rating of 4
or 5 is a like. For cold films a seeded tenth of the films is withheld from training with all their ratings; the support holds
other films, the query up to 30 of these.

Axis convention: `T` users that are asked, `Q` = 30 labels of a query, `N` films, `D` draws of the bootstrap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from scipy.stats import rankdata

from benchmarks import movielens
from benchmarks.files import read
from llmrec.data.attributes import encode, learn_encoding
from llmrec.data.dataset import Dataset
from llmrec.data.splits import cold_users
from llmrec.metrics.bootstrap import Resampled
from llmrec.metrics.ranking import auc, ndcg
from llmrec.signed.labels import Labels, Scale, SignedFeedback, labels_of, scale_of
from studies.ratings.melu import Episode

NAME = "signed"
SIZES, QUERY, LEAST = (8, 16, 32), 30, 62
ORDERS = ("shuffled", "file order")
COLD = "cold films"
METRICS = ("auc", "log loss", "ndcg@10")
PRIMARY = ("shuffled, 8", "auc")  # declared before any test user was measured
LIKED = 4.0


@dataclass(frozen=True, eq=False)
class World:
    """train: labels of the users trained on. validation, test: those of each other user, in the order of the file. n_films: N.
    cold: bool (N,), the films that are withheld where cold films are asked for."""

    train: Labels
    validation: list[Labels]
    test: list[Labels]
    n_films: int
    cold: np.ndarray
    scale: Scale

    @property
    def without_cold(self) -> World:
        """The same world with nothing known of the cold films in training."""
        return replace(self, train=self.train.take(~self.cold[self.train.item]))


def load(data: str | Path) -> tuple[World, Dataset]:
    """The world of the published files, and the dataset for the films' texts."""
    whole = movielens.dataset(data)
    order = np.random.RandomState(movielens.SPLIT).permutation(whole.n_users)
    split = cold_users(whole.n_users, 0.2, 0.1, order=order)
    return world(whole, split.train, split.validation, split.test), whole


def films(data: str | Path, whole: Dataset) -> pa.Table:
    """Title, year, rating board, genres, directors and the first director of the N films; lists of genres and directors."""
    named = ("item_id", "title", "year", "mpaa", "genres", "directors")
    items = read(data, movielens.ITEMS, named, movielens.SOURCE)
    place = {film: row for row, film in enumerate(items.column("item_id").to_pylist())}
    items = items.take(pa.array([place[film] for film in whole.catalogue.ids.values]))
    lists = {name: [_names(text) for text in items.column(name).to_pylist()] for name in ("genres", "directors")}
    first = [None if names is None else names[0] for names in lists["directors"]]
    return pa.table({**{name: items.column(name) for name in ("title", "year", "mpaa")}, **lists, "director": first})


def attributes(films: pa.Table, cold: np.ndarray, states: np.ndarray | None = None) -> np.ndarray:
    """float32 (N, W): year, rating board, genres and directors, and `states` (N, d) of a language model, as
    `fit(item_attributes=...)` reads such columns, which learns how from the films that are not `cold`, bool (N,)."""
    table = films.select(["year", "mpaa", "genres", "directors"])
    if states is not None:
        table = table.append_column("states", pa.array(list(states)))
    encoding, _ = learn_encoding(table.filter(pa.array(~cold)), "films")
    return encode(encoding, table, "films")[0].blocks()


def _names(text: str | None) -> list[str] | None:
    return None if text in (None, "", "N/A") else [name.strip() for name in str(text).split(",")]


def world(whole: Dataset, train: np.ndarray, validation: np.ndarray, test: np.ndarray) -> World:
    """A world of some users of a dataset with ratings."""
    scale = scale_of(whole, SignedFeedback(liked_from=LIKED))
    assert isinstance(scale, Scale), scale
    labels = labels_of(whole, scale)
    start = np.searchsorted(labels.user, np.arange(whole.n_users + 1))
    each = [labels.take(np.arange(start[user], start[user + 1])) for user in range(whole.n_users)]
    cold = np.zeros(whole.n_items, bool)
    cold[np.random.default_rng(0).permutation(whole.n_items)[: whole.n_items // 10]] = True
    kept = labels.take(np.isin(labels.user, train))
    return World(kept, [each[user] for user in validation], [each[user] for user in test], whole.n_items, cold, scale)


def episodes(users: Sequence[Labels], order: str, size: int, seed: int) -> list[Episode]:
    """One of each user with `LEAST` labels or more; seed: of the shuffle, which the order of the file does without."""
    found = []
    for one in _ordered(users, order, seed):
        known, asked = one.take(slice(size)), one.take(slice(size, size + QUERY))
        now = None if asked.time is None else float(asked.time[0])
        found.append(Episode(int(one.user[0]), known.item, known.value, asked.item, asked.value, known.time, now))
    return found


def cold_episodes(users: Sequence[Labels], cold: np.ndarray, size: int, seed: int) -> list[Episode]:
    """One of each such user who rated a cold film: warm films as support, cold ones as query."""
    found = []
    for one in _ordered(users, ORDERS[0], seed):
        warm, new = one.take(~cold[one.item]), one.take(cold[one.item])
        if len(new) and len(warm) >= size:
            found.append(Episode(int(one.user[0]), warm.item[:size], warm.value[:size], new.item[:QUERY], new.value[:QUERY]))
    return found


def _ordered(users: Sequence[Labels], order: str, seed: int) -> list[Labels]:
    rng = np.random.default_rng(seed)
    long = [one for one in users if len(one) >= LEAST]
    return long if order == ORDERS[1] else [replace(one.take(rng.permutation(len(one))), time=None) for one in long]


def swapped(asked: Sequence[Episode]) -> list[Episode]:
    """Each user with the next one's (last) support, less the films that are asked for."""
    last = {one.user: one for one in asked}
    after = dict(zip(last, [*list(last)[1:], next(iter(last))], strict=True))
    found = []
    for one in asked:
        other = last[after[one.user]]
        keep = ~np.isin(other.item, one.asked)
        time = None if other.time is None else other.time[keep]
        found.append(Episode(one.user, other.item[keep], other.value[keep], one.asked, one.answer, time, other.now))
    return found


def measures(likely: Sequence[np.ndarray], asked: Sequence[Episode]) -> dict[str, np.ndarray]:
    """Metric -> float64 (T,), NaN where a user has none. likely: (Q,) each, the probability that a film is liked."""
    scores, liked = np.stack(likely), np.stack([one.answer >= LIKED for one in asked])
    wanted = [np.flatnonzero(row) for row in liked]
    return {"auc": auc(scores, wanted), "log loss": log_loss(scores, liked).mean(1), "ndcg@10": ndcg(scores, wanted, 10)}


def log_loss(likely: np.ndarray, liked: np.ndarray) -> np.ndarray:
    """Of each label."""
    sure = np.clip(likely, 1e-6, 1 - 1e-6)
    return -np.where(liked, np.log(sure), np.log(1 - sure))


def pooled_auc(
    scores: Mapping[str, Sequence[np.ndarray]], asked: Sequence[Episode], draws: int, seed: int
) -> dict[str, Resampled]:
    """AUC over all labels of all users together; users are drawn, the same ones for all methods, and their labels with them."""
    users, of = np.unique([one.user for one in asked], return_inverse=True)
    user = np.repeat(of, [len(one.asked) for one in asked])
    liked = np.concatenate([one.answer for one in asked]) >= LIKED
    rng, n = np.random.default_rng(seed), len(users)
    times = np.stack([np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(draws)])
    found = {}
    for name, values in scores.items():
        flat = np.concatenate(values)
        order = np.argsort(flat, kind="stable")
        rank = rankdata(flat[order], "dense") - 1
        drawn = [_weighted_auc(rank, liked[order], one[user[order]]) for one in times]
        found[name] = Resampled(_weighted_auc(rank, liked[order], np.ones(len(flat))), np.array(drawn), n)
    return found


def _weighted_auc(rank: np.ndarray, liked: np.ndarray, weight: np.ndarray) -> float:
    good, bad = (np.bincount(rank, weight * part, minlength=rank[-1] + 1) for part in (liked, ~liked))
    below = np.cumsum(bad) - bad
    return float((good * (below + bad / 2)).sum() / (good.sum() * bad.sum()))
