"""The part of the public `Recommender` that keeps it up to date: items that come, change and go, users who are forgotten."""

from __future__ import annotations

import threading
import warnings
from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from llmrec.data.changes import read_additions, read_values
from llmrec.data.clean import Cleaning, CleaningReport
from llmrec.data.dataset import Dataset
from llmrec.data.requests import as_ids, check_users, find_items
from llmrec.data.table_format import TableFormat
from llmrec.encoder.weights import Weights
from llmrec.errors import DataError, IgnoredInputWarning
from llmrec.index.filters import matrix
from llmrec.index.forks import check_process
from llmrec.recommender.changing import (
    with_hidden,
    with_items,
    with_values,
    without_items,
    without_users,
)
from llmrec.recommender.shop_format import loaded_format, saved_format
from llmrec.recommender.state import State
from llmrec.store import cache_folder


class Upkeep:
    """Changes without training. Each gives the next version of the state as a whole: answers that are being made meanwhile are
    made from the one before, and changes come one after the other.

    A hidden item is not offered for now, as when it is out of stock; a removed one is gone, and its id is unknown. Neither is
    in any answer: candidates, what fills a short answer, the fallback, similar items, scenes, and after saving and loading.
    """

    weights: Weights | None
    held_out: Dataset | None
    _state: State | None
    _writing: threading.Lock

    @property
    @abstractmethod
    def state(self) -> State:
        """What is known now."""

    def keep_format(self, table_format: TableFormat) -> None:
        """Keep with the recommender how the shop writes its files: the decimal sign and the order of dates of a `Reading`.

        The commands read later files by it where these leave it open. Answers do not change. Raises DataError before `fit`.
        """
        with self._writing:
            self._state = replace(self.state, table_format=loaded_format(saved_format(table_format)))

    def add_items(
        self,
        items: Any,
        columns: dict[str, str] | None = None,
        vectors: Any = None,
        cleaning: Cleaning = Cleaning(),  # noqa: B008  (frozen)
    ) -> CleaningReport:
        """Add new items, which the next answer may hold: without training, by their texts.

        items: a table as in `fit`. A new item gets what `fit` gives an item without events: a place among the others by its
            text and by the columns that were fitted as `item_attributes`, and no popularity. Events with a new item can be
            observed from then on; see `Settings.cold_items` for how its first buyers move it in the ranking.
        columns: names in the table -> the library's. cleaning: as in `fit`.
        vectors: float32 (n, d_text), a row for each of `items`, where its text was encoded already: what the text encoder
            gives, the mean over its tokens, not normalised, as by `llmrec.encoder.items.encode_texts`. None encodes the texts.

        Known items keep their scores and their order, up to rounding, where nothing is adapted (`steps=0`); steps of an adapter
        compare a history with the whole catalogue, new items among it. Of the text encoder's weights `weights` says where they
        are, the packaged ones where it is None; a few known items are encoded again to check that they are the right ones.

        Returns what was cleaned. Raises DataError for an id that is in the catalogue already (see `update_items`), and where
        the texts of known items are too much alike to tell how new ones lie among them; SchemaError for columns or ids of other
        types than the catalogue's, WeightsError for weights of another text encoder. Nothing is changed then.
        """
        check_process()
        with self._writing:
            state = self.state
            new, report = read_additions(state.catalogue, items, columns, cleaning)
            raw = None if vectors is None else matrix(np.asarray(vectors), "vectors", state.model.text.shape[1])
            if raw is not None and (len(raw) != len(new) or report.steps[0].rows_in != len(new)):
                raise DataError(
                    f"vectors: expected one for each of {report.steps[0].rows_in:,} rows of items, none of them left out in "
                    f"cleaning, got {len(raw):,} for {len(new):,} items; drop the other rows from both first"
                )
            self._state = with_items(state, new, self.weights or Weights.packaged(), cache_folder(), raw)
        return report

    def update_items(
        self,
        items: Any,
        columns: dict[str, str] | None = None,
        cleaning: Cleaning = Cleaning(),  # noqa: B008  (frozen)
    ) -> CleaningReport:
        """Change known items: title, text, price, stock and any other column.

        items: a table of `item_id` and the columns that change; others stay, and so does a value that is missing. A new column
            is missing for all other items. columns, cleaning: as in `add_items`.
        Where the text that the item template makes of an item changes, it is encoded again, and moves; what its events taught
        stays. A column that was fitted among `item_attributes` moves it too. Other columns, such as stock, change nothing
        but the table.

        Returns what was cleaned. Raises UnknownItemError for an id that is not in the catalogue, and as `add_items`; nothing is
        changed then.
        """
        check_process()
        with self._writing:
            state = self.state
            rows, values, report = read_values(state.catalogue, items, columns, cleaning)
            self._state = with_values(state, rows, values, self.weights or Weights.packaged(), cache_folder())
        return report

    def hide_items(self, items: Iterable[Any]) -> None:
        """Offer items to nobody until `show_items`; in histories they are read as before. Where `items_to_recommend` names one,
        it is left out. `fit` begins anew, with nothing hidden. Raises UnknownItemError for an id that is not in the catalogue.
        """
        self._hide(items, True)

    def show_items(self, items: Iterable[Any]) -> None:
        """Offer hidden items again. Raises UnknownItemError for an id that is not in the catalogue."""
        self._hide(items, False)

    def remove_items(self, items: Iterable[Any]) -> None:
        """Take items out of the catalogue: their ids are unknown from now on, and later events of theirs are left out.

        Histories that hold them are read as before, and what training learned of them stays until the next `fit`. An id may
        come back by `add_items`, as a new item. Raises UnknownItemError for an id that is not in the catalogue.
        """
        with self._writing:
            state = self.state
            self._state = without_items(state, find_items(state.catalogue, as_ids(items, "items")))

    def forget(self, users: Iterable[Any]) -> None:
        """Forget users: they are then as unknown as somebody who was never there, here and in every folder that is saved later.

        Their events go, also those in `held_out`, their attributes, what is remembered of their histories, and what `observe`
        added for their events to the counts of what is popular and of the first buyers of new items. What training made of all
        users together stays: learned weights, and the counts of `fit`, such as popularity and co-occurrence, which name nobody;
        to be rid of that too, fit again without them. Counts of events that were observed before a folder was saved without
        histories stay as well, for it does not say whose they were, and so does the time of the latest event that was observed.
        Folders that were saved before, checkpoints of `fit` and `report` are not looked at.

        users: ids. An IgnoredInputWarning names those who are not known. Raises DataError for ids of another type than the
        known ones.
        """
        asked = as_ids(users, "users")
        with self._writing:
            state = self.state
            check_users(asked, state.known.first.users)
            known = state.known.knows(asked)
            if state.people is not None:
                known = known | (state.people.users.find(asked.values) >= 0)
            self._state = without_users(state, asked)
            if (held := self.held_out) is not None:
                known = known | (held.users.find(asked.values) >= 0)
                left = np.flatnonzero(asked.find(held.users.values) < 0)
                self.held_out = held.take(left) if len(left) else None
        unknown = asked.take(np.flatnonzero(~known))
        if len(unknown):
            who = (
                f"{unknown[0]!r} is"
                if len(unknown) == 1
                else f"{len(unknown):,} of {len(asked):,}, such as {unknown[0]!r}, are"
            )
            warnings.warn(f"forget: {who} not known; expected ids of known users", IgnoredInputWarning, stacklevel=2)

    def _hide(self, items: Iterable[Any], hidden: bool) -> None:
        with self._writing:
            state = self.state
            self._state = with_hidden(state, find_items(state.catalogue, as_ids(items, "items")), hidden)
