"""What else is known in a request: attributes of the users asked for, from a table that comes with it and from those stored."""

from __future__ import annotations

from typing import Any

from llmrec.data.attributes import Attributes
from llmrec.data.ids import Ids
from llmrec.data.user_tables import UserTable, read_user_table
from llmrec.errors import DataError
from llmrec.progress import LOGGER
from llmrec.recommender.state import State


def user_table(state: State, users: Any, columns: dict[str, str] | None) -> UserTable:
    """A table of users in the state's terms. Raises DataError where none was fitted."""
    if state.people is None:
        raise DataError(
            f"users is a {type(users).__name__}, expected a list of ids; pass one column of it, or the table as histories if "
            "it holds events. Attributes are read by a model that was fitted with some: fit(..., users=table)"
        )
    found, notes = read_user_table(state.people.encoding, users, columns)
    for note in notes:
        LOGGER.info(note)
    return found


def attributes_of(state: State, asked: Ids, told: UserTable | None) -> Attributes | None:
    """What else is known of the users asked for, row by row; None of a model that was fitted without."""
    if state.people is None:
        return None
    stored = state.people.of(asked)
    return stored if told is None else told.of(asked).over(stored)
