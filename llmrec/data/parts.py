"""Columns of lists as numbers: lists of words, such as the genres of a film, and vectors, such as an embedding.

A cell of text with several values, such as "Comedy|Drama", is read as the list of them. A list of words becomes one number for
each word that enough rows have: 1 where the list has it, 0 where not. A vector becomes one number for each of its places,
standardised and divided by the root of their count, so that a vector of any length weighs as much as one standardised number.

Axis convention: `N` rows, `P` parts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmrec.data.frames import is_number, is_text
from llmrec.data.ids import tidy
from llmrec.data.report import counted
from llmrec.errors import SchemaError

SEPARATORS = ("|", ";", ", ")  # between the values of a cell, the surest first
SEVERAL = 0.1  # of the cells that hold something: so many hold several values, or the column has one value a cell
MANY = 0.05  # of the cells with a comma: so many hold a second one, or it is a part of one value, as in "Smith, John"


@dataclass(frozen=True)
class Part:
    """One number of a list: a word, or a place of a vector, with what is taken off it and what it is divided by."""

    part: str | int
    mean: float = 0.0
    spread: float = 1.0


def is_list(kind: pa.DataType) -> bool:
    """Whether a column holds lists, of any length or of one."""
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def separator_of(column: pa.ChunkedArray) -> str | None:
    """What stands between the values of a cell of text; None where a cell holds one value.

    Cells hold several values where a tenth of them has the separator, and they are made of few values: at most half as many as
    there are different cells. Commas count where some cells have two, and before a blank alone. So "Comedy|Drama" is two
    values, and "Clothing, Shoes & Jewelry", "Berlin, Germany", "12,49" and '["red", "blue"]' are one.
    """
    cells = [cell for cell in column.drop_null().to_pylist() if cell.strip()]
    if not cells or all(cell.strip()[0] in "[{" for cell in cells):
        return None
    for separator in SEPARATORS:
        count = [cell.count(separator) for cell in cells]
        several = sum(one > 0 for one in count)
        if several < SEVERAL * len(cells) or (separator == ", " and sum(one > 1 for one in count) < MANY * several):
            continue
        distinct = set(cells)
        if 2 * len({tidy(word) for cell in distinct for word in cell.split(separator)} - {""}) <= len(distinct):
            return separator
    return None


def split_cells(texts: Sequence[str | None], separator: str) -> pa.ChunkedArray:
    """Texts as a column of lists; a blank one is missing."""
    return pa.chunked_array(
        [pa.array([None if not text else text.split(separator) for text in texts], pa.large_list(pa.large_string()))]
    )


def learn_parts(column: pa.ChunkedArray, name: str, what: str, least: int, most: int) -> tuple[list[Part], tuple[str, ...]]:
    """The parts of a column of lists, and notes on what is left out. what: the table in messages. least: rows that a word
    needs; most: of words, the most frequent.

    Raises SchemaError, which names the column, for lists of anything but text or numbers, for vectors of different lengths,
    and for numbers that are missing or infinite.
    """
    if is_text(column.type.value_type) or pa.types.is_null(column.type.value_type):
        count = Counter(word for row in _words(column) for word in row or ())
        kept = sorted(sorted(word for word in count if count[word] >= least), key=lambda word: -count[word])[:most]
        if not kept:
            return [], (f"{what}: no word of column {name!r} is in {least} rows, so the column is not read",)
        rare = len(count) - len(kept)
        why = f"in fewer than {least} rows" if len(kept) < most else f"not among the {most} most frequent"
        said = (f"{what}: {counted(rare, 'word')} of {name!r} {why}, not read",) if rare else ()
        return [Part(word) for word in sorted(kept)], said
    vectors = _vectors(column, name, what)
    there = vectors[~np.isnan(vectors).any(1)]
    if not there.size:
        return [], (f"{what}: column {name!r} is empty, and is not read",)
    mean, spread = there.mean(0), there.std(0) * np.sqrt(there.shape[1])
    return [Part(place, float(mean[place]), float(spread[place]) or 1.0) for place in range(there.shape[1])], ()


def read_parts(column: pa.ChunkedArray, parts: Sequence[Part], name: str, what: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """float32 (N, P): the numbers of lists, NaN where there is none; and notes on words that were not learned.

    Raises SchemaError as `learn_parts`, and for lists of another kind or length.
    """
    words = isinstance(parts[0].part, str)
    if not is_list(column.type):
        raise SchemaError(f"{what}: column {name!r} holds {column.type}, expected lists, as in fit; convert it first")
    if pa.types.is_null(column.type.value_type):
        column = column.cast(pa.list_(pa.large_string() if words else pa.float64()))
    if words != is_text(column.type.value_type):
        wanted = "text" if words else "numbers"
        raise SchemaError(f"{what}: column {name!r} holds {column.type}, expected lists of {wanted}, as in fit")
    if words:
        place = {one.part: at for at, one in enumerate(parts)}
        found = np.full((len(column), len(parts)), np.nan, np.float32)
        new: set[str] = set()
        for row, some in enumerate(_words(column)):
            if some is not None:
                found[row] = 0
                found[row, [place[word] for word in some if word in place]] = 1
                new |= some - place.keys()
        first = ", ".join(map(repr, sorted(new)[:3]))
        return found, (f"{what}: {name} {first} was in too few rows in fit, and is not read",) if new else ()
    vectors = _vectors(column, name, what)
    if vectors.shape[1] not in (0, len(parts)):
        raise SchemaError(
            f"{what}: column {name!r} holds vectors of {vectors.shape[1]} numbers, expected {len(parts)}, as in fit; make them "
            "the same way"
        )
    if not vectors.shape[1]:
        vectors = np.full((len(column), len(parts)), np.nan)
    mean, spread = (np.array([getattr(one, field) for one in parts]) for field in ("mean", "spread"))
    return ((vectors - mean) / spread).astype(np.float32), ()


def _words(column: pa.ChunkedArray) -> list[set[str] | None]:
    """The distinct words of each row; None where there is no list."""
    return [None if row is None else {tidy(word) for word in row if word} - {""} for row in column.to_pylist()]


def _vectors(column: pa.ChunkedArray, name: str, what: str) -> np.ndarray:
    """float64 (N, P): rows of NaN where there is none; P is 0 where there is none at all."""
    if not is_number(column.type.value_type):
        raise SchemaError(
            f"{what}: column {name!r} holds {column.type}, expected lists of text or vectors of numbers; convert it first, or "
            "drop it"
        )
    there = column.is_valid().to_numpy()
    lengths = np.unique(pc.list_value_length(column).drop_null().to_numpy())
    if len(lengths) > 1:
        raise SchemaError(
            f"{what}: column {name!r} holds vectors of {lengths[0]} to {lengths[-1]} numbers, expected one length; convert it "
            "first, or drop it"
        )
    found = np.full((len(column), int(lengths[0]) if len(lengths) else 0), np.nan)
    values = pc.list_flatten(column).cast(pa.float64()).to_numpy().reshape(-1, found.shape[1] or 1)
    if not np.isfinite(values).all():
        raise SchemaError(f"{what}: column {name!r} holds vectors with missing or infinite numbers; fix or drop them")
    if found.shape[1]:
        found[there] = values
    return found
