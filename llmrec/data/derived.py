"""A catalogue made of the events, where no table of items is given."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from llmrec.data.clean_items import TEXT, item_names
from llmrec.data.files import MISSING, without_markers
from llmrec.data.frames import coded
from llmrec.data.report import counted


def derived_items(events: pa.Table) -> tuple[pa.Table, str]:
    """The catalogue that the events themselves describe, ids ascending, and the note that says so."""
    item, ids = coded(events.column("item_id"))
    column = events.column("item_id")
    where = np.unique(item, return_index=True)[1]
    table = {"item_id": column.take(pa.array(where))}
    found = [name for name in TEXT if name in events.column_names]
    for name in found:
        table[name] = _most_frequent(item, len(ids), events.column(name))
    if "title" not in found:
        table = {"item_id": table["item_id"], "title": item_names(table["item_id"]), **table}
    if "price" in events.column_names:
        found.append("price")
        table["price"] = pa.chunked_array([_median(item, len(ids), events.column("price").to_numpy())])
    source = f"the events' {', '.join(found)}" if found else "item ids alone"
    if "title" not in found:
        source += ", and its titles carry no meaning: pass items with titles"
    elif differing := _differing(item, events.column("title")):
        one, other, at = differing
        source += (
            f". Most events bring their item another title, such as {one!r} and {other!r} of {ids[at]!r}: if these are not the "
            "items', pass the events without this column"
        )
    return pa.table(table), f"items: no table was given; the catalogue of {counted(len(ids), 'item')} is made of {source}"


def _most_frequent(item: np.ndarray, n_items: int, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The most frequent value of each item, a mark of a missing one only where it has no other; of equally frequent ones the
    first in the alphabet."""
    code, values = coded(_text(column))
    mark = np.array([value.strip() in MISSING for value in values], bool)
    there = code >= 0
    pair, count = np.unique(item[there] * max(len(values), 1) + code[there], return_counts=True)
    of = pair // max(len(values), 1)
    order = np.lexsort((pair, -count, mark[pair % max(len(values), 1)], of))
    winner, at = np.unique(of[order], return_index=True)
    best = np.full(n_items, -1)
    best[winner] = pair[order[at]] % max(len(values), 1)
    return pa.chunked_array([pa.array([values[index] if index >= 0 else None for index in best.tolist()], pa.large_string())])


def _text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return (column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column).cast(pa.large_string())


def _differing(item: np.ndarray, titles: pa.ChunkedArray) -> tuple[str, str, int] | None:
    """Two titles and their item, if most events after an item's first have another title for it: such a column is likely to
    name the customer."""
    code, values = coded(without_markers(_text(titles)))
    there = code >= 0
    pair = np.unique(item[there] * max(len(values), 1) + code[there])
    of, later = pair // max(len(values), 1), there.sum() - len(np.unique(item[there]))
    again = np.flatnonzero(np.diff(of) == 0)
    if not len(again) or 2 * len(again) <= later:
        return None
    at = int(again[0])
    one, other = (values[int(pair[place] % len(values))] for place in (at, at + 1))
    return one, other, int(of[at])


def _median(item: np.ndarray, n_items: int, values: np.ndarray) -> np.ndarray:
    """float64 (n_items,): the median of each item's known values, NaN without any."""
    there = ~np.isnan(values)
    item, values = item[there], values[there]
    values = values[np.lexsort((values, item))]
    count = np.bincount(item, minlength=n_items)
    begin = np.cumsum(count) - count
    result, some = np.full(n_items, np.nan), count > 0
    low, high = begin + (count - 1) // 2, begin + count // 2
    result[some] = (values[low[some]] + values[high[some]]) / 2
    return result
