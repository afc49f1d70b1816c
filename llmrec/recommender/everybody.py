"""Recommendations for any number of users, batch by batch, so that memory does not grow with the number of answers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from llmrec.data.attributes import Attributes
from llmrec.data.dataset import Dataset
from llmrec.data.ids import Ids
from llmrec.data.numbers import check_whole
from llmrec.data.requests import warn_if_short
from llmrec.data.table_writer import form_of, write_file
from llmrec.errors import DataError
from llmrec.index.forks import check_process
from llmrec.progress import Stages, bar
from llmrec.recommender.answer import Answer, Request, answer_everybody, as_table
from llmrec.recommender.given import attributes_of, events_of, warn_if_lost
from llmrec.recommender.state import State
from llmrec.rules.answers import pins_shown, shortage, warn_of_rules

BATCH_SIZE = 1024  # a multiple of the rows of a batch of prompts: then batches are the same as of all users at once


@dataclass(frozen=True, eq=False)
class Everybody:
    """Who is asked for. known: histories of all of them or of some. asked: their ids. attributes: of all of them, row by row;
    None of a model that was fitted without."""

    known: Dataset
    asked: Ids
    attributes: Attributes | None

    def answers(self, state: State, request: Request, batch_size: int) -> Iterator[tuple[Answer, Ids]]:
        """The answer to each batch of users, in the order of `asked`, and who they are."""
        users = self.known.users
        place = np.arange(len(users)) if users is self.asked else users.find(self.asked.values)
        for first in range(0, len(self.asked), batch_size):
            rows = np.arange(first, min(first + batch_size, len(self.asked)))
            asked, known = self.asked.take(rows), self.known.take(place[rows][place[rows] >= 0])
            attributes = None if self.attributes is None else self.attributes.take(rows)
            yield answer_everybody(state, known, asked, attributes, request), asked


def recommend_all(
    state: State,
    path: str | Path,
    request: Request,
    histories: Any,
    columns: dict[str, str] | None,
    titles: bool,
    batch_size: int,
    verbose: bool,
) -> int:
    """See `Recommender.recommend_all`. Warnings are at the line that called the caller."""
    form = form_of(path)
    check_whole("batch_size", batch_size, 1)
    if histories is None:
        who = everybody_known(state)
    else:
        later, report, asked = events_of(state, histories, columns)
        warn_if_lost(report, stacklevel=4)
        who = Everybody(state.known.joined(asked, later)[0], asked, attributes_of(state, asked, None))
    check_process()
    applied = None if request.rules is None else state.known_rules.over(request.rules)
    shown = np.zeros(0 if applied is None else len(applied.pins), np.int64)
    count, began, users = np.zeros(len(who.asked), np.int64), time.perf_counter(), f"{len(who.asked):,} users"
    with Stages(verbose=verbose)("recommend", users) as say, bar(total=len(count), unit=" users") as drawn:

        def tables() -> Iterator[pa.Table]:
            first = 0
            for found, asked in who.answers(state, request, batch_size):
                count[first : first + len(asked)] = np.bincount(found.asker, minlength=len(asked))
                np.add(shown, pins_shown(found.asker, found.item, applied), out=shown)
                yield as_table(found, asked, state.catalogue, titles)
                first += len(asked)
                drawn.update(len(asked))

        write_file(path, tables(), form)
        say(f"{users}, {len(count) / (time.perf_counter() - began):,.0f} a second, {count.sum():,} rows in {path}")
    warn_of_rules(state.catalogue, applied, request.k, who.asked, shown, stacklevel=4)
    asker, chosen, hidden = np.repeat(np.arange(len(count)), count), request.allowed is not None, state.n_hidden
    short = shortage(asker, who.asked, request.k, applied)
    warn_if_short(asker, who.asked, request.k, request.filter_viewed, chosen, short, stacklevel=4, hidden=hidden)
    return int(count.sum())


def everybody_known(state: State) -> Everybody:
    """The users with events, and then those of whom attributes alone are known. Raises DataError where there is nobody."""
    known = state.histories
    asked = known.users
    if state.people is not None:
        more = state.people.users.take(np.flatnonzero(asked.find(state.people.users.values) < 0))
        asked = Ids([*asked.values, *more.values]) if len(more) else asked
    if not len(asked):
        why = "the model was saved without histories: save it with histories=True, or " if state.left_out else ""
        raise DataError(f"recommend_all: expected known users, got none; {why}pass histories=..., a table of events")
    return Everybody(known, asked, attributes_of(state, asked, None))
