"""`Scenes` as a control: its scores for the same candidates, at zero steps and adapted to the same users.

The other candidates are drawn by popularity, so popularity does not help there: scores less log popularity stand beside.

Axis convention: `T` users who choose, `N` items.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from llmrec import Scenes
from llmrec.data.dataset import Dataset
from llmrec.errors import DataError
from llmrec.scenes.new import SceneRecommender
from studies.categories.controls import Asked, Scores
from studies.categories.shops import Category

SCENES, SCENES_LESS = "Scenes", "Scenes less log popularity"


def opened(known: Sequence[Category], new: Category, seed: int, folder: Path) -> SceneRecommender:
    """The new category at zero steps, learned from the known ones with default settings; none of its events is looked at.

    folder: where what was learned is kept. Raises DataError where an item is left out.
    """
    if folder.exists():
        learned = Scenes.from_pretrained(folder)
    else:
        learned = Scenes(seed=seed).fit({one.name: (one.dataset, None) for one in known})
        learned.save_pretrained(folder)
    shop = learned.open(new.dataset.catalogue.table)
    if shop.catalogue.ids.values != new.dataset.catalogue.ids.values:
        raise DataError(f"{new.name}: expected {new.dataset.n_items:,} items in the scene, got {len(shop.catalogue):,}")
    return shop


def scene_scores(shop: SceneRecommender, new: Category, supports: Sequence[np.ndarray], asked: Asked) -> dict[str, Scores]:
    """Name -> scores of each user's candidates, at zero steps and after the events of each support. supports: int64, users."""
    shops = {"": shop} | {f", {len(users)}": shop.adapt(events_of(new.dataset, users)) for users in supports}
    tasks, found = asked
    tables = {size: one.scene.scores(tasks) for size, one in shops.items()}
    known = np.log(np.maximum(new.popularity, 1))
    each = {SCENES + size: table for size, table in tables.items()}
    each |= {SCENES_LESS + size: table - known for size, table in tables.items()}
    return {name: [row[found.of(task)] for task, row in enumerate(table)] for name, table in each.items()}


def events_of(dataset: Dataset, users: np.ndarray) -> pa.Table:
    """All events of some users, with their ids."""
    rows = np.flatnonzero(np.isin(dataset.user, users))
    names = {"user_id": (dataset.users, dataset.user[rows]), "item_id": (dataset.catalogue.ids, dataset.item[rows])}
    table = {name: pa.array([ids[one] for one in place.tolist()]) for name, (ids, place) in names.items()}
    return pa.table(table | {"timestamp": dataset.time[rows]})
