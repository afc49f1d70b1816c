"""Cold items: one cut in time, and each user's first purchase of an item that training has not seen.

What a shop does with new articles: training ends at the cut, users go on, and the items that come in are known by their text
alone. For comparison the same model is trained with them too, through other users.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks import amazon
from benchmarks.protocol import Aim, Benchmark, ByPart, Reference, Setting
from llmrec.data.dataset import Dataset
from llmrec.data.splits import TimeSplit, by_time, cold_items
from llmrec.data.tasks import Tasks

CATEGORIES = ("beauty", "clothing", "health", "electronic")
METRIC = "ndcg@10"
FOLDS, FOLDS_SEED = 2, 2014  # of the reference: a part of the protocol, whatever the seed of training
LABEL = "trained with them"


def item_cold(data: str | Path, category: str) -> Benchmark:
    """`item-cold-CATEGORY`, over Amazon reviews with ties shuffled."""
    return asked_for_new_items(amazon.dataset(data, category), f"item-cold-{category}")


def asked_for_new_items(whole: Dataset, name: str) -> Benchmark:
    """Cold items are those whose first event is at or after the moment before which 90% of the events lie. A task: the first
    event of a cold item, of each user who was there before that moment; all that the user did before it is known.

    Constants are chosen at an earlier moment, 80% of all events, on the events before the later one, which has cold items of
    its own. "cold" ranks the cold items alone; "all" ranks everything the user has not had, and its constants are chosen on
    everybody's next event after the cut: tasks that always end in a cold item would teach no more than that.
    """
    late = by_time(whole, 0.9)
    early = by_time(late.train, time=by_time(whole, 0.8).time)
    settings = _settings(
        ByPart(first_cold(late.train, early.time), first_cold(whole, late.time)),
        ByPart(cold_items(late.train, early.time), cold_items(whole, late.time)),
        amazon.next_one(early.test),
    )
    reference = Reference(LABEL, tuple(_folds(whole, late, early, settings, name)))
    aims = tuple(
        Aim(setting.name, METRIC, least, times)
        for setting in settings
        for least, times in ((1.5, "frozen text"), (0.6, f", {LABEL}"))
    )
    return Benchmark(
        name,
        early.train,
        np.arange(early.train.n_users),
        settings,
        ("cold", METRIC),
        aims,
        late.train,
        np.arange(late.train.n_users),
        ByPart(reference, reference),
    )


def first_cold(dataset: Dataset, time: float) -> Tasks:
    """One task for each user with events before `time` (seconds) and of a cold item: the first such event is the query, one
    event, and all events before it are the support, those after `time` too."""
    event = np.flatnonzero(cold_items(dataset, time)[dataset.item])
    user, first = np.unique(dataset.user[event], return_index=True)
    there = dataset.time[dataset.start[user]] < time
    split = event[first][there]
    return Tasks(dataset, dataset.start[user][there], split, split + 1)


def without_what_follows(dataset: Dataset, time: float, mine: np.ndarray) -> Dataset:
    """All events but those at or after `time` of the users in `mine`, bool (U,); users without an event are left out."""
    left = dataset.keep((dataset.time < time) | ~mine[dataset.user])
    return left.take(np.flatnonzero(np.diff(left.start)))


def _folds(whole: Dataset, late: TimeSplit, early: TimeSplit, settings: tuple[Setting, ...], name: str) -> Iterator[Benchmark]:
    """The reference's: half of the users are asked, and what they did after the cut is not trained on; all that the others did
    is, and turn about.

    One model for all who are asked would not do: nearly all who take a cold item are asked about one, and two thirds of the
    tasks would be about an item without an event left to be trained on.
    """
    rng = np.random.default_rng(FOLDS_SEED)
    of_early, of_late = (rng.permutation(data.n_users) % FOLDS for data in (late.train, whole))
    learn = settings[1].learn
    assert learn is not None and settings[0].among is not None
    for fold in range(FOLDS):
        mine, mine_late = of_early == fold, of_late == fold
        train = without_what_follows(late.train, early.time, mine)
        train_final = without_what_follows(whole, late.time, mine_late)
        asked = ByPart(_of(settings[0].validation, mine), _of(settings[0].test, mine_late))
        some = _settings(asked, settings[0].among, _of(learn, mine))
        users, users_final = np.arange(train.n_users), np.arange(train_final.n_users)
        yield Benchmark(name, train, users, some, ("cold", METRIC), (), train_final, users_final)


def _settings(asked: ByPart[Tasks], cold: ByPart[np.ndarray], learn: Tasks) -> tuple[Setting, ...]:
    return (
        Setting("cold", asked.validation, asked.test, "unseen", cold),
        Setting("all", asked.validation, asked.test, "unseen", learn=learn),
    )


def _of(tasks: Tasks, mine: np.ndarray) -> Tasks:
    return tasks.take(np.flatnonzero(mine[tasks.user]))
