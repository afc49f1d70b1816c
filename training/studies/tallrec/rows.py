"""TALLRec's rows: ten films that a user rated, which of them were liked, and whether the next one was.

The published split of MovieLens-100K: 8,000 rows of 80 users for training, 1,000 of 14 for validation, 1,000 of 16 for test. A
user is in one part alone. Each row becomes the history of a shopper of its own: likes, dislikes (which count 0), and the film
that is asked about.

Axis convention: `R` rows, `H` films of a history, `C` candidates of a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv

from benchmarks.files import AS_IT_IS, read
from llmrec.data.build import build
from llmrec.data.splits import leave_last_out
from llmrec.data.tasks import Tasks
from llmrec.demo.films import films_folder, readable
from llmrec.index.candidates import POPULAR, Candidates

FILE, COLUMNS = "tallrec-movie.parquet", ("split", "user_id", "history", "liked", "item_id", "label")
SOURCE = "data/movie of github.com/SAI990323/TALLRec, its three parts as one table; ratings by GroupLens, MovieLens 100K"
LIKE, DISLIKE, ASKED = "like", "dislike", "asked"  # types of events
DAY = 86_400.0


@dataclass(frozen=True, eq=False)
class Rows:
    """R rows. user, item: int64 (R,), whose row, and the film that is asked about. label: bool (R,), whether it was liked.
    history: int64 (R, H), films rated before, the latest last. liked: bool (R, H), which of them were liked."""

    user: np.ndarray
    history: np.ndarray
    liked: np.ndarray
    item: np.ndarray
    label: np.ndarray

    def __len__(self) -> int:
        return len(self.user)

    def take(self, index: np.ndarray) -> Rows:
        """Some of the rows, in the order given."""
        return Rows(*(part[index] for part in (self.user, self.history, self.liked, self.item, self.label)))


def load(data: str | Path) -> dict[str, Rows]:
    """The rows of `train`, `valid` and `test`. Raises DataError where the file is not there."""
    table = read(data, FILE, COLUMNS, SOURCE)
    split = np.array(table.column("split").to_pylist())
    history, liked = (np.array(table.column(name).to_pylist(), np.int64) for name in ("history", "liked"))
    user, item, label = (table.column(name).to_numpy() for name in ("user_id", "item_id", "label"))
    rows = Rows(user, history, liked > 0, item, label > 0)
    return {name: rows.take(np.flatnonzero(split == name)) for name in ("train", "valid", "test")}


def films() -> pa.Table:
    """`item_id` and `title`, as in "The Shawshank Redemption (1994)". Raises MissingExtraError without the recbole wheel."""
    tab = csv.ParseOptions(delimiter="\t", quote_char=False)
    types = csv.ConvertOptions(column_types={"release_year:token": pa.string()})
    table = csv.read_csv(films_folder() / "ml-100k.item", parse_options=tab, convert_options=types)
    raw, years = (table.column(name).to_pylist() for name in ("movie_title:token_seq", "release_year:token"))
    return pa.table({"item_id": table.column("item_id:token"), "title": list(map(readable, raw, years))})


def tasks_of(rows: Rows, films: pa.Table) -> Tasks:
    """A task of each row, in their order: the history is its support, the film that is asked about its query."""
    count, length = rows.history.shape
    kind = np.where(rows.liked, LIKE, DISLIKE)
    events = {
        "user_id": np.repeat(np.arange(count), length + 1),
        "item_id": np.concatenate([rows.history, rows.item[:, None]], 1).ravel(),
        "timestamp": np.tile(DAY * np.arange(1, length + 2), count),
        "event_type": np.concatenate([kind, np.full((count, 1), ASKED)], 1).ravel(),
    }
    return leave_last_out(build(pa.table(events), films, cleaning=AS_IT_IS, negative=(DISLIKE,))[0]).test


def among(tasks: Tasks, items: np.ndarray) -> Candidates:
    """The films int64 (R, C) as candidates of the rows."""
    found = np.sort(tasks.dataset.catalogue.ids.find(items.ravel().tolist()).reshape(items.shape), 1).astype(np.int32)
    start = np.arange(len(items) + 1) * items.shape[1]
    return Candidates(start, found.ravel(), np.full(found.size, POPULAR, np.uint8))


def with_other(rows: Rows) -> tuple[Rows, np.ndarray]:
    """Rows as choices within a history, and the films int64 (R, 2) of each choice: the one that is asked about, and the latest
    one of the history with the other label, which leaves the history. The liked one of the two is asked about then. Rows
    without such a film are left out."""
    other = rows.liked != rows.label[:, None]
    rows = rows.take(np.flatnonzero(other.any(1)))
    other = rows.liked != rows.label[:, None]
    place = other.shape[1] - 1 - np.argmax(other[:, ::-1], 1)
    each = np.arange(len(rows))
    pair = np.stack([rows.item, rows.history[each, place]], 1)
    keep = np.arange(other.shape[1])[None] != place[:, None]
    history, liked = (part[keep].reshape(len(rows), -1) for part in (rows.history, rows.liked))
    return Rows(rows.user, history, liked, np.where(rows.label, pair[:, 0], pair[:, 1]), np.ones(len(rows), bool)), pair
