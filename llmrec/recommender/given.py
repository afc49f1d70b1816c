"""The inputs of a request: events of its users, their attributes, its context; warnings say what is not used."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from llmrec.data.attributes import Attributes
from llmrec.data.build import asked_for, check_some_known
from llmrec.data.clean import Cleaning, CleaningReport
from llmrec.data.context import request_context
from llmrec.data.dataset import Dataset
from llmrec.data.ids import Ids
from llmrec.data.numbers import check_seed
from llmrec.data.report import losses
from llmrec.data.requests import as_ids, check_new_users, check_users
from llmrec.data.user_tables import UserTable, is_table, read_user_table
from llmrec.encoder.weights import Weights
from llmrec.errors import DataError, DataLossWarning, IgnoredInputWarning, MissingHistoriesWarning, TrainedUsersWarning
from llmrec.progress import LOGGER
from llmrec.recommender.settings import Settings
from llmrec.recommender.state import State


@dataclass(frozen=True, eq=False)
class Asked:
    """Who a request asks for, and what is known of them.

    users: those asked for. known: histories of some of them. attributes: of all of them, row by row; None of a model that was
    fitted without. frame: of the type that the answer is given in.
    """

    users: Ids
    known: Dataset
    attributes: Attributes | None
    frame: Any


def asked_by(
    state: State,
    users: Any,
    histories: Any,
    columns: dict[str, str] | None,
    frame: Any,
    call: str,
    stacklevel: int = 3,
    labels: bool = False,
) -> Asked:
    """Read `users` and `histories` of a request, as `Recommender.recommend` describes them.

    frame: of what was fitted. call: the name of the method that was called. labels: whether ratings are read as labels.

    Warnings are given at the line that called the caller. Raises DataError and UnknownItemError as `recommend`.
    """
    if (users is None and histories is None) or not (users is None or histories is None or is_table(users)):
        raise DataError(
            f"{call} needs either users (known ids, or a table of attributes) or histories (a table of events); with "
            "histories, users is a table of their attributes"
        )
    told = None if users is None or not is_table(users) else user_table(state, users, columns)
    if histories is not None:
        later, report, asked = events_of(state, histories, columns)
        warn_if_lost(report, stacklevel=stacklevel + 1)
        if labels:
            warn_of_ratings(state, later, call, stacklevel=stacklevel + 1)
        known = state.known.joined(asked, later)[0]
        frame = frame if isinstance(histories, Dataset) else histories
    else:
        asked, frame = (as_ids(users, "users"), frame) if told is None else (told.users, users)
        (check_users if told is None else check_new_users)(asked, state.known.first.users)
        known = state.known.of(asked)
    attributes = attributes_of(state, asked, told, stacklevel=stacklevel + 1)
    if histories is None:
        gets = "the average prediction" if call == "predict" else "popular items"
        warn_if_left_out(state, asked, attributes, gets, stacklevel=stacklevel + 1)
    return Asked(asked, known, attributes, frame)


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


def attributes_of(state: State, asked: Ids, told: UserTable | None, stacklevel: int = 3) -> Attributes | None:
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
            stacklevel=stacklevel,
        )
    return told.of(asked).over(stored)


def context_of(state: State, context: Mapping[str, Any] | None, stacklevel: int = 3) -> Attributes | None:
    """What is known of the request; None for nothing. An IgnoredInputWarning, at the line that called the caller, names each
    value that was not learned. Raises as `request_context`."""
    if context is None:
        return None
    found, notes = request_context(state.known.first.context, context)
    for note in notes:
        warnings.warn(note, IgnoredInputWarning, stacklevel=stacklevel)
    return found


def events_of(state: State, events: Any, columns: dict[str, str] | None) -> tuple[Dataset, CleaningReport, Ids]:
    """Histories over the state's catalogue, in the state's terms, and the users of the table, see `asked_for`.

    A Dataset, such as `Recommender.held_out`, is taken as it is, also where the catalogue has grown since. Raises DataError for
    one over another catalogue, or with other event types or scenes.
    """
    known = state.known.first
    if isinstance(events, Dataset):
        _check_terms(events, known)
        found = replace(events, catalogue=state.catalogue, event_weights=known.event_weights, user_attributes=None)
        return found, CleaningReport(()), events.users
    terms = known.event_types, known.scenes, Cleaning(), state.seed, known.context, state.settings.signed.negative
    found, report, asked = asked_for(state.catalogue, events, columns, *terms)
    for note in report.notes:
        LOGGER.info(note)
    return replace(found, event_weights=known.event_weights), report, asked


def events_to_evaluate(state: State, events: Any, columns: dict[str, str] | None) -> Dataset:
    """Histories to measure on. A TrainedUsersWarning, at the line that called the caller, says how many of their users were
    trained on."""
    held, report, _ = events_of(state, events, columns)
    check_some_known(held, report)
    place = state.known.first.users.find(held.users.values)
    if trained := int(((place >= 0) & (place < state.trained)).sum()):
        warnings.warn(
            f"evaluate: {trained:,} of {held.n_users:,} users were training users, so the figures are higher than for new "
            "users; pass events of users who were held out of fit",
            TrainedUsersWarning,
            stacklevel=3,
        )
    return held


def _check_terms(events: Dataset, known: Dataset) -> None:
    """Raises DataError where internal numbers of the two datasets do not mean the same. Items may have been added since, for
    they stand behind the others."""
    items = events.catalogue.ids.values
    grown = items == known.catalogue.ids.values[: len(items)]
    pairs = {
        "items": (list(known.catalogue.ids.values) if grown else list(items), list(known.catalogue.ids.values)),
        "event types": (list(events.event_types), list(known.event_types)),
        "scenes": (list(events.scenes), list(known.scenes)),
    }
    for what, (came, expected) in pairs.items():
        if came != (expected[: len(came)] if what == "items" else expected):
            raise DataError(
                f"events: expected a Dataset with the {len(expected):,} {what} that were fitted, got one with {len(came):,} "
                "other ones; pass a table of events, which is read in the terms of the fit"
            )


def warn_if_lost(report: CleaningReport, stacklevel: int = 3) -> None:
    """A DataLossWarning, at the line that called the caller, where much of a request's events cannot be used; smaller losses
    go to the logger."""
    much = losses(report.steps)
    for line in losses(report.steps, above=0):
        if line not in much:
            LOGGER.info(line)
    if much:
        text = f"{'; '.join(much)}. Users without other events count as new users"
        warnings.warn(text, DataLossWarning, stacklevel=stacklevel)


def warn_of_ratings(state: State, events: Dataset, call: str, stacklevel: int = 3) -> None:
    """An IgnoredInputWarning, at the line that called the caller, where events have ratings outside of those in `fit`."""
    if state.signed is None or not state.signed.scale.rated or (rating := events.attributes.get("rating")) is None:
        return
    seen, value = state.signed.seen, rating.astype(np.float64)
    far = np.isfinite(value) & (seen.clip(value) != value)
    if far.any():
        first = float(value[far][0])
        warnings.warn(
            f"{call}: expected ratings between {seen.least:g} and {seen.most:g}, as in fit, got {int(far.sum()):,} of "
            f"{int(np.isfinite(value).sum()):,} outside, such as {first:g}, which counts as "
            f"{float(seen.clip(np.array(first))):g}; give them on the scale of fit, or fit again",
            IgnoredInputWarning,
            stacklevel=stacklevel,
        )


def warn_if_left_out(state: State, asked: Ids, attributes: Attributes | None, instead: str, stacklevel: int = 3) -> None:
    """A MissingHistoriesWarning, at the line that called the caller, where users are asked for whose histories were not saved
    with the model. attributes: of `asked`, row by row; who has some is not missing. instead: what the others get."""
    if not state.left_out:
        return
    told = state.known.knows(asked) if attributes is None else state.known.knows(asked) | attributes.known.any(1)
    unknown = asked.take(np.flatnonzero(~told))
    if len(unknown):
        who = f"user {unknown[0]!r} is" if len(unknown) == 1 else f"{len(unknown):,} users, such as {unknown[0]!r}, are"
        gets = "gets" if len(unknown) == 1 else "get"
        warnings.warn(
            f"{who} not known here and {gets} {instead}: the model was saved without histories; save it "
            "with histories=True, pass histories=..., or observe their events first",
            MissingHistoriesWarning,
            stacklevel=stacklevel,
        )


def check_for_tables(context: Any, item_attributes: Any, event_weights: Any) -> None:
    """Raises DataError where a `fit` of a Dataset is given what is read of tables alone."""
    for name, given in (("context", context), ("item_attributes", item_attributes), ("event_weights", event_weights)):
        if given:
            see = "EventWeights" if name == "event_weights" else "build"
            raise DataError(f"{name}: expected with a table of events, got a Dataset, which has its own: see `{see}`")


def check_parts(weights: Any, settings: Any, seed: Any) -> None:
    """Raises DataError for what a `Recommender` cannot be made with."""
    if weights is not None and not isinstance(weights, Weights):
        raise DataError(
            f"weights is {weights!r}, expected a Weights; say Weights.folder(path) for a folder on this machine, "
            "Weights.hub(name) for a name on the Hugging Face hub, or leave it out for the packaged MiniLM"
        )
    if not isinstance(settings, Settings):
        raise DataError(f"settings is {settings!r}, expected a Settings, such as Settings(); leave it out for the default")
    check_seed(seed)
