"""Changes to a catalogue: tables of new items, and of new values for known ones.

A catalogue only grows. Its rows keep their places, which are the internal indices; a removed item keeps its row, and its id is
found no more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmrec.data.attributes import Attributes
from llmrec.data.clean import Cleaning, CleaningReport, drop_missing, read_ids, read_numbers
from llmrec.data.clean_items import clean_items, normalise_text, one_row_an_id
from llmrec.data.columns import ITEM_REQUIRED, item_columns
from llmrec.data.dataset import Catalogue
from llmrec.data.files import MISSING
from llmrec.data.frames import is_number, is_text
from llmrec.data.ids import Ids
from llmrec.data.item_attributes import item_attributes
from llmrec.data.matching import find_across
from llmrec.data.places import placed_or_frame, untyped
from llmrec.data.reading import Reading
from llmrec.data.tables import opened, renamed, said_of
from llmrec.data.values import FLAGS
from llmrec.errors import DataError, SchemaError, UnknownItemError


def read_additions(
    known: Catalogue, items: Any, columns: Mapping[str, str] | None, cleaning: Cleaning
) -> tuple[Catalogue, CleaningReport]:
    """New items for a catalogue, cleaned as `build` cleans a table of items.

    Raises SchemaError for ids of another kind than the catalogue's, DataError for an id that it has.
    """
    items = placed_or_frame(items, "items")
    table, notes = _read(items, columns, ITEM_REQUIRED)
    table, steps = clean_items(table, cleaning)
    ids, place = _placed(known.ids, table, untyped(items))
    if (place >= 0).any():
        there = [ids[row] for row in np.flatnonzero(place >= 0)[:3]]
        raise DataError(
            f"items: {int((place >= 0).sum()):,} of {len(ids):,} item ids are in the catalogue already, such as {there!r}; "
            "expected new ones. Change those with update_items, and offer hidden ones again with show_items"
        )
    attributes, said = _attributes(known, table)
    return Catalogue(Ids(ids), _without_ids(table), attributes), CleaningReport(steps, (*notes, *said))


def read_values(
    known: Catalogue, items: Any, columns: Mapping[str, str] | None, cleaning: Cleaning
) -> tuple[np.ndarray, pa.Table, CleaningReport]:
    """New values for known items: int64 (n,), which items, and a table of n rows without ids.

    Raises UnknownItemError for an id that the catalogue lacks, DataError for a table with ids alone.
    """
    items = placed_or_frame(items, "items")
    table, notes = _read(items, columns, ("item_id",))
    table, first = read_ids(table, ("item_id",), "items")
    table, second = drop_missing(table, ("item_id",), "items")
    table, third = one_row_an_id(table, cleaning.on_duplicate)
    table, fourth = read_numbers(table, ("price",), "items")
    table, fifth = normalise_text(table, cleaning.text_cap)
    table = _with_nulls(table)
    if table.column_names == ["item_id"]:
        raise DataError("items: expected columns with new values beside item_id, got none; name what changes, such as price")
    ids, place = _placed(known.ids, table, untyped(items))
    if (place < 0).any():
        unknown = [ids[row] for row in np.flatnonzero(place < 0)[:3]]
        raise UnknownItemError(
            f"items: {int((place < 0).sum()):,} of {len(ids):,} item ids are not in the catalogue, such as {unknown!r}; nothing"
            " was changed. Add new items with add_items"
        )
    notes = (*notes, *_attributes(known, table)[1])
    return place, _without_ids(table), CleaningReport((first, second, third, fourth, fifth), notes)


def appended(known: Catalogue, new: Catalogue) -> Catalogue:
    """The catalogue with new items behind its own. A value that one of the tables lacks is missing.

    Raises SchemaError for a column that is of two types which do not go together.
    """
    old = _without_ids(known.table)
    names = list(dict.fromkeys([*old.column_names, *new.table.column_names]))
    table = pa.table({name: _stacked(old, new.table, name) for name in names})
    attributes = known.attributes
    if attributes is not None and new.attributes is not None:
        attributes = replace(attributes, codes=np.concatenate([attributes.codes, new.attributes.codes]))
    return Catalogue(known.ids.extended(new.ids.values), table, attributes)


def updated(known: Catalogue, rows: np.ndarray, values: pa.Table) -> Catalogue:
    """The catalogue with other values for the items `rows`, int64 (n,): `values` has a row for each, and where it has none the
    old value stays. Raises as `appended`."""
    old = _without_ids(known.table)
    table = {name: old.column(name) for name in old.column_names}
    for name in values.column_names:
        there, at = np.flatnonzero(values.column(name).is_valid().to_numpy()), np.arange(len(known))
        at[rows[there]] = len(known) + there
        table[name] = _stacked(old, values, name).take(pa.array(at))
    attributes, changed = known.attributes, pa.table(table)
    if attributes is not None and set(attributes.encoding.names) & set(values.column_names):
        codes = attributes.codes.copy()
        codes[rows] = item_attributes(attributes.encoding, changed.take(pa.array(rows)))[0].codes
        attributes = replace(attributes, codes=codes)
    return Catalogue(known.ids, changed, attributes)


def _attributes(known: Catalogue, table: pa.Table) -> tuple[Attributes | None, tuple[str, ...]]:
    """The attributes of the rows, and notes on what is missing by them; None where the catalogue has none."""
    return (None, ()) if known.attributes is None else item_attributes(known.attributes.encoding, table)


def _read(items: Any, columns: Mapping[str, str] | None, required: tuple[str, ...]) -> tuple[pa.Table, tuple[str, ...]]:
    def naming(names: list[str]) -> list[str]:
        return renamed(names, lambda table: item_columns(table, columns, required, "columns")[0])

    found = opened(items, "items", naming, columns, required=required)
    if isinstance(found, Reading):
        table, notes = found.table, said_of(found)
    else:
        table, notes = item_columns(found, columns, required, "columns")
    if not len(table):
        raise DataError("items is empty, expected at least one row; check the path or the filter that made it")
    return table, notes


def _placed(known: Ids, table: pa.Table, from_text: bool) -> tuple[list[Any], np.ndarray]:
    """The ids of a table in the catalogue's kind, and int64 positions, -1 for those that it lacks. from_text: whether the table
    is of a text file, where ids have no type of their own."""
    ids = table.column("item_id").to_pylist()
    place, _ = find_across(known, ids, from_text)
    kinds = type(known[0]), type(ids[0])
    if from_text and kinds == (str, int):
        ids = [str(value) for value in ids]
    elif kinds[0] is not kinds[1]:
        raise SchemaError(
            f"items: item_id is {kinds[1].__name__} such as {ids[0]!r}, but the catalogue's are {kinds[0].__name__} such as "
            f"{known[0]!r}; expected one kind. Convert the column first"
        )
    return ids, place


def _stacked(old: pa.Table, new: pa.Table, name: str) -> pa.ChunkedArray:
    """One column of both tables, with nulls for a table that lacks it."""
    first, second = (_column(table, name) for table in (old, new))
    if (meant := _in_kind_of(first, second)) is not None:
        second = meant
    try:
        sized = [pa.table({name: part}) for part in (first, second)]
        return pa.concat_tables(sized, promote_options="permissive").column(name)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise SchemaError(
            f"items: column {name!r} is {second.type}, but {first.type} in the catalogue; expected one type. Convert it first"
        ) from error


def _in_kind_of(old: pa.ChunkedArray, new: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """New flags or numbers as the catalogue holds them, where one of both is text or a number, as flags of a CSV file are; None
    where that changes nothing, and where a value is neither flag nor number."""
    flags = [pa.types.is_boolean(part.type) for part in (old, new)]
    numbers = [is_number(part.type) for part in (old, new)]
    if numbers[0] and flags[1]:
        return new.cast(old.type)
    if flags[0] and numbers[1]:
        return new.cast(pa.bool_()) if set(new.drop_null().to_pylist()) <= {0, 1} else None
    if is_text(old.type) and (flags[1] or numbers[1]):
        there = [word for word in pc.unique(old).drop_null().to_pylist() if word.strip()]
        if numbers[1]:
            return new.cast(old.type) if _are_numbers(old) else None
        if not all(word.strip().lower() in FLAGS for word in there):
            return None
        words = {False: "false", True: "true"} | {FLAGS[word.strip().lower()]: word for word in reversed(there)}
        return pa.chunked_array([pa.array([words.get(value) for value in new.to_pylist()], old.type)])
    if is_text(new.type) and flags[0]:
        said = [None if value is None else value.strip().lower() for value in new.to_pylist()]
        known = all(word in FLAGS for word in said if word is not None)
        found = [None if word is None else FLAGS.get(word) for word in said]
        return pa.chunked_array([pa.array(found, pa.bool_())]) if known else None
    return new.cast(pa.float64()) if is_text(new.type) and numbers[0] and _are_numbers(new) else None


def _are_numbers(texts: pa.ChunkedArray) -> bool:
    """Whether every text is a number with a decimal point, and none a code such as 007, of which a number would lose a part."""
    if pc.any(pc.match_substring_regex(texts, r"^\s*[-+]?0\d")).as_py():
        return False
    try:
        texts.cast(pa.float64())
    except pa.ArrowInvalid:
        return False
    return True


def _column(table: pa.Table, name: str) -> pa.ChunkedArray:
    """Nulls where the table lacks it; categories as their values."""
    if name not in table.column_names:
        return pa.chunked_array([pa.nulls(len(table))])
    column = table.column(name)
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _with_nulls(table: pa.Table) -> pa.Table:
    """Null for what means that a value is missing: NaN, and in the title a word such as "NaN"."""
    for place, name in enumerate(table.column_names):
        column = table.column(name)
        if pa.types.is_floating(column.type):
            gone = pc.is_nan(column)
        elif name == "title":
            gone = pc.is_in(column, pa.array(MISSING, column.type))
        else:
            continue
        table = table.set_column(place, name, pc.if_else(gone, pa.scalar(None, column.type), column))
    return table


def _without_ids(table: pa.Table) -> pa.Table:
    return table.drop_columns([name for name in ("item_id",) if name in table.column_names])
