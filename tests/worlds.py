"""Small worlds written down as lists: `world([[{0, 1}, {2}], ...])` is one user with two baskets, and so on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pytest

from llmrec.data.dataset import Catalogue, Dataset
from llmrec.data.ids import Ids

History = Sequence[Sequence[Sequence[int]]]


def build(history: History, items: int) -> Dataset:
    """history[user][basket] = items of the basket, repeats allowed. Basket b is at second 100 b of its user's days."""
    rows = [
        (user, basket, item) for user, baskets in enumerate(history) for basket, bought in enumerate(baskets) for item in bought
    ]
    user, basket, item = (np.array([row[column] for row in rows], np.int64) for column in range(3))
    return Dataset(
        users=Ids([f"u{index}" for index in range(len(history))]),
        catalogue=Catalogue(
            Ids([f"i{index}" for index in range(items)]), pa.table({"title": [f"t{index}" for index in range(items)]})
        ),
        start=np.searchsorted(user, np.arange(len(history) + 1)).astype(np.int64),
        item=item.astype(np.int32),
        time=basket * 100.0,
        basket=basket.astype(np.int32),
        attributes={},
    )


@pytest.fixture(scope="session")
def world() -> Callable[[History, int], Dataset]:
    return build


@pytest.fixture(scope="session")
def random_history() -> list[list[list[int]]]:
    """25 users, 12 items of very different popularity, 3 to 9 baskets of 1 to 4 items with repeats inside a basket."""
    rng = np.random.default_rng(7)
    weight = 1 / np.arange(1, 13)
    return [
        [rng.choice(12, rng.integers(1, 5), p=weight / weight.sum()).tolist() for _ in range(rng.integers(3, 10))]
        for _ in range(25)
    ]
