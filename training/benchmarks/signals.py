"""What users said of what they took, such as a rating: read in the slots, hidden, or counted in losses and counts as well."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Literal

import numpy as np

from benchmarks.protocol import Benchmark, Setting
from llmrec.data.dataset import Dataset, EventWeights
from llmrec.data.tasks import Tasks
from llmrec.errors import DataError

Ratings = Literal["read", "hidden", "counted"]
LIKED = 4.0  # a rating from which on somebody liked what they took
OTHERS = 0.3  # what an event counts that was not liked, where ratings are counted; chosen on validation
SAID: dict[Ratings, str] = {"read": "", "hidden": ", no ratings", "counted": ", liked counts more"}


def with_ratings(benchmark: Benchmark, ratings: Ratings) -> Benchmark:
    """The benchmark whose slots hold the ratings (`read`, which is the benchmark itself), whose events have none (`hidden`), or
    whose events are of two types, liked or other, that count differently where they are to be predicted (`counted`).

    What is asked stays the same. Raises DataError where events have no rating, and for a benchmark of several shops or with a
    reference, whose other data would stay as they are.
    """
    if "rating" not in benchmark.train.attributes:
        raise DataError(f"{benchmark.name}: expected events with ratings, got {sorted(benchmark.train.attributes) or 'none'}")
    if ratings == "read":
        return benchmark
    if benchmark.reference is not None or benchmark.shops is not None:
        raise DataError(f"{benchmark.name}: expected one catalogue without a reference; ratings are only read here")
    return _changed(benchmark, without_ratings if ratings == "hidden" else typed)


def without_ratings(dataset: Dataset) -> Dataset:
    """Nobody said anything."""
    return replace(dataset, attributes={name: values for name, values in dataset.attributes.items() if name != "rating"})


def typed(dataset: Dataset, others: float = OTHERS) -> Dataset:
    """Events of type `liked`, which count 1, and `other`, which count `others`; ratings stay in the slots too."""
    kind = np.where(dataset.attributes["rating"] >= LIKED, 0, 1).astype(np.float32)
    attributes = dataset.attributes | {"event_type": kind}
    return replace(dataset, attributes=attributes, event_types=("liked", "other"), event_weights=EventWeights((1.0, others)))


def liked_later(asked: Sequence[Tasks]) -> list[Tasks]:
    """The tasks, all over one dataset, with only what was liked left in their queries; those where nothing was are left out.

    They are over one dataset again, in which each task has its user to itself, as far as its query goes.
    """
    whole = asked[0].dataset
    start, split, stop = (np.concatenate([getattr(tasks, name) for tasks in asked]) for name in ("start", "split", "stop"))
    every = Tasks(whole, start, split, stop)
    alone = whole.take(every.user)
    begin, known, last = (alone.start[:-1] + cut - whole.start[every.user] for cut in (start, split, stop))
    place = np.arange(alone.n_events)
    mine = alone.user
    liked = (place < last[mine]) & (alone.attributes["rating"] >= LIKED)
    kept = (place >= begin[mine]) & ((place < known[mine]) | liked)
    cut = np.concatenate([[0], np.cumsum(kept)])
    found = Tasks(alone.keep(kept), cut[begin], cut[known], cut[last])
    edges = np.cumsum([0, *map(len, asked)])
    some = found.stop > found.split
    return [found.take(np.arange(*edge)[some[slice(*edge)]]) for edge in pairwise(edges.tolist())]


def _changed(benchmark: Benchmark, change: Callable[[Dataset], Dataset]) -> Benchmark:
    made: dict[int, Dataset] = {}

    def data(dataset: Dataset) -> Dataset:
        return made.setdefault(id(dataset), change(dataset))

    def asked(tasks: Tasks) -> Tasks:
        return replace(tasks, dataset=data(tasks.dataset))

    def setting(of: Setting) -> Setting:
        learn = None if of.learn is None else asked(of.learn)
        return replace(of, validation=asked(of.validation), test=asked(of.test), learn=learn)

    return replace(
        benchmark,
        train=data(benchmark.train),
        train_final=None if benchmark.train_final is None else data(benchmark.train_final),
        settings=tuple(setting(of) for of in benchmark.settings),
    )
