"""A shop that was not trained on as a scene that is opened: what the door `Scenes` answers there before anybody is known."""

from __future__ import annotations

import time

from benchmarks.ours import OURS
from benchmarks.protocol import Benchmark, Method, Part
from llmrec.encoder.backbone import load_text
from llmrec.encoder.weights import Weights
from llmrec.progress import Stages
from llmrec.scenes.api import Scenes
from llmrec.scenes.learning import LearnSettings
from llmrec.scenes.opening import zero_shot as open_scene
from llmrec.scenes.tables import shelf_of

NAME = f"{OURS}, a scene opened"


def fit(benchmark: Benchmark, part: Part, seed: int, stages: Stages, settings: LearnSettings | None = None) -> Method:
    """Learned from `benchmark.shops` of that part, with the constants that `Scenes` has for everybody, and opened on the
    catalogue of the one that is asked about; none of its events is looked at. settings: None for those of the door.

    The method scores float32 (T, N), log probabilities up to a constant a row; its `seconds` are of learning and encoding.
    Raises DataError for a shop that is too small to learn from, as `Scenes.fit`."""
    assert benchmark.shops is not None
    began = time.perf_counter()
    shops = benchmark.shops.of(part)
    asked = (benchmark if part == "validation" else benchmark.final()).train
    known = Scenes(settings=settings, seed=seed).fit({f"shop {number + 1}": shop for number, shop in enumerate(shops)}).known
    with stages("open", f"{asked.n_items:,} items"):
        scene = open_scene(known.learned, shelf_of(load_text(Weights.packaged()), asked))
    return Method(NAME, "ours", {setting.name: scene for setting in benchmark.settings}, time.perf_counter() - began)
