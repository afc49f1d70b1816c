"""MovieLens-1M: new users with their first events known, in the site's order and in random order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.files import Counts, build_whole, in_file_order, read
from benchmarks.protocol import Aim, Benchmark, Setting, first_known
from benchmarks.signals import SAID, liked_later
from llmrec.data.dataset import Dataset
from llmrec.data.splits import cold_users

PUBLISHED = Counts(6_040, 3_416, 999_404)
EVENTS, ITEMS = "movielens-1m.events.parquet", "movielens-1m.items.parquet"
SOURCE = "MovieLens 1M, grouplens.org/datasets/movielens/1m (5-core, ties of one time shuffled, file order is event order)"
KNOWN, HORIZON, LEAST = (5, 10, 20, 100), 10, 3
METRIC = "ndcg@10"
SPLIT = 0  # seed of the permutation of users that the protocol names
TASTE = 1  # seed of the order of events in `ml1m-taste`


def dataset(data: str | Path) -> Dataset:
    """All events with their ratings, in the order of the file; items with title, category (genres) and text (year, people,
    plot)."""
    events = read(data, EVENTS, ("user_id", "item_id", "rating", "timestamp"), SOURCE)
    items = read(data, ITEMS, ("item_id", "title"), SOURCE)
    return build_whole(in_file_order(events), _described(items), PUBLISHED, "ml1m", seed=0)


def cold(whole: Dataset, name: str, aims: tuple[Aim, ...] = ()) -> Benchmark:
    """Users never trained on: the first S events known, the next 10 relevant (3 at least), all items but the S ranked."""
    # RandomState, although numpy calls it legacy: the published split is its permutation.
    order = np.random.RandomState(SPLIT).permutation(whole.n_users)
    split = cold_users(whole.n_users, 0.2, 0.1, order=order)
    settings = tuple(
        Setting(
            f"known={known}",
            first_known(whole, split.validation, known, HORIZON, LEAST),
            first_known(whole, split.test, known, HORIZON, LEAST),
            "unseen",
        )
        for known in KNOWN
    )
    return Benchmark(name, whole, np.sort(split.train), settings, ("known=10", METRIC), aims)


def ml1m_cold(data: str | Path) -> Benchmark:
    """`ml1m-cold`; the headline figures, AUC and recall at 5% of the catalogue, are further metrics of `known=10`."""
    aims = [Aim(f"known={known}", METRIC, least) for known, least in zip(KNOWN, (0.145, 0.260, 0.265, 0.200), strict=True)]
    aims += [Aim("known=10", "auc", 0.945), Aim("known=10", "recall@5%", 0.75)]
    return cold(dataset(data), "ml1m-cold", tuple(aims))


def ml1m_taste(data: str | Path) -> Benchmark:
    """`ml1m-taste`: the same users with each one's events in random order, which takes the site's own order away."""
    aims = tuple(Aim(f"known={known}", METRIC, 1.10, "best control") for known in KNOWN)
    return cold(shuffled(dataset(data), np.random.default_rng(TASTE)), "ml1m-taste", aims)


def ml1m_liked(data: str | Path) -> Benchmark:
    """`ml1m-liked`: as `ml1m-taste`, but of the next 10 only those that were then rated 4 or 5 are relevant. It asks what the
    ratings are worth: read in the slots, and counted in the losses."""
    taste = ml1m_taste(data)
    asked = iter(liked_later([tasks for setting in taste.settings for tasks in (setting.validation, setting.test)]))
    settings = tuple(replace(setting, validation=next(asked), test=next(asked)) for setting in taste.settings)
    aim = Aim("known=10", METRIC, 1.0, SAID["hidden"])
    return replace(taste, name="ml1m-liked", settings=settings, aims=(aim,))


def shuffled(whole: Dataset, rng: np.random.Generator) -> Dataset:
    """The same users, times and baskets of one event each, with what happened put into random order within each user."""
    order = np.lexsort((rng.random(whole.n_events), whole.user))
    attributes = {name: values[order] for name, values in whole.attributes.items()}
    return replace(whole, item=whole.item[order], attributes=attributes)


def _described(items: pa.Table) -> pa.Table:
    """`genres` is the category; year, directors, the first three actors and the plot are the text, as far as known."""
    wanted = [items.column(name).to_pylist() for name in ("year", "directors", "actors", "plot") if name in items.column_names]
    if len(wanted) == 4:
        text = [_text(*values) for values in zip(*wanted, strict=True)]
        items = items.append_column("text", pa.array(text, pa.large_string()))
    if "genres" in items.column_names:
        items = items.append_column("category", items.column("genres"))
    return items.select([name for name in ("item_id", "title", "category", "text", "year") if name in items.column_names])


def _text(year: str | None, directors: str | None, actors: str | None, plot: str | None) -> str | None:
    cast = ", ".join((actors or "").split(", ")[:3])
    parts = [year, directors and f"by {directors}", cast and f"with {cast}", plot]
    return ". ".join(part for part in parts if part and part != "N/A") or None
