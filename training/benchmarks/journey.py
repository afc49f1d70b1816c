"""The Complete Journey data (84.51°): new households with their first trips known, by product type and by product."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from benchmarks.files import AS_IT_IS
from benchmarks.protocol import Aim, Benchmark, Setting, first_known
from llmrec.data.build import build
from llmrec.data.dataset import Dataset
from llmrec.data.journey import load_journey, merged, popular, purchases, readable, type_of
from llmrec.data.splits import cold_users

KNOWN, HORIZON = (1, 3, 5, 10), 3
METRIC = "ndcg@10"
BUYERS = 20  # an item that fewer households bought is left out
SPLIT = 0  # seed of the permutation of households that the protocol names


def cold(whole: Dataset, name: str, aims: tuple[Aim, ...] = ()) -> Benchmark:
    """Households never trained on: the first trips known, the next three asked for, among all items and among new ones.

    A household needs three trips after those known.
    """
    order = np.random.RandomState(SPLIT).permutation(whole.n_users)
    split = cold_users(whole.n_users, 0.2, 0.1, order=order)
    settings = []
    for known in KNOWN:
        validation = first_known(whole, split.validation, known, HORIZON, HORIZON)
        test = first_known(whole, split.test, known, HORIZON, HORIZON)
        settings.append(Setting(f"known={known},all", validation, test, "all"))
        settings.append(Setting(f"known={known},new", validation, test, "unseen"))
    return Benchmark(name, whole, np.sort(split.train), tuple(settings), ("known=1,all", METRIC), aims)


def journey_types() -> Benchmark:
    """`journey-cold`: product types, as the demonstration uses them. Raises MissingExtraError without the package."""
    events, items = load_journey(BUYERS)
    aims = (
        Aim("known=1,all", METRIC, 1.12, "most frequent"),
        Aim("known=3,all", METRIC, 1.06, "most frequent"),
        *(Aim(f"known={known},new", METRIC, 1.05, "best control") for known in KNOWN),
    )
    return cold(build(events, items, cleaning=AS_IT_IS)[0], "journey-cold", aims)


def journey_products() -> Benchmark:
    """`journey-cold-products`: products that at least 20 households bought, 10,377 of them.

    Raises MissingExtraError without the package.
    """
    events, items = product_tables(BUYERS)
    aims = (
        *(Aim(f"known={known},all", METRIC, 1.0, "best control") for known in KNOWN),
        *(Aim(f"known={known},new", METRIC, 1.05, "best control") for known in KNOWN),
    )
    return cold(build(events, items, cleaning=AS_IT_IS)[0], "journey-cold-products", aims)


def product_tables(buyers: int) -> tuple[pa.Table, pa.Table]:
    """Events and items at the level of products, cleaned by the rules of `load_journey`: category and type known, quantity and
    value positive, at least `buyers` households; one row a basket and product.

    items: item_id, title (the readable product type), category (department), brand, package_size.
    """
    rows, product, known, _ = purchases()
    rows, product, _ = popular(rows, product, buyers)
    names = [str(value) for value in known.column("product_id").to_pylist()]
    wanted = np.unique(product)
    bought = known.take(pa.array(wanted))
    items = pa.table(
        {
            "item_id": pa.array([names[index] for index in wanted]),
            "title": pa.array([readable(kind) for kind in type_of(bought).to_pylist()]),
            "category": pa.array([None if value is None else value.capitalize() for value in bought["department"].to_pylist()]),
            "brand": bought.column("brand"),
            "package_size": bought.column("package_size"),
        }
    )
    return merged(rows, product, names), items
