"""JSON as a table: one object a line, or one list of objects; lines that are no object are told by their numbers."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.json

from llmrec.data.report import counted
from llmrec.data.rows import Broken
from llmrec.errors import DataError

_BLOCK = 1 << 26  # bytes: no object may be longer


@dataclass(frozen=True)
class JsonRows:
    """table: a row an object. line: int64 (rows,), where each stands in the file, 0 where the file is one list. broken: lines
    that are no object. mixed: names whose values were of several types, and are all text now, each with the first row, from 0,
    of another type than the row before it."""

    table: pa.Table
    line: np.ndarray
    broken: tuple[Broken, ...]
    mixed: Mapping[str, int]


def read_json(data: bytes, named: str) -> JsonRows:
    """The objects of a file. data: UTF-8. Raises DataError for a list that is no JSON, and for lines without an object."""
    if data.lstrip().startswith(b"["):
        return _read_list(data, named)
    texts = data.splitlines()
    there = [number for number, text in enumerate(texts, 1) if text.strip()]
    broken: list[Broken] = []
    try:
        table = _parsed(data)
    except pa.ArrowInvalid:
        broken = [Broken(number, why, _shown(texts[number - 1])) for number in there if (why := _wrong(texts[number - 1]))]
        there = sorted({*there} - {row.line for row in broken})
        good = [texts[number - 1] for number in there]
        if not good:
            first = f" ({broken[0]})" if broken else ""
            raise DataError(f"{named}: no line holds an object{first}; expected one object per line") from None
        try:
            table = _parsed(b"\n".join(good))
        except pa.ArrowInvalid:
            table, mixed = _columns([json.loads(text) for text in good])
            return JsonRows(table, np.array(there, np.int64), tuple(broken), mixed)
    if len(table) != len(there):
        raise DataError(
            f"{named}: {counted(len(table), 'object')} in {counted(len(there), 'line')}; expected one object per line"
        )
    return JsonRows(table, np.array(there, np.int64), tuple(broken), {})


def _read_list(data: bytes, named: str) -> JsonRows:
    try:
        rows = json.loads(data)
    except ValueError as error:
        raise DataError(f"{named}: not valid JSON: {error}. Fix it, or write one object per line") from error
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise DataError(
            f"{named}: expected a list of objects, such as [{{'user_id': ..., 'item_id': ...}}], or one object per line"
        )
    table, mixed = _columns(rows)
    return JsonRows(table, np.zeros(len(table), np.int64), (), mixed)


def _columns(rows: list[dict[str, Any]]) -> tuple[pa.Table, dict[str, int]]:
    """The objects as columns, and those of several types, which become text: a price that is 12.99 or "from 14.99"."""
    columns, mixed = {}, {}
    for key in dict.fromkeys(key for row in rows for key in row):
        values = [row.get(key) for row in rows]
        try:
            columns[key] = pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            kinds = [None if value is None else type(value) for value in values]
            first = next(kind for kind in kinds if kind is not None)
            if {*kinds} - {None} != {int}:  # whole numbers beyond 64 bits are of one type, and text keeps them
                mixed[key] = next((row for row, kind in enumerate(kinds) if kind not in (None, first)), 0)
            columns[key] = pa.array([_as_text(value) for value in values], pa.large_string())
    return pa.table(columns), mixed


def _as_text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _parsed(data: bytes) -> pa.Table:
    if not data.strip():
        raise pa.ArrowInvalid("no line holds an object")
    return pyarrow.json.read_json(
        io.BytesIO(data),
        read_options=pyarrow.json.ReadOptions(block_size=_BLOCK),
        parse_options=pyarrow.json.ParseOptions(newlines_in_values=False),
    )


def _wrong(text: bytes) -> str:
    """Why a line is no object; "" where it is one."""
    try:
        value = json.loads(text, parse_constant=_refuse)
    except ValueError as error:
        return f"not valid JSON ({error})"
    return "" if isinstance(value, dict) else f"a {type(value).__name__}, expected an object"


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not valid JSON; write null")


def _shown(text: bytes) -> str:
    return text[:80].decode("utf-8", errors="replace")
