"""Amazon reviews of 2014: leave-last-out, in shuffled and in published order, and one cut in time for all users."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.files import Counts, build_whole, in_file_order, read
from benchmarks.protocol import Aim, Benchmark, Setting
from llmrec.data.dataset import Dataset
from llmrec.data.splits import by_time, leave_last_out
from llmrec.data.tasks import Tasks
from llmrec.errors import DataError

PUBLISHED = {
    "beauty": Counts(22_332, 12_086, 198_215),
    "clothing": Counts(39_230, 22_948, 277_534),
    "health": Counts(38_329, 18_427, 343_831),
    "electronic": Counts(28_566, 15_743, 241_198),
    "book": Counts(38_234, 38_519, 517_167),
}
SOURCE = "the Amazon 5-core sets of github.com/Tiny-Snow/SeqRecBenchmark-Datasets, from McAuley's reviews of 2014"
TIES = 2014  # seed of the shuffle among events of one time: a part of the protocol, whatever the seed of training
SETTING, METRIC = "last", "ndcg@10"
HELD_OUT = ("clothing", "health")  # no default was chosen on them


def tables(data: str | Path, category: str) -> tuple[pa.Table, pa.Table]:
    """Events and items of a category: `amazon2014-CATEGORY.events.parquet` and `.items.parquet` in the folder `data`."""
    if category not in PUBLISHED:
        raise DataError(f"no Amazon category {category!r}; there are {', '.join(PUBLISHED)}")
    events = read(data, f"amazon2014-{category}.events.parquet", ("user_id", "item_id", "timestamp"), SOURCE)
    return events, read(data, f"amazon2014-{category}.items.parquet", ("item_id", "title"), SOURCE)


def dataset(data: str | Path, category: str, published_order: bool = False) -> Dataset:
    """All events. Within one time they are shuffled, or with `published_order` in the order of the file.

    The file sorts events of one time by item id, and 43% of beauty's last events share their time with the one before: a
    model that learns the ids' order is rewarded for it. Figures in published order are for comparison with papers only.
    """
    events, items = tables(data, category)
    return build_whole(in_file_order(events) if published_order else events, items, PUBLISHED[category], category, TIES)


def last_out(whole: Dataset, name: str, aims: tuple[Aim, ...] = ()) -> Benchmark:
    """Validation asks for each user's last item but one, test for the last; all items are ranked except those seen.

    Training sees neither. The test support holds the validation item, as is the custom.
    """
    cut = leave_last_out(whole)
    settings = (Setting(SETTING, cut.validation, cut.test, "unseen"),)
    return Benchmark(name, cut.train, np.arange(cut.train.n_users), settings, (SETTING, METRIC), aims)


def cut_in_time(whole: Dataset, name: str, aims: tuple[Aim, ...] = ()) -> Benchmark:
    """One moment for all users: test asks for the next one event of everyone with events on both sides of the moment before
    which 90% of the events lie.

    Constants are chosen at an earlier moment, 80% of all events, on the events before the later one. An item that nobody had
    before the cut stays in the ranking and in the query: such is a shop's day.
    """
    late = by_time(whole, 0.9)
    # Only what came before the later moment may be known when constants are chosen.
    early = by_time(late.train, time=by_time(whole, 0.8).time)
    settings = (Setting("next", next_one(early.test), next_one(late.test), "unseen"),)
    users, users_final = np.arange(early.train.n_users), np.arange(late.train.n_users)
    return Benchmark(name, early.train, users, settings, ("next", METRIC), aims, late.train, users_final)


def beauty(data: str | Path) -> Benchmark:
    """`beauty`: leave-last-out with ties shuffled, the one to believe."""
    aims = (Aim(SETTING, METRIC, 0.062), Aim(SETTING, METRIC, 1.10, "SASRec"))
    return last_out(dataset(data, "beauty"), "beauty", aims)


def beauty_published(data: str | Path) -> Benchmark:
    """`beauty-published`: leave-last-out in the published order, to compare with papers."""
    aims = (Aim(SETTING, METRIC, 0.066), Aim(SETTING, "hit@10", 0.110))
    return last_out(dataset(data, "beauty", published_order=True), "beauty-published", aims)


def beauty_time(data: str | Path) -> Benchmark:
    """`beauty-time`: leave-last-out trains on the future of other users; this does not."""
    return cut_in_time(dataset(data, "beauty"), "beauty-time", (Aim("next", METRIC, 1.10, "best control"),))


def category_last_out(data: str | Path, category: str) -> Benchmark:
    """Any of the categories, leave-last-out with ties shuffled, named after the category."""
    aims = (Aim(SETTING, METRIC, 1.10, "best control"),) if category in HELD_OUT else ()
    return last_out(dataset(data, category), category, aims)


def next_one(tasks: Tasks) -> Tasks:
    """The same tasks with the first event of each query alone."""
    return Tasks(tasks.dataset, tasks.start, tasks.split, tasks.split + 1)
