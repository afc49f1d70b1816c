"""Cleaning of the catalogue, in the same way: small pure steps, each with a Step that says what it did."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmrec.data.clean import Cleaning, Step, drop_missing, read_ids, read_numbers
from llmrec.data.files import MISSING
from llmrec.data.frames import coded
from llmrec.data.report import counted
from llmrec.data.text import folded, normalise_column
from llmrec.data.values import repeated
from llmrec.errors import DataError, SchemaError

TEXT = ("title", "text", "category")


def clean_items(items: pa.Table, cleaning: Cleaning) -> tuple[pa.Table, tuple[Step, ...]]:
    """The catalogue with distinct ids, a title for every item and normalised text.

    Raises DataError when no item is left, or when rows share an id and differ (see `Cleaning.on_duplicate`).
    """
    steps = []
    items, step = read_ids(items, ("item_id",), "items")
    steps.append(step)
    items, step = drop_missing(items, ("item_id",), "items")
    steps.append(step)
    if not len(items):
        raise DataError("items has no row with an item_id, expected at least one; pass the catalogue, or items=None")
    items, step = one_row_an_id(items, cleaning.on_duplicate)
    steps.append(step)
    items, step = read_numbers(items, ("price",), "items")
    steps.append(step)
    items, step = normalise_text(items, cleaning.text_cap)
    steps.append(step)
    items, step = fill_titles(items)
    steps.append(step)
    steps.append(near_duplicates(items))
    return items, tuple(steps)


def one_row_an_id(items: pa.Table, on_duplicate: str) -> tuple[pa.Table, Step]:
    """Equal rows with one id are one item; rows that differ raise DataError, or with "first" the first is kept."""
    distinct = items.filter(pa.array(~repeated(items)))
    code, ids = coded(distinct.column("item_id"))
    first = np.zeros(len(distinct), bool)
    first[np.unique(code, return_index=True)[1]] = True
    detail = ""
    if not first.all():
        several = np.unique(code[~first])
        named = ", ".join(repr(ids[index]) for index in several[:3])
        if on_duplicate != "first":
            raise DataError(
                f"items: {counted(len(several), 'item id')} with rows that differ ({named}), expected one row per item. "
                'Merge them, or keep the first row of each with Cleaning(on_duplicate="first"), in the command '
                "--on-duplicate first"
            )
        detail = f"{counted(len(several), 'id')} had rows that differ, first kept: {named}"
    dropped = len(items) - int(first.sum())
    return distinct.filter(pa.array(first)), Step("duplicated ids", "items", len(items), dropped, 0, detail)


def normalise_text(items: pa.Table, cap: int) -> tuple[pa.Table, Step]:
    """title, text and category normalised (see `text.normalise`); lists of strings are joined, and marks of a missing text or
    category, such as "NULL", are null."""
    changed, said = np.zeros(len(items), bool), []
    for name in TEXT:
        if name not in items.column_names:
            continue
        column, touched, counts = normalise_column(_as_text(items.column(name), name), cap)
        if name != "title":  # see fill_titles
            marks = pc.is_in(column, pa.array(MISSING[1:], column.type))
            if count := pc.sum(marks).as_py():
                column, touched = pc.if_else(marks, None, column), touched | marks.to_numpy()
                counts["mark of a missing value"] = count
        items = items.set_column(items.column_names.index(name), name, column)
        changed |= touched
        if counts:
            said.append(f"{name}: " + ", ".join(f"{kind} {count:,}" for kind, count in counts.items()))
    return items, Step("text", "items", len(items), 0, int(changed.sum()), "; ".join(said))


def fill_titles(items: pa.Table) -> tuple[pa.Table, Step]:
    """An empty title, or one that is a mark of a missing value such as "NaN", becomes the item's text, else its
    category, else "item" and the id."""
    marks = pc.is_in(items.column("title"), pa.array(MISSING, items.column("title").type))
    title = pc.if_else(marks, None, items.column("title"))
    missing = pc.is_null(title).to_numpy()
    if not missing.any():
        return items, Step("missing titles", "items", len(items))
    said = []
    written = items.column("title").filter(pc.and_(marks, pc.not_equal(items.column("title"), "")))
    if len(written):
        said.append(f"{len(written):,} written as {', '.join(map(repr, sorted(set(written.to_pylist()))[:3]))}")
    for name in ("text", "category"):
        if name in items.column_names:
            other = pc.if_else(pc.is_in(items.column(name), pa.array(MISSING, pa.large_string())), None, items.column(name))
            filled = int((pc.is_null(title).to_numpy() & pc.is_valid(other).to_numpy()).sum())
            title = pc.coalesce(title, other)
            if filled:
                said.append(f"{filled:,} from {name}")
    left = pc.is_null(title).to_numpy()
    if left.any():
        said.append(f"{int(left.sum()):,} from the id")
        title = pc.coalesce(title, item_names(items.column("item_id")))
    items = items.set_column(items.column_names.index("title"), "title", title)
    return items, Step("missing titles", "items", len(items), 0, int(missing.sum()), "; ".join(said))


def near_duplicates(items: pa.Table) -> Step:
    """Counts items whose titles have the same words but for case, punctuation and order. Reported, never merged."""
    keys: dict[str, list[int]] = {}
    titles = items.column("title").to_pylist()
    for row, title in enumerate(titles):
        keys.setdefault(folded(title), []).append(row)
    groups = [rows for key, rows in keys.items() if key and len(rows) > 1]
    detail = ""
    if groups:
        example = max(groups, key=len)
        ids = items.column("item_id").take(example[:3]).to_pylist()
        count = sum(len(rows) for rows in groups)
        detail = (
            f"{count:,} items have the same words as another, kept, such as {', '.join(map(repr, ids))}: {titles[example[0]]!r}"
        )
    return Step("near duplicates", "items", len(items), 0, 0, detail)


def item_names(ids: pa.ChunkedArray) -> pa.ChunkedArray:
    """The text of an item that has none: "item" and its id."""
    return pa.chunked_array([pa.array([f"item {value}" for value in ids.to_pylist()], pa.large_string())])


def _as_text(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    kind = column.type
    if pa.types.is_dictionary(kind):
        return column.cast(kind.value_type).cast(pa.large_string())
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        joined = [
            None if row is None else " ".join(str(part) for part in row if part is not None) for row in column.to_pylist()
        ]
        return pa.chunked_array([pa.array(joined, pa.large_string())])
    if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        raise SchemaError(f"items: column {name!r} should be text, got {kind}; convert or drop it first")
    return column.cast(pa.large_string())
