"""Files of a benchmark, which the user brings: read and counted, or a message that says where the original is."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from llmrec.data.build import build
from llmrec.data.clean import Cleaning
from llmrec.data.dataset import Dataset
from llmrec.errors import DataError

AS_IT_IS = Cleaning(drop_duplicates=False, outlier_spread=None)  # a protocol names its events: none is dropped
_STEP = 1e-5  # seconds between events of one time in the file's order; 100,000 of them fit before the next second


class Counts(NamedTuple):
    """Size of a data set as published."""

    users: int
    items: int
    events: int

    def __str__(self) -> str:
        return f"{self.users:,} users, {self.items:,} items and {self.events:,} events"


def read(folder: str | Path, name: str, columns: tuple[str, ...], source: str) -> pa.Table:
    """The Parquet file `name` of a folder.

    Raises DataError, with the columns that are needed and `source`, where the original is to be had, when it is not there.
    """
    file = Path(folder) / name
    wanted = f"a Parquet table with {', '.join(columns)}"
    if not file.is_file():
        raise DataError(f"{file}: no such file; expected {wanted}. The original: {source}")
    try:
        table = pyarrow.parquet.read_table(file)
    except pa.ArrowException as error:
        raise DataError(f"{file}: expected {wanted}, got {error}. Write it again from the original: {source}") from error
    missing = [column for column in columns if column not in table.column_names]
    if missing:
        raise DataError(f"{file}: no column {missing[0]!r}; expected {wanted}, got {', '.join(table.column_names)}")
    return table


def in_file_order(events: pa.Table) -> pa.Table:
    """The table with times so little later, row by row, that events of one time keep the order of the file.

    Raises DataError where a user's rows are not in the order of time.
    """
    user, time = events.column("user_id").to_numpy(), events.column("timestamp").to_numpy().astype(np.float64)
    row = np.arange(len(time))
    order = np.lexsort((row, user))
    same = user[order][1:] == user[order][:-1]
    back = same & (np.diff(time[order]) < 0)
    if back.any():
        one = int(order[1:][back][0])
        raise DataError(f"events: row {one} of user {user[one]} is earlier than the row before it; sort each user's by time")
    fresh = np.concatenate([[True], ~same]) if len(row) else np.zeros(0, bool)
    begin = np.maximum.accumulate(np.where(fresh, row, 0))
    place = np.empty(len(row), np.int64)
    place[order] = row - begin
    shifted = pa.array(time + _STEP * place)
    return events.set_column(events.column_names.index("timestamp"), "timestamp", shifted)


def build_whole(events: pa.Table, items: pa.Table, expected: Counts | None, name: str, seed: int) -> Dataset:
    """The Dataset of all rows; `seed` shuffles events of one time. Items without an event are left out.

    Raises DataError where users, items and events are not as many as `expected`.
    """
    used = pa.array(np.unique(events.column("item_id").to_numpy(zero_copy_only=False)))
    items = items.filter(pa.compute.is_in(items.column("item_id").cast(used.type), used))
    dataset, report = build(events, items, cleaning=AS_IT_IS, seed=seed)
    found = Counts(dataset.n_users, dataset.n_items, dataset.n_events)
    if expected is not None and found != expected:
        raise DataError(f"{name}: expected {expected}, as published, got {found}; take the original files\n{report}")
    return dataset
