"""Laws of the Complete Journey protocols on made trips."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from benchmarks import journey
from benchmarks.files import AS_IT_IS
from llmrec.data.build import build


def test_new_and_all_ask_the_same_households_who_are_split_by_the_published_permutation(shop):
    rng = np.random.default_rng(0)
    world = shop([[rng.integers(0, 8, 3).tolist() for _ in range(rng.integers(3, 16))] for _ in range(60)], 8)
    benchmark = journey.cold(world, "x")
    order = np.random.RandomState(0).permutation(60)
    assert benchmark.users.tolist() == sorted(order[18:].tolist())
    assert [(s.name, s.rank) for s in benchmark.settings[:2]] == [("known=1,all", "all"), ("known=1,new", "unseen")]
    assert len(benchmark.settings) == 8
    for every, new, known in zip(benchmark.settings[::2], benchmark.settings[1::2], (1, 3, 5, 10), strict=True):
        for part, users in (("test", order[:12]), ("validation", order[12:18])):
            tasks = every.asked(part)
            assert tasks.user.tolist() == [user for user in users.tolist() if world.n_baskets[user] >= known + 3]
            assert new.asked(part) is tasks
            edges = np.searchsorted(world.basket_start, [tasks.start, tasks.split, tasks.stop])
            assert (edges[1] - edges[0] == known).all()
            assert (edges[2] - edges[1] == 3).all()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Households 1 to 3; product 12 has no type, 13 only one buyer, a row of 11 was given back, another is for nothing."""
    rows = [
        # household, basket, product, quantity, value
        (1, 100, 10, 1, 2.0),
        (1, 100, 10, 2, 4.0),
        (1, 101, 11, 1, 3.0),
        (2, 200, 10, 1, 2.0),
        (2, 200, 11, 1, 5.0),
        (2, 201, 11, -1, -5.0),
        (2, 201, 12, 1, 5.0),
        (3, 300, 12, 1, 5.0),
        (3, 300, 13, 1, 5.0),
        (3, 301, 11, 1, 0.0),
    ]
    names = ("household_id", "basket_id", "product_id", "quantity", "sales_value")
    table = {name: [row[column] for row in rows] for column, name in enumerate(names)}
    table["transaction_timestamp"] = [datetime(2017, 1, 1, 12, minute) for minute in range(len(rows))]
    pyarrow.parquet.write_table(pa.table(table), tmp_path / "transactions.parquet")
    products = {
        "product_id": [13, 12, 11, 10],
        "department": ["GROCERY"] * 4,
        "brand": ["National"] * 4,
        "product_category": ["BREAD", "BREAD", "MILK", "BREAD"],
        "product_type": ["ROLLS", None, "WHITE", "ROLLS"],
        "package_size": ["1 LB"] * 4,
    }
    pyarrow.parquet.write_table(pa.table(products), tmp_path / "products.parquet")
    monkeypatch.setattr("llmrec.data.journey.data_folder", lambda: tmp_path)


def test_products_are_those_with_a_type_and_enough_buyers(package):
    events, items = journey.product_tables(buyers=2)
    assert items.column("item_id").to_pylist() == ["11", "10"]
    assert items.column("title").to_pylist() == ["White (milk)", "Rolls (bread)"]
    rows = sorted(
        zip(*(events.column(n).to_pylist() for n in ("user_id", "basket_id", "item_id", "quantity", "price")), strict=True)
    )
    assert rows == [(1, 100, "10", 3.0, 2.0), (1, 101, "11", 1.0, 3.0), (2, 200, "10", 1.0, 2.0), (2, 200, "11", 1.0, 5.0)]
    dataset, _ = build(events, items, cleaning=AS_IT_IS)
    assert (dataset.n_users, dataset.n_items, dataset.n_events) == (2, 2, 4)
