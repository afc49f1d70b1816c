"""New products of the Complete Journey: a tenth of the products is kept out of training, and new households are asked.

A product's title is its type, which others share; brand, size and department are further columns of the catalogue.
"""

from __future__ import annotations

import numpy as np

from benchmarks.files import AS_IT_IS
from benchmarks.journey import METRIC, SPLIT, product_tables
from benchmarks.protocol import Benchmark, ByPart, Setting
from llmrec.data.build import build
from llmrec.data.dataset import Dataset
from llmrec.data.splits import cold_users
from llmrec.data.tasks import Tasks

NAME = "item-cold-products"
BUYERS = 60  # a product that fewer households bought is left out, so that a fit takes minutes
NEW, NEW_SEED = 0.1, 0  # share of the products that are new, and what draws them
KNOWN = 10  # trips of a household


def new_products() -> Benchmark:
    """`item-cold-products`, in which `--item-attributes brand,category,package_size` has something to say. Raises
    MissingExtraError without the package."""
    events, items = product_tables(BUYERS)
    whole = build(events, items, cleaning=AS_IT_IS)[0]
    return asked_for_products(whole, np.random.default_rng(NEW_SEED).random(whole.n_items) < NEW)


def asked_for_products(whole: Dataset, new: np.ndarray) -> Benchmark:
    """The households of `journey-cold`: of those held out the first 10 trips are known, without `new` products, bool (N,); all
    new products that they bought later are relevant, among the new ones. Nobody whom a model is trained on has one."""
    split = cold_users(whole.n_users, 0.2, 0.1, order=np.random.RandomState(SPLIT).permutation(whole.n_users))
    setting = Setting("cold", _asked(whole, split.validation, new), _asked(whole, split.test, new), "unseen", ByPart(new, new))
    train = whole.take(np.sort(split.train))
    left = train.keep(~new[train.item])
    left = left.take(np.flatnonzero(np.diff(left.start)))
    return Benchmark(NAME, left, np.arange(left.n_users), (setting,), ("cold", METRIC))


def _asked(whole: Dataset, users: np.ndarray, new: np.ndarray) -> Tasks:
    """One task for each of the users with both: known trips without new products, and new products after them."""
    held = whole.take(np.sort(users))
    known = held.basket < KNOWN
    held = held.keep(known ^ new[held.item])
    asked = np.concatenate([[0], np.cumsum(new[held.item])])
    later = np.diff(asked[held.start])
    split = held.start[1:] - later
    there = (later > 0) & (split > held.start[:-1])
    return Tasks(held, held.start[:-1][there], split[there], held.start[1:][there])
