"""Cases in which a new scene is to be recognised: where the events are, which scenes are known, and which one is new."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet

from benchmarks.files import read
from llmrec.data.build import build
from llmrec.data.dataset import Dataset
from llmrec.data.journey import data_folder
from llmrec.errors import DataError

RETAIL = "online-retail.raw.parquet"
_COLUMNS = {
    "CustomerID": "user_id",
    "StockCode": "item_id",
    "InvoiceDate": "timestamp",
    "InvoiceNo": "basket_id",
    "Description": "title",
    "UnitPrice": "price",
    "Quantity": "quantity",
    "Country": "scene",
}
_SOURCE = "https://archive.ics.uci.edu/dataset/352/online+retail"
HOME = "United Kingdom"
COUNTRIES_TRIED = ("Spain", "Belgium", "Switzerland", "Portugal", "Norway", "Italy")  # constants were chosen on these
ALIKE = ("Spain", "Belgium")  # of those tried, large enough to be calibrated on and asked about as well
COUNTRIES_TESTED = ("Germany", "France")  # those with the most customers after HOME; not looked at before
# Users watched together: a grocery household buys as much as several of the other shop's customers, but little of a department.
SHOPPERS, FEW, HOUSEHOLDS, IN_DEPARTMENT = 20, 9, 10, 50
TWO_MONTHS = ("January, February", "March, April", "May, June", "July, August", "September to November")
_RICH = ("100-124K", "125-149K", "150-174K", "175-199K", "200-249K", "250K+")
# Column of the households' table -> its values as scenes, the one that is new when constants are chosen, and when it is tested.
_HOUSEHOLDS = {
    "household_size": ({"1": "1", "2": "2", "3": "3", "4": "4", "5+": "5 or more"}, "1", "5 or more"),
    "age": (
        dict.fromkeys(("19-24", "25-34"), "to 34")
        | {"35-44": "35 to 44", "45-54": "45 to 54"}
        | dict.fromkeys(("55-64", "65+"), "55 or more"),
        "to 34",
        "55 or more",
    ),
    "income": (
        dict.fromkeys(("Under 15K", "15-24K", "25-34K"), "under 35K")
        | {"35-49K": "35 to 49K", "50-74K": "50 to 74K", "75-99K": "75 to 99K"}
        | dict.fromkeys(_RICH, "100K or more"),
        "under 35K",
        "100K or more",
    ),
}


@dataclass(frozen=True)
class Fold:
    """One new scene beside those known, by name. home: the known one that the current adapter serves, the first; "" where
    any of the known ones will do."""

    known: tuple[str, ...]
    new: str
    home: str = ""


@dataclass(frozen=True)
class Case:
    """A question of the study.

    label: int (E,), scene of each event as a place in `scenes`, -1 for none.
    of_users: a user belongs to one scene; else all users are in all of them.
    group: how many users' events are watched together.
    tried, tested: folds on which constants were chosen, and those that are reported.
    """

    name: str
    dataset: Dataset
    label: np.ndarray
    scenes: tuple[str, ...]
    of_users: bool
    group: int
    tried: tuple[Fold, ...]
    tested: tuple[Fold, ...]


def load_retail(folder: str | Path) -> Dataset:
    """Online Retail through the library's own cleaning, its countries as scenes. Lines that are no product (postage, carriage,
    manual entries: codes that do not begin with five digits) are left out, for they alone would give a country away."""
    table = read(folder, RETAIL, tuple(_COLUMNS), _SOURCE)
    product = pc.match_substring_regex(table.column("StockCode"), r"^[0-9]{5}").fill_null(False)
    return build(table.filter(pc.and_(product, pc.is_valid(table.column("CustomerID")))), columns=_COLUMNS)[0]


def countries(dataset: Dataset) -> tuple[Case, Case]:
    """Is a window still of the country that the adapter serves, other known ones telling how countries differ; and, of the same
    countries, is it none of those known."""
    if dataset.scene is None:
        raise DataError("events have no column 'scene', expected each event's country in it")
    scenes = (HOME, *COUNTRIES_TRIED, *COUNTRIES_TESTED)
    place = {name: number for number, name in enumerate(scenes)}
    label = np.array([*(place.get(name, -1) for name in dataset.scenes), -1])[dataset.scene]

    def case(name: str, home: str, others: tuple[str, ...], group: int) -> Case:
        tried, tested = (
            tuple(Fold((HOME, *(other for other in there if other != one)), one, home) for one in new)
            for new, there in ((others, others), (COUNTRIES_TESTED, others + COUNTRIES_TESTED))
        )
        return Case(name, dataset, label, scenes, True, group, tried, tested)

    home = case("country: not the home one", HOME, COUNTRIES_TRIED, SHOPPERS)
    return home, case("country: none of the known", "", ALIKE, FEW)


def season(dataset: Dataset, name: str, year: int, group: int) -> Case:
    """Pairs of months from January to August are known, September to November are new; when constants were chosen, one of the
    known pairs was the new one."""
    month = dataset.time.astype("datetime64[s]").astype("datetime64[M]").astype(np.int64) - 12 * (year - 1970)
    label = np.where((month >= 0) & (month < 8), month // 2, np.where((month >= 8) & (month < 11), 4, -1))
    known = TWO_MONTHS[:4]
    # One between known ones, and one after all of them, as what is tested is.
    tried = tuple(Fold(without(known[: place + 2], known[place]), known[place]) for place in (2, 3))
    return Case(f"season, {name}", dataset, label, TWO_MONTHS, False, group, tried, (Fold(known, TWO_MONTHS[4]),))


def demography(dataset: Dataset) -> list[Case]:
    """Households by size, age and income; one end of each is new."""
    table = pyarrow.parquet.read_table(data_folder() / "demographics.parquet")
    at = dataset.users.find(table.column("household_id").to_pylist())
    cases = []
    for column, (levels, tried, tested) in _HOUSEHOLDS.items():
        scenes = tuple(dict.fromkeys(levels.values()))
        place = {value: scenes.index(name) for value, name in levels.items()}
        of_user = np.full(dataset.n_users, -1)
        of_user[at[at >= 0]] = np.array([place.get(value, -1) for value in table.column(column).to_pylist()])[at >= 0]
        known = without(scenes, tested)
        folds = (Fold(without(known, tried), tried),), (Fold(known, tested),)
        name = f"household: {column.removeprefix('household_')}"
        cases.append(Case(name, dataset, of_user[dataset.user], scenes, True, HOUSEHOLDS, *folds))
    return cases


def departments(dataset: Dataset, count: int = 8) -> Case:
    """The `count` departments with the most events, one left out in turn: other items, so the easy case."""
    category = np.array([str(value) for value in dataset.catalogue.column("category")])
    name, code = np.unique(category, return_inverse=True)
    size = np.bincount(code[dataset.item], minlength=len(name))
    largest = np.argsort(-size, kind="stable")[:count]
    scenes = tuple(str(one) for one in name[largest])
    place = np.full(len(name), -1)
    place[largest] = np.arange(len(largest))
    tried, tested = (tuple(Fold(without(scenes, one), one) for one in scenes[first::2]) for first in (1, 2))
    return Case("department", dataset, place[code][dataset.item], scenes, False, IN_DEPARTMENT, tried, tested)


def without(names: tuple[str, ...], one: str) -> tuple[str, ...]:
    """All but one."""
    return tuple(name for name in names if name != one)
