"""What people get: `Recommender(settings).fit(...)` on the training users of a benchmark, measured as `recommend` ranks.

Nothing is chosen for the benchmark by name, and nothing is learned from its validation tasks: the recommender holds out
users of its own. It is fitted on the same users and events as all other methods measured on that part.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.measure import OURS
from benchmarks.protocol import Benchmark, Method, Part, Setting
from llmrec import Recommender, Settings
from llmrec.data.dataset import Catalogue, Dataset
from llmrec.data.ids import Ids
from llmrec.data.item_attributes import with_item_attributes
from llmrec.data.merge import stacked
from llmrec.data.tasks import Tasks
from llmrec.errors import DataError
from llmrec.recommender.evaluate import chain_scores
from llmrec.recommender.state import State

AT_ONCE = 100  # tasks, where several catalogues are scored
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


@dataclass(frozen=True)
class Beside:
    """The same for a shop that stands beside those that were trained on. shops: all catalogues, see `Shops`."""

    fitted: Fitted
    shops: Shops

    @property
    def name(self) -> str:
        return self.fitted.name

    def scores(self, tasks: Tasks) -> np.ndarray:
        """float32 (T, N) over the items of the shop that is asked about."""
        here = replace(tasks, dataset=self.shops.placed(tasks.dataset, len(self.shops.first) - 1))
        found = np.empty((len(tasks), tasks.dataset.n_items), np.float32)
        for first in range(0, len(tasks), AT_ONCE):
            rows = np.arange(first, min(first + AT_ONCE, len(tasks)))
            found[rows] = self.fitted.scores(here.take(rows))[:, self.shops.first[-1] :]
        return found


@dataclass(frozen=True)
class Shops:
    """Several catalogues as one. catalogue: the items of all, shop after shop. first: where the items of each shop begin."""

    catalogue: Catalogue
    first: np.ndarray

    def placed(self, shop: Dataset, place: int) -> Dataset:
        """The data of a shop over the joint catalogue; its users are told from those of other shops."""
        users = Ids([f"{place}/{user}" for user in shop.users.values])
        return replace(shop, users=users, catalogue=self.catalogue, item=(shop.item + self.first[place]).astype(np.int32))


def side_by_side(shops: Sequence[Dataset]) -> Shops:
    """The catalogues of the shops as one, with titles and categories."""
    names = ("title", "category")
    tables = [shop.catalogue.table.select([n for n in names if n in shop.catalogue.table.column_names]) for shop in shops]
    ids = Ids([f"{place}/{item}" for place, shop in enumerate(shops) for item in shop.catalogue.ids.values])
    first = np.cumsum([0, *(shop.n_items for shop in shops[:-1])])
    return Shops(Catalogue(ids, pa.concat_tables(tables, promote_options="default")), first)


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


def method_of(settings: str, minutes: float | None) -> tuple[str, Settings]:
    """(name of the method in reports, settings), of settings as `settings_of` reads them and minutes of training."""
    label, chosen = settings_of(settings)
    return f"{OURS}{label}" if minutes is None else f"{OURS}{label}, {minutes:g} min", chosen


def fit(
    benchmark: Benchmark,
    settings: str,
    seed: int,
    part: Part,
    minutes: float | None = None,
    checkpoints: Path | None = None,
    item_attributes: Sequence[str] = (),
) -> Method:
    """A recommender fitted by the public API. Where other shops are trained on than the one that is asked about, it is fitted
    on the events of all of them over one catalogue, in which the items of that shop have none.

    minutes: of training, see `Recommender.fit`. checkpoints: folder of this fit; None leaves none. item_attributes: columns of
    the items, as there.
    """
    name, chosen = method_of(settings, minutes)
    here = benchmark.final() if part == "test" else benchmark
    shops, data = None, here.train.take(here.users)
    if here.shops is not None:
        known = here.shops.of(part)
        shops = side_by_side([*known, here.train])
        data = stacked([shops.placed(shop, place) for place, shop in enumerate(known)])
    if item_attributes:
        data, name = with_item_attributes(data, item_attributes)[0], f"{name}, {' '.join(item_attributes)} read"
    began = time.perf_counter()
    fitted = Recommender(settings=chosen, seed=seed).fit(data, minutes=minutes, output_dir=checkpoints)

    def asked(setting: Setting) -> Fitted | Beside:
        if shops is None:
            return Fitted(name, fitted.state, setting.rank == "unseen", setting.only(part))
        there = np.arange(len(shops.catalogue)) >= shops.first[-1]
        return Beside(Fitted(name, fitted.state, setting.rank == "unseen", there), shops)

    by_setting = {setting.name: asked(setting) for setting in benchmark.settings}
    return Method(name, "ours", by_setting, time.perf_counter() - began)
