"""What people get: `Recommender(settings).fit(...)` on the training users of a benchmark, measured as `recommend` ranks.

Nothing is chosen for the benchmark by name, and nothing is learned from its validation tasks: the recommender holds out
users of its own. It is fitted on the same users and events as all other methods measured on that part.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.measure import SHIPPED
from benchmarks.protocol import Benchmark, Method, Part, Setting
from llmrec import Recommender, Settings
from llmrec.data.tasks import Tasks
from llmrec.errors import DataError
from llmrec.recommender.evaluate import chain_scores
from llmrec.recommender.state import State

PRESETS = {"default": Settings, "quick": Settings.quick, "best": Settings.best}


@dataclass(frozen=True)
class Fitted:
    """The scores that `recommend` ranks by in one setting. allowed: bool (N,), what may be recommended; None for all."""

    name: str
    state: State
    filter_viewed: bool
    allowed: np.ndarray | None = None

    def scores(self, tasks: Tasks) -> np.ndarray:
        """float32 (T, N)."""
        return chain_scores(self.state, tasks, None, self.filter_viewed, self.allowed)


def settings_of(name: str) -> tuple[str, Settings]:
    """(name in reports, settings) of a preset, or of the path of a YAML file.

    Raises DataError for a name that is neither, and for a file that has the name of a preset."""
    if name in PRESETS:
        return name, PRESETS[name]()
    if Path(name).suffix not in (".yaml", ".yml"):
        raise DataError(f"settings: expected {', '.join(PRESETS)} or the path of a YAML file, got {name!r}")
    if Path(name).stem in PRESETS:
        raise DataError(f"settings: expected a file that has not the name of a preset, got {name!r}; rename it")
    return Path(name).stem, Settings.from_yaml(name)


def fit(benchmark: Benchmark, settings: str, seed: int, part: Part) -> Method:
    """A recommender fitted by the public API. Raises DataError where other catalogues are trained on than are asked about."""
    if benchmark.shops is not None:
        raise DataError(f"{benchmark.name}: expected a benchmark with training users of its own catalogue, got other shops")
    label, chosen = settings_of(settings)
    here = benchmark.final() if part == "test" else benchmark
    began = time.perf_counter()
    fitted = Recommender(settings=chosen, seed=seed).fit(here.train.take(here.users))
    name = f"{SHIPPED}{label}"

    def asked(setting: Setting) -> Fitted:
        return Fitted(name, fitted.state, setting.rank == "unseen", setting.only(part))

    by_setting = {setting.name: asked(setting) for setting in benchmark.settings}
    return Method(name, "ours", by_setting, time.perf_counter() - began)
