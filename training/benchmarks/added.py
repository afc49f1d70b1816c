"""Items that come after training: a recommender fitted on the catalogue of its events alone, to which `add_items` adds others.

The scores are those of `shipped.py`; what differs is that no text of a new item is read before `fit` has ended.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.measure import SHIPPED
from benchmarks.protocol import Benchmark, Method, Part, Setting
from benchmarks.shipped import Fitted, settings_of
from llmrec import Recommender
from llmrec.data.dataset import Catalogue, Dataset
from llmrec.data.tasks import Tasks
from llmrec.errors import DataError

ADDED = ", items added"  # ending of the method's name


def bought(dataset: Dataset) -> np.ndarray:
    """bool (N,): items of the dataset's catalogue that one of its events holds."""
    return np.bincount(dataset.item, minlength=dataset.n_items) > 0


def over_part(dataset: Dataset, items: np.ndarray) -> Dataset:
    """The same events over a part of the catalogue: bool (N,), every item that has an event and any others."""
    place, rows = np.cumsum(items) - 1, np.flatnonzero(items)
    ids, table = dataset.catalogue.ids.take(rows), dataset.catalogue.table.take(rows)
    return replace(dataset, catalogue=Catalogue(ids, table), item=place[dataset.item].astype(np.int32))
