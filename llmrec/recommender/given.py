"""What else is known in a request: attributes of the users asked for, from a table and from those stored, and its context."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from llmrec.data.attributes import Attributes
from llmrec.data.context import request_context
from llmrec.data.ids import Ids
from llmrec.data.requests import check_users
from llmrec.data.user_tables import UserTable, read_user_table
from llmrec.errors import DataError, IgnoredInputWarning
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
    """What else is known of the users asked for, row by row; None of a model that was fitted without.

    Raises DataError where the ids of the table `told` are of another kind than those asked for. An IgnoredInputWarning, at the
    line that called the caller, says where the table has none of them.
    """
    if state.people is None:
        return None
    stored = state.people.of(asked)
    if told is None:
        return stored
    check_users(told.users, asked, "the ids asked for")
    if len(asked) and (told.users.find(asked.values) < 0).all():
        warnings.warn(
            f"users: the table of {len(told.users):,} users, such as {told.users[0]!r}, has none of the {len(asked):,} users "
            f"asked for, such as {asked[0]!r}, and is not read; expected their ids",
            IgnoredInputWarning,
            stacklevel=3,
        )
    return told.of(asked).over(stored)


def context_of(state: State, context: Mapping[str, Any] | None) -> Attributes | None:
    """What is known of the request; None for nothing. An IgnoredInputWarning, at the line that called the caller, names each
    value that was not learned. Raises as `request_context`."""
    if context is None:
        return None
    found, notes = request_context(state.known.first.context, context)
    for note in notes:
        warnings.warn(note, IgnoredInputWarning, stacklevel=3)
    return found
