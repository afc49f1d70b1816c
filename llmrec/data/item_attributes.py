"""Attributes of items, such as brand and price: columns of the catalogue, encoded as those of users are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from llmrec.data.attributes import Attributes, Encoding, encode, learn_encoding, missing
from llmrec.data.columns import ITEM_ALIASES, fold
from llmrec.data.dataset import Catalogue, Dataset
from llmrec.errors import DataError, SchemaError


def with_item_attributes(dataset: Dataset, names: Sequence[str]) -> tuple[Dataset, tuple[str, ...]]:
    """The dataset with the attributes of its items, out of the columns `names` of the catalogue, and notes.

    The encoding is learned from the items that have events: a level that only others have teaches nothing.
    Raises SchemaError for a column that is not there and as `learn_encoding`, DataError for the id and where no column can be
    read.
    """
    catalogue = dataset.catalogue
    columns = catalogue.table.select(_checked(names, catalogue.table.column_names))
    bought = np.unique(dataset.item)
    encoding, left_out = learn_encoding(columns.take(pa.array(bought)), "items")
    if not encoding.columns:
        raise DataError(f"item_attributes: no column can be read. {'; '.join(left_out)}")
    attributes = encode(encoding, columns.select(encoding.names), "items")[0]
    some = int(attributes.some[bought].sum())
    read = f"items: {some:,} of {len(bought):,} items with events have attributes: {', '.join(encoding.names)}"
    return replace(dataset, catalogue=replace(catalogue, attributes=attributes)), (*left_out, read)


def item_attributes(encoding: Encoding, table: pa.Table) -> tuple[Attributes, tuple[str, ...]]:
    """The attributes of the items in the rows of a table, and notes on what was not learned. Other columns are passed over.

    Raises SchemaError, which names the column, for values of another kind than it had.
    """
    there = [name for name in encoding.names if name in table.column_names]
    return encode(encoding, table.select(there), "items") if there else (missing(encoding, len(table)), ())


def over_items(known: Catalogue, catalogue: Catalogue, place: np.ndarray) -> Catalogue:
    """`catalogue` of M items with attributes in the terms of `known`: those of the item of `known` at `place`, int64 (M,), and
    where that is -1, of a new item, those of its own table. Without attributes where `known` has none."""
    if known.attributes is None:
        return replace(catalogue, attributes=None)
    own, _ = item_attributes(known.attributes.encoding, catalogue.table)
    codes = np.where(place[:, None] < 0, own.codes, known.attributes.take(place).codes)
    return replace(catalogue, attributes=Attributes(own.encoding, codes))


def _checked(names: Sequence[str], there: Sequence[str]) -> list[str]:
    """The columns of the catalogue that `names` mean, each once. One that was renamed is found under its old name, too."""
    if isinstance(names, str):
        raise DataError(f"item_attributes is the text {names!r}, expected a list of columns of the items; say [{names!r}]")
    found: list[str] = []
    for name in names:
        renamed = [ours for ours, others in ITEM_ALIASES.items() if fold(str(name)) in others and ours in there]
        column = name if name in there else next(iter(renamed), None)
        if column is None:
            others = ", ".join(repr(other) for other in there if other != "item_id")
            raise SchemaError(f"item_attributes: items have no column {name!r}, expected one of {others}; leave it out")
        if column == "item_id":
            raise DataError(f"item_attributes: {name!r} is the id, which says nothing of other items; leave it out")
        found.append(column)
    return list(dict.fromkeys(found))
