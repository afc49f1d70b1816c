"""JSON as a table: one object a line, or one list of objects; lines that are no object are told by their numbers."""

from __future__ import annotations

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.json

from llmrec.data.frames import to_arrow
from llmrec.data.report import counted
from llmrec.data.rows import Broken
from llmrec.errors import DataError, SchemaError

_BLOCK = 1 << 26  # bytes: no object may be longer


def read_json(data: bytes, named: str, what: str) -> tuple[pa.Table, np.ndarray, tuple[Broken, ...]]:
    """The table, int64 (rows,) lines that its rows stand in (0 where the file is one list), and broken lines.

    data: UTF-8. Raises DataError for a list that is no JSON, and for a column that changes its type.
    """
    if data.lstrip().startswith(b"["):
        return _read_list(data, named, what)
    texts = data.splitlines()
    there = [number for number, text in enumerate(texts, 1) if text.strip()]
    broken: list[Broken] = []
    try:
        table = _parsed(data)
    except pa.ArrowInvalid:
        broken = [Broken(number, why, _shown(texts[number - 1])) for number in there if (why := _wrong(texts[number - 1]))]
        there = sorted({*there} - {row.line for row in broken})
        try:
            table = _parsed(b"\n".join(texts[number - 1] for number in there))
        except pa.ArrowInvalid as error:
            raise DataError(
                f"{named}: {error}. Expected one object per line, in which a name has values of one type; write ids always as "
                "text or always as numbers"
            ) from error
    if len(table) != len(there):
        raise DataError(
            f"{named}: {counted(len(table), 'object')} in {counted(len(there), 'line')}; expected one object per line"
        )
    return table, np.array(there, np.int64), tuple(broken)


def _read_list(data: bytes, named: str, what: str) -> tuple[pa.Table, np.ndarray, tuple[Broken, ...]]:
    try:
        rows = json.loads(data)
    except ValueError as error:
        raise DataError(f"{named}: not valid JSON: {error}. Fix it, or write one object per line") from error
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise DataError(
            f"{named}: expected a list of objects, such as [{{'user_id': ..., 'item_id': ...}}], or one object per line"
        )
    keys = dict.fromkeys(key for row in rows for key in row)
    try:
        table = to_arrow([{key: row.get(key) for key in keys} for row in rows], what)
    except SchemaError as error:
        raise DataError(f"{named}: {error}") from error
    return table, np.zeros(len(table), np.int64), ()


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
