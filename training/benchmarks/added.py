"""Items that come after training: a recommender fitted on the catalogue of its events alone, to which `add_items` adds others.

It is scored as in `shipped.py`; what differs is that no text of a new item is read before `fit` has ended.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.protocol import Benchmark, Method, Part, Setting
from benchmarks.shipped import Fitted, method_of
from llmrec import Recommender
from llmrec.data.dataset import Catalogue, Dataset
from llmrec.data.tasks import Tasks
from llmrec.errors import DataError

ADDED = ", items added"  # ending of the method's name


@dataclass(frozen=True)
class Grown:
    """The scores of a recommender whose catalogue stands in another order than the benchmark's. place: int64 (N,), where each
    item of the benchmark is."""

    fitted: Fitted
    place: np.ndarray

    @property
    def name(self) -> str:
        return self.fitted.name

    def scores(self, tasks: Tasks) -> np.ndarray:
        """float32 (T, N), in the order of the benchmark."""
        data, catalogue = tasks.dataset, self.fitted.state.catalogue
        moved = replace(data, catalogue=catalogue, item=self.place[data.item].astype(np.int32))
        return self.fitted.scores(replace(tasks, dataset=moved))[:, self.place]


def bought(dataset: Dataset) -> np.ndarray:
    """bool (N,): items of the dataset's catalogue that one of its events holds."""
    return np.bincount(dataset.item, minlength=dataset.n_items) > 0


def over_part(dataset: Dataset, items: np.ndarray) -> Dataset:
    """The same events over a part of the catalogue: bool (N,), every item that has an event and any others."""
    place, rows = np.cumsum(items) - 1, np.flatnonzero(items)
    ids, table = dataset.catalogue.ids.take(rows), dataset.catalogue.table.take(rows)
    return replace(dataset, catalogue=Catalogue(ids, table), item=place[dataset.item].astype(np.int32))


def fit(
    benchmark: Benchmark,
    settings: str,
    seed: int,
    part: Part,
    minutes: float | None = None,
    checkpoints: Path | None = None,
) -> Method:
    """A recommender fitted by the public API on the training users and the items that they had, with all other items of the
    catalogue added after that. Arguments as of `shipped.fit`; `seconds` are of fitting and adding.

    Raises DataError where other shops are trained on, and where the training users had every item.
    """
    named, chosen = method_of(settings, minutes)
    here = benchmark.final() if part == "test" else benchmark
    data = here.train.take(here.users)
    known = bought(data)
    if here.shops is not None or known.all():
        raise DataError(f"{benchmark.name}: expected new items in the catalogue that is trained on, got none to add")
    name = f"{named}{ADDED}"
    began = time.perf_counter()
    fitted = Recommender(settings=chosen, seed=seed)
    fitted.fit(over_part(data, known), minutes=minutes, output_dir=checkpoints)
    fitted.add_items(data.catalogue.table.take(np.flatnonzero(~known)))
    place = fitted.state.catalogue.ids.find(data.catalogue.ids.values)

    def asked(setting: Setting) -> Grown:
        allowed, only = None, setting.only(part)
        if only is not None:
            allowed = np.zeros(len(place), bool)
            allowed[place] = only
        return Grown(Fitted(name, fitted.state, setting.rank == "unseen", allowed), place)

    by_setting = {setting.name: asked(setting) for setting in benchmark.settings}
    return Method(name, "ours", by_setting, time.perf_counter() - began)
