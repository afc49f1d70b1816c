"""Two data sets with attributes of their users, cut as the benchmarks `ml1m-cold` and `journey-cold` cut them, with 0 known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from benchmarks import journey, movielens
from benchmarks.files import AS_IT_IS, read
from benchmarks.protocol import Part, first_known
from llmrec.data.build import build
from llmrec.data.dataset import Dataset
from llmrec.data.journey import data_folder, load_journey
from llmrec.data.splits import ColdUsers, cold_users
from llmrec.data.tasks import Tasks

USERS = "movielens-1m.users.parquet"


@dataclass(frozen=True)
class Shop:
    """A data set whose users have attributes.

    name: of the benchmark whose split it has. split: of all users, as there. table: `user_id` and attributes of some of them.
    horizon: first baskets that are asked for. least: baskets that a user needs to be asked.
    """

    name: str
    whole: Dataset
    split: ColdUsers
    table: pa.Table
    horizon: int
    least: int

    def train(self) -> tuple[Dataset, pa.Table]:
        """The training users and the rows of the table that are theirs."""
        part = self.whole.take(np.sort(self.split.train))
        return part, self.of(part.users.values)

    def asked(self, part: Part) -> Tasks:
        """A task without support for each user of a part who is in the table and has enough baskets."""
        users = np.sort(self.split.test if part == "test" else self.split.validation)
        known = set(self.table.column("user_id").to_pylist())
        users = users[[self.whole.users[user] in known for user in users]]
        return first_known(self.whole, users, 0, self.horizon, self.least)

    def of(self, users: list) -> pa.Table:
        """The rows of the table that are of these users, in the order of `users`."""
        place = pc.index_in(pa.array(users), self.table.column("user_id").combine_chunks())
        return self.table.take(place.drop_null())


def ml1m(data: Path) -> Shop:
    """MovieLens-1M with gender, age band and occupation; the first 10 films are asked for, 3 at least."""
    whole = movielens.dataset(data)
    table = read(data, USERS, ("user_id", "gender", "age_band", "occupation"), movielens.SOURCE)
    return Shop("ml1m-cold", whole, _split(whole, movielens.SPLIT), table, movielens.HORIZON, movielens.LEAST)


def households(data: Path) -> Shop:
    """The Complete Journey with the demographics of 801 households; the first 3 trips are asked for.

    Raises MissingExtraError without the package.
    """
    whole = build(*load_journey(journey.BUYERS), cleaning=AS_IT_IS)[0]
    table = pyarrow.parquet.read_table(data_folder() / "demographics.parquet")
    names = ["user_id" if name == "household_id" else name for name in table.column_names]
    kind = whole.users.values
    table = table.rename_columns(names)
    if kind and isinstance(kind[0], str):
        table = table.set_column(names.index("user_id"), "user_id", pc.cast(table.column("user_id"), pa.string()))
    return Shop("journey-cold", whole, _split(whole, journey.SPLIT), table, journey.HORIZON, journey.HORIZON)


SHOPS: dict[str, Callable[[Path], Shop]] = {"journey": households, "ml1m": ml1m}


def some(shop: Shop, users: int) -> Shop:
    """The same with so many training users at most, to try it."""
    return replace(shop, split=replace(shop.split, train=shop.split.train[:users]))


def _split(whole: Dataset, seed: int) -> ColdUsers:
    # RandomState, although numpy calls it legacy: the published splits are its permutations.
    return cold_users(whole.n_users, 0.2, 0.1, order=np.random.RandomState(seed).permutation(whole.n_users))
