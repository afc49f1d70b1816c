"""Columns of the catalogue as rules read them: numbers, texts, flags, times or lists, with null where a value is missing."""

from __future__ import annotations

import difflib
import unicodedata
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmrec.data.dataset import Catalogue
from llmrec.data.frames import coded, id_column, is_number, is_text
from llmrec.data.times import DAY, seconds
from llmrec.data.values import FLAGS
from llmrec.errors import DataError, SchemaError

YEAR = 365.2425 * DAY


@dataclass(frozen=True)
class Values:
    """One side of a comparison.

    kind: "numbers", "texts", "flags", "times" (float64 seconds since 1970), "lists", or "nothing" where all are missing.
    data: an Arrow array of N values, or one scalar. said: what messages call it.
    """

    kind: str
    data: Any
    said: str

    @property
    def constant(self) -> bool:
        return isinstance(self.data, pa.Scalar)


def column(catalogue: Catalogue, name: str) -> Values:
    """A column by its name; `item_id` is always there.

    Raises SchemaError, which lists the columns, for a name that the catalogue does not have, and for a type that rules do not
    read.
    """
    return _read(_named(catalogue, name), name)


def _named(catalogue: Catalogue, name: str) -> pa.ChunkedArray:
    if name == "item_id":  # a loaded catalogue has its ids apart
        ids = catalogue.ids.values
        return pa.chunked_array([pa.array(ids if ids and isinstance(ids[0], int) else [str(one) for one in ids])])
    names = {unicodedata.normalize("NFKC", one): one for one in catalogue.table.column_names}  # as Python reads names
    names |= {one: one for one in catalogue.table.column_names}
    if name not in names:
        there = [*dict.fromkeys(("item_id", *catalogue.table.column_names))]
        close = difflib.get_close_matches(name, there, 1)
        guess = f" did you mean {close[0]!r}?" if close else ""
        raise SchemaError(f"the catalogue has no column {name!r};{guess} its columns are {', '.join(map(repr, there))}")
    return catalogue.table.column(names[name])


def _read(values: pa.ChunkedArray, name: str) -> Values:
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    kind, said = values.type, f"column {name!r}"
    if pa.types.is_null(kind):
        return Values("nothing", values.cast(pa.bool_()), said)
    if pa.types.is_boolean(kind):
        return Values("flags", values, said)
    if pa.types.is_integer(kind) and kind != pa.uint64():
        return Values("numbers", values.cast(pa.int64()), said)
    if is_number(kind):
        numbers = values.cast(pa.float64(), safe=False)
        return Values("numbers", pc.if_else(pc.is_nan(numbers), None, numbers), said)
    if is_text(kind):
        texts = values.cast(pa.large_string())
        return Values("texts", pc.if_else(pc.equal(texts, ""), None, texts), said)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return Values("times", pa.chunked_array([pa.array(seconds(values)[0], from_pandas=True)]), said)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return Values("lists", values, said)
    raise SchemaError(f"{said} is {kind}, expected numbers, text, flags, dates or lists; convert it in the table of items")


def by_user(catalogue: Catalogue, name: str) -> dict[str, np.ndarray]:
    """The items of each user whom a column of user ids names, by the id as text.

    Raises SchemaError for a column that is not there or holds no ids.
    """
    code, users = coded(id_column(_named(catalogue, name), name, "items")[0])
    order = np.argsort(code, kind="stable")
    start = np.searchsorted(code[order], np.arange(len(users) + 1))
    return {str(user): order[start[place] : start[place + 1]] for place, user in enumerate(users)}


def constant(value: object) -> Values:
    """A number, a text or a flag as it stands in a condition."""
    said = repr(value)
    if isinstance(value, bool):
        return Values("flags", pa.scalar(value), said)
    if isinstance(value, (int, float)):
        return Values("numbers", pa.scalar(value), said)
    if isinstance(value, str):
        return Values("texts", pa.scalar(value, pa.large_string()), said)
    raise DataError(f"{said} is not a number, a text, True or False")


def flags_of(values: Values) -> Values:
    """As flags: a text column of true, false, yes, no, 1 and 0 counts by what it says, a number where it is above 0.

    Raises SchemaError for anything else.
    """
    if values.kind in ("flags", "nothing"):
        return values
    if values.kind == "numbers" and (not values.constant or values.data.as_py() in (0, 1)):
        return Values("flags", pc.greater(values.data, 0), values.said)
    if values.kind == "texts" and not values.constant:
        code, texts = coded(values.data)
        words = [FLAGS.get(text.strip().lower()) for text in texts]
        if None not in words:
            found = pa.array([*words, None], pa.bool_()).take(pa.array(code % (len(words) + 1)))
            return Values("flags", pa.chunked_array([found]), values.said)
    said = f" such as {_example(values)}" if _example(values) else ""
    raise SchemaError(f"{values.said} holds {values.kind}{said}, expected flags or numbers; compare it, as in name == 'value'")


def seconds_of(values: Values) -> Values:
    """Dates as seconds since 1970: ISO 8601 text, years, or numbers and times as `times.seconds` reads them.

    Raises SchemaError where no value is a date.
    """
    if values.kind == "times":
        return values
    data = pa.chunked_array([pa.array([values.data.as_py()])]) if values.constant else values.data
    read = np.full(len(data), np.nan)
    if values.kind == "numbers" and _years(data):
        read = (data.to_numpy().astype(np.float64) - 1970.0) * YEAR
    elif values.kind in ("numbers", "texts"):
        try:
            read = seconds(data)[0]
        except (DataError, SchemaError) as error:
            raise SchemaError(str(error).replace("events: column 'timestamp'", values.said)) from error
    if np.isnan(read).all() and values.kind != "nothing":
        said = f" such as {_example(values)}" if _example(values) else ""
        raise SchemaError(f"{values.said} holds {values.kind}{said}, expected dates such as 2026-04-03")
    found = pa.array(read, from_pandas=True)
    return Values("times", found[0] if values.constant else pa.chunked_array([found]), values.said)


def groups(values: Values) -> tuple[np.ndarray, list]:
    """int64 (N,): the group of each item by its value, -1 where that is missing, and the distinct values.

    Raises SchemaError for lists.
    """
    if values.kind == "lists":
        raise SchemaError(f"{values.said} holds lists, expected one value per item; make a column of the first of each list")
    return coded(values.data)


def _years(data: pa.ChunkedArray) -> bool:
    known = data.drop_null().to_numpy()
    return bool(len(known) and ((known >= 1000) & (known < 3000) & (known == np.floor(known))).all())


def _example(values: Values) -> str:
    if values.constant:
        return ""
    known = values.data.drop_null()
    return repr(known[0].as_py()) if len(known) else ""
