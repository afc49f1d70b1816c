"""MeLU's split of MovieLens-1M: ratings of new users, new films and both; who is asked what, and how it is measured.

The protocol of Lee et al., "MeLU: Meta-Learned User Preference Estimator for Cold-Start Recommendation" (KDD 2019), and of the
code with which its authors make their data: in each state, the users with 13 to 100 ratings there; the ratings of each are
shuffled, the last 10 are the query and the rest the support. Their shuffle has no seed; here it is that of `episodes`, over
ratings sorted by film, and a seed of the report is one such shuffle.

**Each test user is alone.** What is known is the warm state and the one user's support, so a new film is known by its
description and by what this user said of it: ratings that other test users gave it are never used, although they lie in the
same file. In `item_cold` and `user_and_item_cold` the support, too, consists of new films only. The users of `item_cold` are
in the warm state: what they rated there is training data that may be used, and a method that does says so in its name.

Axis convention: `E` ratings, `T` users that are asked, `N` films, `Q` = 10 ratings of a query.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute

from benchmarks.files import read
from llmrec.errors import DataError
from llmrec.signed.labels import Labels

NAME = "melu_split"
SPLIT, FILMS = "movielens-1m.melu_split.parquet", "movielens-1m.items.parquet"
SOURCE = "movielens/ml-1m of github.com/hoyeoplee/MeLU, its states as one table; ratings by GroupLens, MovieLens 1M"
WARM, STATES = "warm", ("user_cold", "item_cold", "user_and_item_cold")
PRIMARY = ("user_and_item_cold", "mae")  # of decoded predictions; declared before any test state was read
FEWEST, MOST, QUERY = 13, 100, 10
DECODED, RAW = "mae", "mae, raw"
METRICS = (DECODED, RAW, "rmse", "ndcg@1", "ndcg@3", "ndcg@5", "ndcg@1, 2^r", "ndcg@3, 2^r", "ndcg@5, 2^r")
_COLUMNS = ("item_id", "title", "year", "mpaa", "genres", "directors", "writers", "actors", "plot")


Ratings = Labels  # users are ids of the file, items rows of the films


@dataclass(frozen=True)
class Episode:
    """One user that is asked: films and values of the support, (S,) each, and of the query, (Q,) each. time: (S,) of the
    support, in seconds, and now: when the query begins; None where there is no order of time."""

    user: int
    item: np.ndarray
    value: np.ndarray
    asked: np.ndarray
    answer: np.ndarray
    time: np.ndarray | None = None
    now: float | None = None


@dataclass(frozen=True)
class World:
    """What is trained on, and what is asked. films: table of N rows. states: name -> ratings of the users of that state."""

    films: pa.Table
    warm: Ratings
    states: Mapping[str, Ratings]


def load(data: str | Path) -> World:
    """The published split. Raises DataError for a file that is not there, lacks a column or names an unknown film."""
    films, table = _files(data)
    return World(films, _ratings(table, films, WARM), {state: _ratings(table, films, state) for state in STATES})


def validation(data: str | Path, seed: int = 0, newest: int = 1996, share: float = 0.2) -> World:
    """A world of the same three states cut out of the warm state alone, on which everything is chosen.

    The films of the year `newest` and later are new (the published ones are those from 1998 on, the warm ones end with 1997),
    and a random `share` of the users. No rating of another state is looked at.
    """
    films, table = _files(data)
    warm = _ratings(table, films, WARM)
    users = np.unique(warm.user)
    chosen = np.random.default_rng(seed).choice(users, int(len(users) * share), replace=False)
    new_user, new_film = np.isin(warm.user, chosen), years(films)[warm.item] >= newest
    parts = (new_user & ~new_film, ~new_user & new_film, new_user & new_film)
    states = {state: warm.take(part) for state, part in zip(STATES, parts, strict=True)}
    return World(films, warm.take(~new_user & ~new_film), states)


def years(films: pa.Table) -> np.ndarray:
    """int64 (N,): the year a film came out. Raises DataError for a film without one."""
    text = films.column("year").to_pylist()
    for row, year in enumerate(text):
        if not (year or "")[:4].isdigit():
            raise DataError(f"{FILMS}: year of row {row}: expected four digits, got {year!r}; correct it")
    return np.array([int(year[:4]) for year in text], np.int64)


def episodes(ratings: Ratings, seed: int) -> list[Episode]:
    """The users of a state with 13 to 100 ratings, by id; `seed` is that of the shuffle."""
    rng = np.random.default_rng(seed)
    found = []
    for one in by_user(ratings):
        if FEWEST <= len(one) <= MOST:
            order = rng.permutation(len(one))
            item, value = one.item[order], one.value[order]
            found.append(Episode(int(one.user[0]), item[:-QUERY], value[:-QUERY], item[-QUERY:], value[-QUERY:]))
    return found


def by_user(ratings: Ratings) -> list[Ratings]:
    """The ratings of each user, by id, sorted by film, so that the order of a file has no say."""
    sorted_ = ratings.take(np.lexsort((ratings.item, ratings.user)))
    ends = np.flatnonzero(np.diff(sorted_.user, append=-1))
    starts = np.concatenate([[0], ends[:-1] + 1])
    return [sorted_.take(np.arange(start, end + 1)) for start, end in zip(starts, ends, strict=True)] if len(ratings) else []


def decoded(predicted: np.ndarray) -> np.ndarray:
    """The whole rating that a prediction stands for: the nearest of 1 to 5. It is the posterior median of a rating whose
    predictive distribution is symmetric about the prediction and cut into whole numbers half way."""
    return np.clip(np.floor(predicted + 0.5), 1, 5)


def measures(predicted: np.ndarray, answer: np.ndarray, median: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Metric -> float64 (T,), one number a user, whose mean is what is reported.

    predicted, answer: float64 (T, Q). median: (T, Q), the whole ratings of a method that decodes by itself; None rounds.
    `mae` is of decoded predictions, `mae, raw` and `rmse` of predictions cut to 1..5, ndcg@k of the order they give: gain r, or
    2^r - 1 where the name says 2^r. Equal predictions share the gains of their places. Raises DataError for shapes that differ.
    """
    if predicted.shape != answer.shape or (median is not None and median.shape != answer.shape):
        raise DataError(f"measures: expected predictions of shape {answer.shape}, as the answers, got {predicted.shape}")
    cut = np.clip(predicted, 1, 5)
    found = {
        DECODED: np.abs((decoded(predicted) if median is None else median) - answer).mean(1),
        RAW: np.abs(cut - answer).mean(1),
        "rmse": np.sqrt(((cut - answer) ** 2).mean(1)),
    }
    for ending, gain in (("", answer), (", 2^r", 2.0**answer - 1)):
        for k in (1, 3, 5):
            found[f"ndcg@{k}{ending}"] = _ndcg(predicted, gain, k)
    return found


def answers(asked: Sequence[Episode]) -> np.ndarray:
    """float64 (T, Q)."""
    return np.stack([one.answer for one in asked])


def _ndcg(predicted: np.ndarray, gain: np.ndarray, k: int) -> np.ndarray:
    discount = np.where(np.arange(gain.shape[1]) < k, 1 / np.log2(np.arange(gain.shape[1]) + 2), 0)
    tied = (predicted[:, :, None] == predicted[:, None, :]).astype(np.float64)
    expected = (tied * gain[:, None, :]).sum(2) / tied.sum(2)  # any order of the tied ones is as likely as another
    order = np.argsort(-predicted, axis=1, kind="stable")
    return (np.take_along_axis(expected, order, 1) @ discount) / (-np.sort(-gain, axis=1) @ discount)


def _files(data: str | Path) -> tuple[pa.Table, pa.Table]:
    films = read(data, FILMS, _COLUMNS, SOURCE).sort_by("item_id")
    return films, read(data, SPLIT, ("state", "user_id", "item_id", "rating"), SOURCE)


def _ratings(table: pa.Table, films: pa.Table, state: str) -> Ratings:
    mine = table.filter(pyarrow.compute.equal(table.column("state").cast(pa.string()), state))
    ids, item = films.column("item_id").to_numpy(), mine.column("item_id").to_numpy()
    row = np.minimum(np.searchsorted(ids, item), len(ids) - 1)
    if (unknown := np.flatnonzero(ids[row] != item)).size:
        raise DataError(f"{SPLIT}: film {item[unknown[0]]} of state {state} is not in {FILMS}; take both from the same source")
    value = mine.column("rating").to_numpy().astype(np.float64)
    if value.size and not np.isin(value, (1, 2, 3, 4, 5)).all():
        raise DataError(f"{SPLIT}: rating: expected 1 to 5, got {value[~np.isin(value, (1, 2, 3, 4, 5))][0]}; correct the file")
    return Ratings(mine.column("user_id").to_numpy().astype(np.int64), row.astype(np.int64), value)
