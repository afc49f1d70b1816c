"""The only module that handles data frames: tables come in as Arrow and go back in the caller's own type."""

from __future__ import annotations

import unicodedata
import uuid
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import narwhals as nw
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmrec.data.hub_tables import as_dataset
from llmrec.data.ids import tidy
from llmrec.errors import MissingExtraError, SchemaError

FEW = 1000  # rows that NumPy codes sooner than Arrow
MANY = 100_000  # rows of a table that is worth several threads


def to_arrow(table: Any, what: str) -> pa.Table:
    """An Arrow table from pandas, polars, pyarrow, a dict of columns, a list of dict rows, or a Hugging Face dataset.

    what: the name of the table in messages, such as "events".
    Raises SchemaError for a type that is not a table, a column of mixed types, and a dataset of several splits.
    """
    if isinstance(table, dict) and table and all(_is_huggingface(part) for part in table.values()):
        table = _only_split(table, what)
    if isinstance(table, pa.Table):
        arrow = table
    elif (columns := _pandas_columns(table)) is not None:
        return pa.table({name: pa.array(column, from_pandas=True) for name, column in columns.items()})
    elif isinstance(table, dict):
        arrow = _columns(table, what)
    elif isinstance(table, list):
        if table and (isinstance(table[0], (str, Path)) or hasattr(table[0], "columns")):
            raise SchemaError(
                f"{what} is a list of {type(table[0]).__name__}, expected one table; join several by pandas.concat, or put "
                "Parquet files into one folder"
            )
        if not table:
            raise SchemaError(f"{what} is an empty list, expected at least one row, as a dict such as {{'user_id': ...}}")
        if not all(isinstance(row, dict) for row in table):
            raise SchemaError(f"{what} is a list whose rows are not all dicts; pass [{{'user_id': ..., 'item_id': ...}}, ...]")
        names = dict.fromkeys(name for row in table for name in row)
        arrow = _columns({name: [row.get(name) for row in table] for name in names}, what)
    elif _is_huggingface(table):
        arrow = table.with_format("arrow")[:]  # through the format, so that a selected or shuffled view is honoured
    else:
        arrow = _through_narwhals(table, what)
    return plain(arrow)


def plain(arrow: pa.Table) -> pa.Table:
    """The table without metadata, and without the row labels of a filtered frame, which pandas hands over and writes to
    Parquet, and which would make equal rows differ."""
    labels = [name for name in arrow.column_names if name.startswith("__index_level_")]
    return arrow.drop_columns(labels).replace_schema_metadata(None)


def to_native(table: pa.Table, native: Any) -> Any:
    """`table` as the type of `native`: pandas, polars, pyarrow or Hugging Face; a path, a dict or a list gives pandas."""
    if isinstance(native, pa.Table):
        return table
    if not _is_pandas(native) and _is_huggingface(native):
        return type(native)(table)  # its constructor takes an Arrow table: no import needed
    if not isinstance(native, (str, Path, dict, list)) and not _is_pandas(native):
        implementation = nw.from_native(native).implementation
        if implementation.is_polars():
            return nw.from_native(table, eager_only=True).to_polars()
        if not implementation.is_pandas_like():
            return table
    try:
        # A few rows take longer with several threads. Whole numbers beside missing ones stay whole, for they are ids.
        return table.to_pandas(use_threads=len(table) > MANY, integer_object_nulls=True)
    except ImportError as error:
        raise MissingExtraError(
            "a path, dict or list is answered with a pandas frame, and pandas is not installed: "
            "pip install pandas, or pass a pyarrow table"
        ) from error


def frame_kind(native: Any) -> str:
    """The type of `native` as `like` answers it: "pandas", "polars", "pyarrow" or "datasets"; `empty_frame` reads it back."""
    if isinstance(native, pa.Table):
        return "pyarrow"
    if _is_huggingface(native):
        return "datasets"
    implementation = nw.from_native(native).implementation
    return "polars" if implementation.is_polars() else "pandas" if implementation.is_pandas_like() else "pyarrow"


def empty_frame(kind: str) -> Any:
    """An empty frame of a kind that `frame_kind` names; a pyarrow table where that library is not installed."""
    try:
        if kind == "pandas":
            return to_native(pa.table({}), {})
        if kind == "polars":
            return nw.from_native(pa.table({}), eager_only=True).to_polars()
        if kind == "datasets":
            return as_dataset(pa.table({}))
    except ImportError:  # MissingExtraError is one
        pass
    return pa.table({})


def id_column(column: pa.ChunkedArray, name: str, what: str) -> tuple[pa.ChunkedArray, dict[str, int]]:
    """Ids as int64, large_string or arrow.uuid with nulls, and what was repaired in how many rows.

    Repaired are whole-numbered floats (pandas turns ints into floats where some are missing), white space around text, text in
    another Unicode form than NFC, and empty text (to null).
    Raises SchemaError for any other type.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if pa.types.is_null(kind):
        return column.cast(pa.large_string()), {}
    if pa.types.is_integer(kind):
        try:
            return column.cast(pa.int64()), {}
        except pa.ArrowInvalid as error:
            raise SchemaError(f"{what}: column {name!r} holds ids above 2**63 - 1; convert them to str first") from error
    if is_text(kind):
        return _tidied(column.cast(pa.large_string()))
    if kind == pa.uuid():
        return column, {}
    if pa.types.is_floating(kind):
        values = column.to_numpy().astype(np.float64)
        missing = np.isnan(values)
        whole = np.isfinite(values) & (values == np.floor(values)) & (np.abs(values) < 2**53)
        if (whole | missing).all():
            ints = pa.array(np.where(missing, 0, values).astype(np.int64), mask=missing)
            return pa.chunked_array([ints]), {"floats to int": int(whole.sum())}
        example = values[~(whole | missing)][0].item()
        raise SchemaError(
            f"{what}: column {name!r} holds ids, expected str, int or UUID, got floats such as {example!r}; write them as "
            "text, for a float keeps 15 digits"
        )
    raise SchemaError(
        f"{what}: column {name!r} holds ids, expected str, int or UUID, got {kind}. Convert it first, for instance to str"
    )


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds text."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def is_number(kind: pa.DataType) -> bool:
    """Whether a column of this type holds numbers, which flags are not."""
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def storage(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column with arrow.uuid as its 16 bytes: Arrow's kernels do not compute on extension types."""
    if column.type != pa.uuid():
        return column
    return pa.chunked_array([chunk.storage for chunk in column.chunks], pa.binary(16))


def coded(column: pa.ChunkedArray) -> tuple[np.ndarray, list]:
    """Codes and the distinct values, ascending, as Python objects (int, str, uuid.UUID, ...).

    Returns int64 (rows,) codes into the values, -1 for null.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)  # a categorical may hold values that no row has
    if column.type == pa.int64() and len(column) <= FEW and not column.null_count:
        found, code = np.unique(column.to_numpy(), return_inverse=True)
        return code, found.tolist()
    encoded = storage(column).combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.unify_dictionaries().combine_chunks()
    values = encoded.dictionary.to_pylist()
    order = sorted(range(len(values)), key=values.__getitem__)
    rank = np.empty(len(values) + 1, np.int64)
    rank[order] = np.arange(len(values))
    rank[-1] = -1
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    values = [values[index] for index in order]
    if column.type == pa.uuid():
        values = [uuid.UUID(bytes=value) for value in values]
    return rank[codes], values


def _tidied(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, dict[str, int]]:
    """Text ids without white space around and in NFC, empty ones null, and the count of each repair."""
    code, distinct = coded(column)
    values = pa.array([*distinct, None], pa.large_string())
    odd = (
        pc.match_substring_regex(values, r"^[\s\x00]|[\s\x00]$|[^\x00-\x7f]|^$").fill_null(False).to_numpy(zero_copy_only=False)
    )
    if not odd.any():
        return column, {}
    rows = np.bincount(code + 1, minlength=len(values))[1:]
    new: list[str | None] = [*distinct, None]
    around, zero, unseen = (f"{what} around taken off" for what in ("white space", "zero bytes", "unseen signs"))
    counts = {around: 0, zero: 0, unseen: 0, "to Unicode's form NFC": 0, "empty": 0}
    for index in np.flatnonzero(odd).tolist():
        old, new[index] = distinct[index], tidy(distinct[index]) or None
        if new[index] is None:
            counts["empty"] += int(rows[index])
        elif new[index] != old:
            kind = zero if "\0" in old else around if new[index] == old.strip() else unseen
            counts[kind if unicodedata.is_normalized("NFC", old) else "to Unicode's form NFC"] += int(rows[index])
    tidied = pa.chunked_array([pa.array(new, pa.large_string()).take(pa.array(code % len(new)))])
    return tidied, {kind: count for kind, count in counts.items() if count}


def _columns(columns: dict, what: str) -> pa.Table:
    arrays = {str(name): _array(values, str(name), what) for name, values in columns.items()}
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise SchemaError(f"{what}: columns differ in length, expected one length, got {lengths}")
    return pa.table(arrays)


def _array(values: Any, name: str, what: str) -> pa.Array:
    if isinstance(values, (str, bytes, dict)) or not isinstance(values, Iterable):
        raise SchemaError(
            f"{what}: column {name!r} is one value, {values!r}, expected a list of values; pass [{values!r}], or rows as a "
            "list of dicts"
        )
    try:
        array = pa.array(values, from_pandas=True)
        if pa.types.is_date(array.type) and any(isinstance(value, datetime) and value == value for value in values):
            raise pa.ArrowInvalid("a date column would lose the time of day")
        return array
    except OverflowError as error:
        raise SchemaError(f"{what}: column {name!r} holds whole numbers above 2**63 - 1; convert them to str first") from error
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        kinds = sorted({type(value).__name__ for value in values if value is not None})
        came = f"mixes {' and '.join(kinds)}" if len(kinds) > 1 else f"holds values of the type {''.join(kinds)}"
        raise SchemaError(
            f"{what}: column {name!r} {came}, expected one type: text, numbers or times. Convert it first, such as to str"
        ) from error


def _through_narwhals(table: Any, what: str) -> pa.Table:
    names = [str(name) for name in table.columns] if hasattr(table, "iloc") and hasattr(table, "columns") else []
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SchemaError(
            f"{what} has several columns named {', '.join(map(repr, twice))}, expected distinct names. "
            "Drop or rename all but one of them before the call"
        )
    frame = nw.from_native(table, pass_through=True)
    if isinstance(frame, nw.LazyFrame):
        frame = frame.collect()
    if not isinstance(frame, nw.DataFrame):
        raise SchemaError(
            f"{what} is a {type(table).__name__}, expected a pandas, polars or pyarrow table, a Hugging Face dataset, "
            "a dict of columns, or a path to a file"
        )
    if wide := [name for name, kind in frame.schema.items() if kind in (nw.Int128, nw.UInt128)]:
        raise SchemaError(f"{what}: column {wide[0]!r} holds whole numbers of 128 bits; convert them to int64 or str first")
    objects = [name for name, kind in frame.schema.items() if kind == nw.Object]
    if not objects:
        return frame.to_arrow()
    # Python objects (UUIDs, or types mixed by accident) go one column at a time, so that an error can name the column.
    plain = [name for name in frame.columns if name not in objects]
    arrays = {name: _array(frame[name].to_list(), name, what) for name in objects}
    if plain:
        rest = frame.select(plain).to_arrow()
        arrays.update({name: rest.column(name) for name in plain})
    return pa.table({name: arrays[name] for name in frame.columns})


def _pandas_columns(table: Any) -> dict[str, Any] | None:
    """The columns of a pandas frame that is not long, has distinct names of text, columns of numbers, times or text, and no
    index that is a column; None for any other. Read one by one they give what pyarrow reads of the whole, in a third of the
    time for the history of one user."""
    if not _is_pandas(table) or not hasattr(table, "columns") or len(table) > MANY:
        return None

    def plain(kind: Any) -> bool:
        return kind.kind in "biufM" and kind.isnative if isinstance(kind, np.dtype) else kind == "str"

    columns = dict(table.items())
    names = (*columns, *("" if name is None else None for name in table.index.names))
    usual = len(columns) == len(table.columns) and all(isinstance(name, str) for name in names)
    return columns if usual and all(plain(column.dtype) for column in columns.values()) else None


def _only_split(splits: dict[str, Any], what: str) -> Any:
    """The one split of a dataset as `load_dataset` gives it. Raises SchemaError where there are several."""
    if len(splits) == 1:
        return next(iter(splits.values()))
    names = list(splits)
    raise SchemaError(
        f"{what} is a dataset with the splits {', '.join(map(repr, names))}, expected one table; pass one, such as "
        f"dataset[{names[0]!r}]"
    )


def _is_pandas(table: Any) -> bool:
    """Whether a table is of pandas itself, not of a library like it."""
    return type(table).__module__.partition(".")[0] == "pandas"


def _is_huggingface(table: Any) -> bool:
    return hasattr(table, "with_format") and isinstance(getattr(getattr(table, "data", None), "table", None), pa.Table)
