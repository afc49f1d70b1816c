"""Tables of users: who they are by id, and their attributes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from llmrec.data import clean
from llmrec.data.attributes import Attributes, Encoding, encode, learn_encoding, missing
from llmrec.data.columns import user_columns
from llmrec.data.dataset import Dataset
from llmrec.data.files import TEXT
from llmrec.data.frames import coded
from llmrec.data.ids import Ids
from llmrec.data.merge import check_kinds
from llmrec.data.reading import Reading
from llmrec.data.report import counted
from llmrec.data.tables import opened, renamed, said_of
from llmrec.data.values import repeated
from llmrec.errors import DataError
from llmrec.hub import is_address


@dataclass(frozen=True, eq=False)
class UserTable:
    """Users with attributes. users: U distinct ids. attributes: of the same U, row by row."""

    users: Ids
    attributes: Attributes

    @property
    def encoding(self) -> Encoding:
        return self.attributes.encoding

    def of(self, users: Ids) -> Attributes:
        """The attributes of `users`; all is missing for those who are not in the table."""
        return self.attributes.take(self.users.find(users.values))


def is_table(users: Any) -> bool:
    """Whether `users`, as a caller gives it, is a table rather than a list of ids."""
    if isinstance(users, (list, tuple)):
        return bool(users) and all(isinstance(row, Mapping) for row in users)
    if isinstance(users, str):
        return is_address(users) or Path(users).suffix.lower() in (*TEXT, ".parquet")
    return (
        isinstance(users, (Mapping, Path))
        or hasattr(users, "column_names")
        or (hasattr(users, "columns") and hasattr(users, "shape"))
    )


def fit_user_table(dataset: Dataset, users: Any, columns: Mapping[str, str] | None = None) -> tuple[UserTable, tuple[str, ...]]:
    """The users of a table, with an encoding learned from those of them who have events in `dataset`, and notes.

    Users of the table without events change nothing that is learned. columns: names in the table -> names of the library, of
    which only that of `user_id` is read.
    Raises SchemaError and DataError, which name the column or the user: no `user_id`, a user with two rows that differ, ids of
    another kind than the events', no user with events, no column that can be read.
    """
    ids, table, notes = _read(users, columns, None)
    check_kinds(dataset.users, ids)
    rows = ids.find(dataset.users.values)
    here = np.sort(rows[rows >= 0])
    if not len(here):
        raise DataError(
            f"users: none of {len(ids):,} users has an event, such as {ids[0]!r}; expected ids as in events, such as "
            f"{dataset.users[0]!r}"
        )
    encoding, left_out = learn_encoding(table.take(pa.array(here)), "users")
    if not encoding.columns:
        raise DataError(f"users: no column can be read as attributes. {'; '.join(left_out) or 'There is only user_id'}")
    attributes, said = encode(encoding, table.select(encoding.names), "users")
    notes = (*notes, *left_out, *said)
    notes += (f"users: {len(here):,} of {dataset.n_users:,} users with events have attributes: {', '.join(encoding.names)}",)
    return UserTable(ids, attributes), notes


def read_user_table(
    encoding: Encoding, users: Any, columns: Mapping[str, str] | None = None
) -> tuple[UserTable, tuple[str, ...]]:
    """A later table of users, in an encoding that was learned, and notes. Users are in order of appearance.

    Raises as `fit_user_table`, and DataError for a table that holds none of the columns that were fitted.
    """
    ids, table, notes = _read(users, columns, encoding)
    attributes, said = encode(encoding, table, "users")
    return UserTable(ids, attributes), (*notes, *said)


def no_users(encoding: Encoding) -> UserTable:
    """A table without users."""
    return UserTable(Ids([]), missing(encoding, 0))


def _read(users: Any, columns: Mapping[str, str] | None, fitted: Encoding | None) -> tuple[Ids, pa.Table, tuple[str, ...]]:
    """Ids of the users in order of appearance, the other columns row by row, and notes. fitted: of what a column has to be."""

    def naming(names: list[str]) -> list[str]:
        return renamed(names, lambda table: user_columns(table, _only_ids(columns, names))[0])

    found = opened(users, "users", naming, None, lambda name: True)
    if isinstance(found, Reading):
        table, notes = found.table, said_of(found)
    else:
        table, notes = user_columns(found, _only_ids(columns, found.column_names))
    others = [name for name in table.column_names if name != "user_id"]
    if fitted is not None and not set(fitted.names) & set(others):
        raise DataError(
            f"users: no column is an attribute that was fitted, expected one of {', '.join(map(repr, fitted.names))}, got "
            f"{', '.join(map(repr, others)) or 'only user_id'}; a table of events goes into histories"
        )
    if not len(table):
        raise DataError("users is empty, expected at least one row; check the path or the filter that made it")
    table, _ = clean.read_ids(table, ("user_id",), "users")
    table, step = clean.drop_missing(table, ("user_id",), "users")
    if step.rows_dropped:
        notes += (f"users: {counted(step.rows_dropped, 'row')} without a user_id, not read",)
    if not len(table):
        raise DataError("users: no row has a user_id, expected an id in each")
    table = table.filter(pa.array(~repeated(table)))
    code, values = coded(table.column("user_id"))
    twice = np.flatnonzero(np.bincount(code) > 1)
    if len(twice):
        rows = table.filter(pa.array(code == twice[0]))
        differ = next(name for name in rows.column_names if len({str(value) for value in rows.column(name).to_pylist()}) > 1)
        raise DataError(
            f"users: user {values[twice[0]]!r} has {len(rows)} rows that differ in column {differ!r}, expected one row per user"
            "; keep the latest of them before the call"
        )
    return Ids([values[index] for index in code]), table.drop_columns(["user_id"]), notes


def _only_ids(columns: Mapping[str, str] | None, names: list[str]) -> dict[str, str]:
    """Of a map for the table of events what says which column of this table is `user_id`."""
    return {theirs: ours for theirs, ours in (columns or {}).items() if ours == "user_id" and theirs in names}
