"""Users held out of `fit`, so that what it learned can be measured on people it never met."""

from __future__ import annotations

from typing import Literal

import numpy as np

from llmrec.data.dataset import Dataset
from llmrec.data.numbers import check_whole
from llmrec.data.report import counted
from llmrec.errors import DataError
from llmrec.recommender.auto import facts, horizon
from llmrec.recommender.settings import Settings

SHARE = 0.1  # of the users
LEAST, MOST = 20, 1_000
FEWEST = 5 * LEAST  # users with long enough histories, below which nobody is held out
CELLS = 1e8  # users times items, at most: every item is scored for each of them

_DRAW = 1  # beside the seed, so that no other draw of `fit` changes


def hold_out(
    dataset: Dataset, count: int | Literal["auto"], settings: Settings, seed: int
) -> tuple[Dataset, Dataset | None, str]:
    """The users to train on, those held out (None for nobody), and a sentence for the log, "" where nobody was to be.

    Held out are users with one basket more than the horizon, drawn at random: of shorter histories nothing can be measured.
    count: how many; "auto": a tenth of all users, at least LEAST and at most MOST, fewer for more than 100,000 items, and
        nobody where fewer than FEWEST histories are long enough.
    Raises DataError for what is no such number, and for more users than have long enough histories, less one.
    """
    if count != "auto":
        check_whole("held_out_users", count, 0)
    if count == 0:
        return dataset, None, ""
    ahead = settings.train.horizon if settings.train.horizon is not None else horizon(facts(dataset, 0))
    long = np.flatnonzero(dataset.n_baskets >= 1 + ahead)
    having = f"{counted(len(long), 'user')} with 1 + {ahead} baskets"
    if count == "auto":
        if len(long) < FEWEST:
            return dataset, None, f"held out: no users, since only {having}, and {FEWEST} are needed to measure on some of them"
        most = min(MOST, max(LEAST, int(CELLS / dataset.n_items)), len(long) // 5)
        count = int(np.clip(round(SHARE * dataset.n_users), LEAST, most))
    elif count >= len(long):
        raise DataError(
            f"held_out_users is {count}, expected fewer than there are long enough histories: {having}, of which some must be "
            "trained on; hold out fewer"
        )
    chosen = np.sort(np.random.default_rng((seed, _DRAW)).choice(long, count, replace=False))
    rest = np.setdiff1d(np.arange(dataset.n_users), chosen)
    said = f"held out: {count:,} of {dataset.n_users:,} users, not trained on"
    return dataset.take(rest), dataset.take(chosen), said
