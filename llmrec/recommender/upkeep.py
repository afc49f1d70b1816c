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
        """Remember the shop's file format with the recommender: decimal sign and date order of a `Reading`.

        The commands use it for later files that leave these open. Answers do not change. Raises DataError before `fit`.
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
        """Add new items by their texts, without training; the next answer may hold them.

        items: a table as in `fit`. A new item is treated as an item without events in `fit`: its vector comes from its text and
            the columns fitted as `item_attributes`, and it has no popularity. Events with a new item can be observed from then
            on; see `Settings.cold_items` for how its first buyers change its score.
        columns: names in the table -> the library's. cleaning: as in `fit`.
        vectors: float32 (n, d_text), a row for each of `items`, if you encoded their texts: the output of the text encoder,
            the mean over its tokens, not normalised, as by `llmrec.encoder.items.encode_texts`. None encodes the texts.

        Known items keep their scores and their order, up to rounding, without adapter steps (`steps=0`); steps of an adapter
        compare a history with the whole catalogue, including new items. The text encoder is that of `weights`, the packaged one
        if None; a few known items are encoded again to check that it is the right one.

        Returns the cleaning report. Raises DataError for an id that is in the catalogue already (see `update_items`), and if
        the texts of known items are too similar to place new ones among them; SchemaError for columns or ids of other
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

        items: a table of `item_id` and the columns that change; other columns do not change, and a missing value changes
            nothing. A new column is missing for all other items. columns, cleaning: as in `add_items`.
        If an item's text by the item template changes, it is encoded again and the item's vector changes; the part learned from
        its events stays. A new value of a fitted `item_attributes` column also changes the vector. Other columns, such as
        stock, change only the table.

        Returns the cleaning report. Raises UnknownItemError for an id that is not in the catalogue, and as `add_items`; nothing
        is changed then.
        """
        check_process()
        with self._writing:
            state = self.state
            rows, values, report = read_values(state.catalogue, items, columns, cleaning)
            self._state = with_values(state, rows, values, self.weights or Weights.packaged(), cache_folder())
        return report

    def hide_items(self, items: Iterable[Any]) -> None:
        """Do not recommend these items until `show_items`, even if `items_to_recommend` names them; histories with them are
        read as before. A new `fit` hides nothing. Raises UnknownItemError for an id that is not in the catalogue.
        """
        self._hide(items, True)

    def show_items(self, items: Iterable[Any]) -> None:
        """Recommend hidden items again. Raises UnknownItemError for an id that is not in the catalogue."""
        self._hide(items, False)

    def remove_items(self, items: Iterable[Any]) -> None:
        """Remove items from the catalogue: their ids are unknown from now on, and later events with them are dropped.

        Histories with them are read as before, and what training learned from them stays until the next `fit`. `add_items` can
        add an id again, as a new item. Raises UnknownItemError for an id that is not in the catalogue.
        """
        with self._writing:
            state = self.state
            self._state = without_items(state, find_items(state.catalogue, as_ids(items, "items")))

    def forget(self, users: Iterable[Any]) -> None:
        """Forget users: they are unknown afterwards, here and in every folder saved later.

        Their events, also those in `held_out`, their attributes and cached histories are removed, and the counts of their
        observed events in popularity and in the first buyers of new items. What training learned from all users together
        stays: weights, and anonymous counts of `fit`, such as popularity and co-occurrence; to remove these too, fit again
        without the users. Counts of events observed before a save without histories stay as well, because the folder does not
        say whose they were, and so does the time of the latest observed event. Folders saved earlier, checkpoints of `fit` and
        `report` are not changed.

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
