"""A shop that was not trained on, opened as a scene: how `Scenes` ranks its items before it has customers."""

from __future__ import annotations

import time

from benchmarks.protocol import Benchmark, Method, Part
from llmrec import Scenes
from llmrec.errors import DataError
from llmrec.scenes.learning import LearnSettings

NAME = "Scenes, opened"


def fit(benchmark: Benchmark, part: Part, seed: int, settings: LearnSettings | None = None) -> Method:
    """Learned from `benchmark.shops` of that part, with the default settings of `Scenes`, and opened on the
    catalogue of the one that is asked about; none of its events is looked at. settings: others than the default.

    The method scores float32 (T, N), log probabilities up to a constant a row; its `seconds` are of learning and encoding.
    Raises DataError for a shop that is too small to learn from, as `Scenes.fit`, and where `Scenes.open` leaves an item out."""
    assert benchmark.shops is not None
    began = time.perf_counter()
    shops = benchmark.shops.of(part)
    asked = (benchmark if part == "validation" else benchmark.final()).train.catalogue
    known = Scenes(settings=settings, seed=seed).fit({f"shop {number + 1}": shop for number, shop in enumerate(shops)})
    opened = known.open(asked.table)
    if opened.catalogue.ids.values != asked.ids.values:
        raise DataError(f"{benchmark.name}: expected {len(asked):,} items in the scene, got {len(opened.catalogue):,}")
    seconds = time.perf_counter() - began
    return Method(NAME, "ours", {setting.name: opened.scene for setting in benchmark.settings}, seconds)
