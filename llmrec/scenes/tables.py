"""Known scenes from tables: whole catalogues by name, or those that a column of one catalogue's items or events tells apart.

Axis convention: `N` items of a catalogue, `E` events.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from llmrec.data.dataset import Catalogue, Dataset
from llmrec.data.requests import as_ids
from llmrec.encoder.backbone import TextModel
from llmrec.encoder.items import catalogue_vectors, item_texts
from llmrec.errors import DataError, SchemaError
from llmrec.prompts import load_template
from llmrec.scenes.learning import LearnSettings
from llmrec.scenes.new import customers
from llmrec.scenes.shelf import SceneItems, Shelf, shelve
from llmrec.scenes.worlds import World, last_steps
from llmrec.store import cache_folder

TEMPLATE = "item"
LEAST_ITEMS, LEAST_ASKED = 20, 50  # of a known scene: its items; customers who can be asked beside those who are the support


def named_tables(data: Any, items: Any, holdout: Iterable[Any]) -> dict[str, tuple[Any, Any]]:
    """Tables by the name of the known scene."""
    if items is not None or len(as_ids(holdout, "holdout")):
        raise DataError('items and holdout are for parts of one catalogue: say by which column, such as scene="category"')
    if not isinstance(data, Mapping) or not all(isinstance(one, (tuple, Dataset)) for one in data.values()):
        raise DataError(
            'data: expected a dict {"name": (events, items), ...} of two known catalogues or more, got '
            f'{type(data).__name__}; for parts of one catalogue pass fit(events, items, scene="category")'
        )
    found = {}
    for name, one in data.items():
        pair = (one, None) if isinstance(one, Dataset) else one
        if len(pair) != 2:
            raise DataError(
                f"data[{name!r}]: expected (events, items), got {len(pair)} things; give both tables, in this order"
            )
        found[str(name)] = pair
    return found


def shelf_of(model: TextModel, dataset: Dataset) -> Shelf:
    """What texts say of a whole catalogue: the text that is encoded is also the one whose words are compared."""
    vectors = catalogue_vectors(model, dataset.catalogue, TEMPLATE, cache_folder())[0]
    return shelve(dataset, vectors, item_texts(dataset.catalogue, load_template(TEMPLATE)))


def known_worlds(
    datasets: Mapping[str, Dataset],
    shelves: Mapping[str, SceneItems],
    column: str | None,
    of_events: bool,
    holdout: Iterable[Any],
    repeat_purchases: bool,
    settings: LearnSettings,
) -> tuple[dict[str, World], list[str]]:
    """Known scenes by name, and those that are too small to learn from. column: what tells the scenes of the one catalogue
    apart; None for catalogues. of_events: whether it is a column of the events, not of the items. Raises DataError for a
    catalogue that is too small, and for fewer than two scenes."""
    if column is None:
        every = {name: world_of(dataset, shelves[name].as_new(), repeat_purchases) for name, dataset in datasets.items()}
        check_size(every, settings)
    else:
        cut = parts_by_events if of_events else parts_by
        every = cut(datasets[column], shelves[column], column, holdout, repeat_purchases)
    worlds = {name: world for name, world in every.items() if not too_small(world, settings)}
    _check_two(list(worlds), settings)
    return worlds, [name for name in every if name not in worlds]


def check_enough(dataset: Dataset, column: str, of_events: bool, holdout: Iterable[Any], settings: LearnSettings) -> None:
    """Raises DataError where `known_worlds` would for the scenes of one catalogue, before anything is encoded."""
    label = np.array(dataset.scenes) if of_events else labels(dataset.catalogue, column)
    found = []
    for name in _but(label, holdout, f"the {'events' if of_events else 'items'}' {column!r}"):
        part, among = dataset.counted, label == name
        if of_events:
            assert dataset.scene is not None
            part, among = dataset.keep(dataset.scene == dataset.scenes.index(name)).counted, np.ones(dataset.n_items, bool)
        if not _small(part, customers(part, among), among, settings):
            found.append(name)
    _check_two(found, settings)


def _check_two(names: list[str], settings: LearnSettings) -> None:
    if len(names) < 2:
        raise DataError(
            f"data: expected two known scenes or more, with {LEAST_ITEMS} items and {room(settings)} customers with two visits "
            f"in each, got {', '.join(map(repr, names)) or 'none'}; each is left out once, to learn what a new one needs. "
            "Bring more"
        )


def world_of(dataset: Dataset, shelf: SceneItems, again: bool) -> World:
    """A known scene of all its customers."""
    dataset = dataset.counted
    return World(dataset, shelf, customers(dataset, shelf.among), again)


def parts_by(dataset: Dataset, shelf: SceneItems, column: str, holdout: Iterable[Any], again: bool) -> dict[str, World]:
    """A known scene for every value of a column of the items but those of `holdout`, met as a new one will be; histories hold
    the whole catalogue."""
    label = labels(dataset.catalogue, column)
    names = _but(label, holdout, f"the items' {column!r}")
    return {name: world_of(dataset, shelf.part(label == name).as_new(), again) for name in names}


def parts_by_events(dataset: Dataset, shelf: SceneItems, column: str, holdout: Iterable[Any], again: bool) -> dict[str, World]:
    """A known scene for every value of a column of the events but those of `holdout`: its own events alone, over the whole
    catalogue. A customer may be in several scenes; support and query of one scene are always of different customers."""
    assert dataset.scene is not None
    names = _but(np.array(dataset.scenes), holdout, f"the events' {column!r}")
    code = {name: number for number, name in enumerate(dataset.scenes)}
    return {name: world_of(dataset.keep(dataset.scene == code[name]), shelf, again) for name in names}


def _but(label: np.ndarray, holdout: Iterable[Any], whose: str) -> list[str]:
    """The names in `label`, ascending, without those of `holdout`. Raises DataError for one that is not there."""
    skip = [str(name) for name in as_ids(holdout, "holdout").values]
    if missing := sorted(set(skip) - set(label)):
        raise DataError(f"holdout: expected some of {shown(label)}, got {missing[0]!r}; name values of {whose}")
    return [name for name in np.unique(label[label != ""]).tolist() if name not in skip]


def labels(catalogue: Catalogue, column: str) -> np.ndarray:
    """str (N,): of which part each item is, as text; "" of none."""
    if column not in catalogue.table.column_names:
        raise SchemaError(
            f"scene: expected a column of the items, got {column!r}; they have {', '.join(catalogue.table.column_names)}"
        )
    return np.array(["" if value is None else str(value) for value in catalogue.column(column)])


def shown(label: np.ndarray) -> str:
    """The parts that there are, in a message."""
    names = np.unique(label[label != ""]).tolist()
    return ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5} others" if len(names) > 5 else "")


def room(settings: LearnSettings) -> int:
    """Customers with a second visit that a known scene needs."""
    return min(settings.sizes) + LEAST_ASKED


def _asked(world: World) -> int:
    """How many customers can be asked: those who came again after something."""
    return len(last_steps(world.dataset, world.users, world.shelf.among))


def too_small(world: World, settings: LearnSettings) -> bool:
    """Whether nothing can be learned from a scene."""
    return _small(world.dataset, world.users, world.shelf.among, settings)


def _small(dataset: Dataset, users: np.ndarray, among: np.ndarray, settings: LearnSettings) -> bool:
    return int(among.sum()) < LEAST_ITEMS or len(last_steps(dataset, users, among)) < room(settings)


def check_size(worlds: Mapping[str, World], settings: LearnSettings) -> None:
    """Raises DataError for a scene that is too small."""
    for name, world in worlds.items():
        if too_small(world, settings):
            raise DataError(
                f"data[{name!r}]: expected at least {LEAST_ITEMS} items and {room(settings)} customers with a second visit, "
                f"got {len(world.shelf.items)} items and {_asked(world)} customers; leave it out of what is known"
            )


def fitting_sizes(worlds: Mapping[str, World], settings: LearnSettings) -> tuple[int, ...]:
    """Supports that every known scene has customers for, and others to ask."""
    most = min(_asked(world) for world in worlds.values()) - LEAST_ASKED
    return tuple(size for size in settings.sizes if size <= most)
