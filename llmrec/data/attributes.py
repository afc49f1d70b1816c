"""Attributes: columns of a table as blocks of floats with a mask of what is missing, by an encoding learned once.

Axis convention: `N` rows (users, requests), `B` columns, `W` floats of all blocks together, `G` groups of all columns together.

A column of text, of flags or of a few whole numbers becomes levels: a block of 0/1 columns. Other numbers become their
standardised value and their quarter. A row belongs to one group of each column that is known of it: its level, or its quarter.
A column of lists, or of cells with several values, becomes a number for each of their parts, see `llmrec.data.parts`, and puts
no row into a group. What is missing is 0 in every block and 0 in the mask, and so is a level that too few rows had, or that
came later.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from llmrec.data.files import FLAGS, levels_or_numbers, without_markers
from llmrec.data.frames import coded, is_number, is_text
from llmrec.data.ids import tidy
from llmrec.data.parts import Part, is_list, learn_parts, read_parts, separator_of, split_cells
from llmrec.data.report import counted
from llmrec.data.values import numbers
from llmrec.errors import SchemaError

LEAST_ROWS = 5  # rows that a level needs to be learned from
MOST_LEVELS = 100  # of a column: the most frequent
FEW = 32  # a column of at most so many distinct whole numbers is read as levels
FAR = 4.0  # standard deviations: numbers beyond are read as if they were there


@dataclass(frozen=True)
class Column:
    """How one column is encoded.

    levels: its values that enough rows had, ascending as text; () for numbers. mean, spread: of the numbers.
    cuts: quartiles of the standardised numbers, ascending and distinct. derived: whether the values were taken from the
    timestamp, see `llmrec.data.context`. part: of a column of lists, the word or the place whose number this is.
    separator: between the values of a cell, where these were text; None for lists.
    """

    name: str
    levels: tuple[str, ...] = ()
    mean: float = 0.0
    spread: float = 1.0
    cuts: tuple[float, ...] = ()
    derived: bool = False
    part: str | int | None = None
    separator: str | None = None

    @property
    def groups(self) -> int:
        """How many groups the rows fall into."""
        return 0 if self.part is not None else len(self.levels) or len(self.cuts) + 1

    @property
    def width(self) -> int:
        """Floats of the block: one for each group, and the number itself."""
        return self.groups + (not self.levels)

    def group(self, code: np.ndarray) -> np.ndarray:
        """int64 (N,): the group of each row, -1 where missing. code: float32 (N,), as in `Attributes.codes`."""
        if self.part is not None:
            return np.full(len(code), -1)
        known = ~np.isnan(code)
        place = code if self.levels else np.searchsorted(np.array(self.cuts, np.float32), code, side="right")
        return np.where(known, np.nan_to_num(place), -1).astype(np.int64)


@dataclass(frozen=True)
class Encoding:
    """How a table of attributes is encoded, as learned from one; see `learn_encoding`."""

    columns: tuple[Column, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the table's columns, each once."""
        return tuple(dict.fromkeys(column.name for column in self.columns))

    @property
    def first(self) -> list[int]:
        """Place of the first column of each name."""
        names = [column.name for column in self.columns]
        return [names.index(name) for name in self.names]

    @property
    def width(self) -> int:
        """Floats of all blocks, and one of the mask for each name."""
        return sum(column.width for column in self.columns) + len(self.names)

    @property
    def groups(self) -> int:
        """G: groups of all columns."""
        return sum(column.groups for column in self.columns)

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Encoding:
        """What `dataclasses.asdict` gave, also by way of JSON."""
        columns = ({**column, "levels": tuple(column["levels"]), "cuts": tuple(column["cuts"])} for column in saved["columns"])
        return cls(tuple(Column(**column) for column in columns))


@dataclass(frozen=True, eq=False)
class Attributes:
    """Attributes of N rows.

    codes: float32 (N, B), the number of the level or the standardised number; NaN where missing.
    """

    encoding: Encoding
    codes: np.ndarray

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def known(self) -> np.ndarray:
        """bool (N, B): what is not missing."""
        return ~np.isnan(self.codes)

    @property
    def some(self) -> np.ndarray:
        """bool (N,): of which rows anything is known."""
        return np.asarray(self.known.any(1))

    def take(self, rows: np.ndarray) -> Attributes:
        """Some of the rows, by number (all is missing where it is -1) or by a mask."""
        rows = np.flatnonzero(rows) if np.asarray(rows).dtype == bool else np.asarray(rows, np.int64)
        if not len(self):
            return missing(self.encoding, len(rows))
        return Attributes(self.encoding, np.where(rows[:, None] < 0, np.float32(np.nan), self.codes[rows]))

    def hide(self, hidden: np.ndarray) -> Attributes:
        """The same with what is `hidden`, bool (N, B), missing."""
        return Attributes(self.encoding, np.where(hidden, np.float32(np.nan), self.codes))

    def over(self, other: Attributes) -> Attributes:
        """These attributes, and where they are missing those of `other`, row by row."""
        return Attributes(self.encoding, np.where(self.known, self.codes, other.codes))

    def groups(self) -> np.ndarray:
        """int64 (N, B): the group of each row in each column, counted over all columns from 0 to G - 1; -1 where missing."""
        found, first = np.full(self.codes.shape, -1, np.int64), 0
        for place, column in enumerate(self.encoding.columns):
            group = column.group(self.codes[:, place])
            found[:, place] = np.where(group < 0, -1, first + group)
            first += column.groups
        return found

    def blocks(self) -> np.ndarray:
        """float32 (N, `Encoding.width`): the blocks of all columns side by side, then the mask, 1 for what is known."""
        groups, known = self.groups(), self.known
        parts, first = [], 0
        for place, column in enumerate(self.encoding.columns):
            parts.append(groups[:, place, None] == first + np.arange(column.groups))
            if not column.levels:
                parts.append(np.nan_to_num(self.codes[:, place, None]))
            first += column.groups
        return np.concatenate([*parts, known[:, self.encoding.first]], 1).astype(np.float32)


def missing(encoding: Encoding, rows: int) -> Attributes:
    """Rows of which nothing is known."""
    return Attributes(encoding, np.full((rows, len(encoding.columns)), np.nan, np.float32))


def learn_encoding(table: pa.Table, what: str, least: int = LEAST_ROWS) -> tuple[Encoding, tuple[str, ...]]:
    """The encoding of a table's columns, and notes on what is left out. The order of the rows and columns does not matter.

    what: the table in messages, such as "users". least: rows that a level needs.
    A column that holds nothing, or no level of enough rows, is left out and noted.
    A column of text is read as `files.levels_or_numbers` does: "NULL", "-" and the like are missing, and numbers are numbers.
    Cells with several values, such as "Comedy|Drama", are split, see `parts.separator_of`.
    Raises SchemaError, which names the column, for dates and other values that are neither text, flags, numbers nor lists, for
    numbers so large that their mean or spread is infinite, and as `learn_parts`.
    """
    columns: list[Column] = []
    notes: list[str] = []
    for name in sorted(table.column_names):
        lists, separator = table.column(name), None
        if not is_list(lists.type):
            column = _plain(lists, name, what)
            column = column if is_number(column.type) else levels_or_numbers(column)
            separator = separator_of(column) if is_text(column.type) else None
            if separator is not None:
                lists = split_cells(_texts(column)[0], separator)
                notes.append(f"{what}: cells of {name!r} hold several values, and are split at {separator.strip()!r}")
        if is_list(lists.type):
            parts, said = learn_parts(lists, name, what, least, MOST_LEVELS)
            columns += [Column(name, (), one.mean, one.spread, part=one.part, separator=separator) for one in parts]
            notes += said
            continue
        texts, whole = _texts(column)
        distinct, count = np.unique([text for text in texts if text is not None], return_counts=True)
        if not len(distinct):
            notes.append(f"{what}: column {name!r} is empty, and is not read")
        elif not is_number(column.type) or (whole and len(distinct) <= FEW):
            enough = np.flatnonzero(count >= least)
            enough = np.sort(enough[np.argsort(-count[enough], kind="stable")[:MOST_LEVELS]])
            levels = tuple(str(level) for level in distinct[enough])
            if rare := sorted({str(level) for level in distinct} - set(levels)):
                left = "read as missing" if levels else "so the column is not read"
                some = ", ".join(map(repr, rare[:3]))
                notes.append(f"{what}: {counted(len(rare), 'value')} of {name!r} with fewer than {least} rows, {left}: {some}")
            if levels:
                columns.append(Column(name, levels))
        else:
            value = _finite(column, name, what)
            value = np.sort(value[~np.isnan(value)])  # a sum depends on the order
            with np.errstate(over="ignore", invalid="ignore"):
                mean, spread = float(value.mean()), float(value.std()) or 1.0
            if not np.isfinite([mean, spread]).all():
                far = max(value[0], value[-1], key=abs)
                raise SchemaError(
                    f"{what}: column {name!r} holds numbers such as {far:g}, so large that their mean or spread is infinite; "
                    "expected measured values; fix or drop it"
                )
            cuts = np.unique(np.quantile((value - mean) / spread, [0.25, 0.5, 0.75]).astype(np.float32))
            columns.append(Column(name, (), mean, spread, tuple(float(cut) for cut in cuts)))
    return Encoding(tuple(columns)), tuple(notes)


def encode(encoding: Encoding, table: pa.Table, what: str) -> tuple[Attributes, tuple[str, ...]]:
    """The attributes of a table's rows. A column that the encoding does not know, and a level that it does not, is noted; a
    column that is not in the table is missing in every row.

    Raises SchemaError, which names the column, for values of another kind than the column had.
    """
    found = missing(encoding, len(table))
    notes: list[str] = []
    for place, known in enumerate(encoding.columns):
        if known.name not in table.column_names:
            continue
        if known.part is not None:
            if place in encoding.first:
                same = [column for column in encoding.columns if column.name == known.name]
                parts = [Part(column.part or 0, column.mean, column.spread) for column in same]
                lists = table.column(known.name)
                if known.separator is not None and not is_list(lists.type):
                    column = _plain(lists, known.name, what)
                    column = column if is_number(column.type) else without_markers(column)
                    lists = split_cells(_texts(column)[0], known.separator)
                if pa.types.is_null(lists.type):
                    continue
                codes, said = read_parts(lists, parts, known.name, what)
                found.codes[:, place : place + len(same)] = codes
                notes += said
            continue
        column = _plain(table.column(known.name), known.name, what)
        column = column if is_number(column.type) else without_markers(column)
        if known.levels:
            texts = _texts(column)[0]
            number = _numbered(known.levels, set(texts) - {None}, is_number(column.type))
            found.codes[:, place] = [np.nan if text is None else number.get(text, np.nan) for text in texts]
            if new := sorted({text for text in texts if text is not None and text not in number}):
                some = ", ".join(map(repr, new[:3]))
                notes.append(f"{what}: {known.name} {some} was in too few rows in fit, and counts as missing")
        else:
            with np.errstate(over="ignore"):
                value = (_finite(column, known.name, what) - known.mean) / known.spread
            found.codes[:, place] = np.clip(value, -FAR, FAR)
    if other := [name for name in table.column_names if name not in encoding.names]:
        some, verb = ", ".join(map(repr, other)), "columns {} are" if len(other) > 1 else "column {} is"
        there = ", ".join(map(repr, encoding.names))
        notes.append(f"{what}: {verb.format(some)} not read; fitted were {there}")
    return found, tuple(notes)


def _numbered(levels: Sequence[str], texts: set[Any], numbers: bool) -> dict[str, int]:
    """The place of each level, also under other ways to write it among `texts`: the number 5 is the level "05", "5.0" the level
    "5" of whole numbers, and "true" the level "True" of flags. numbers: whether the texts were numbers."""
    place = {level: index for index, level in enumerate(levels)}
    if numbers:
        padded = {level: re.sub(r"^(-?)0+(?=[0-9])", r"\1", level) for level in levels if re.fullmatch(r"-?[0-9]+", level)}
        once = Counter(padded.values())
        return {short: place[level] for level, short in padded.items() if once[short] == 1} | place
    if set(levels) <= {"True", "False"}:
        return {text: place[text.capitalize()] for text in texts & set(FLAGS) if text.capitalize() in place} | place
    if all(re.fullmatch(r"0|-?[1-9][0-9]*", level) for level in levels):
        bare = {text: re.sub(r"\.0+$", "", text) for text in texts}
        return {text: place[short] for text, short in bare.items() if short in place} | place
    return place


def _plain(column: pa.ChunkedArray, name: str, what: str) -> pa.ChunkedArray:
    """The column as text or numbers. Raises SchemaError for any other type."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if is_text(kind) or pa.types.is_null(kind):
        return column.cast(pa.large_string())
    if pa.types.is_boolean(kind):
        return pa.chunked_array(
            [pa.array([None if flag is None else str(flag) for flag in column.to_pylist()], pa.large_string())]
        )
    if is_number(kind):
        return column
    raise SchemaError(
        f"{what}: column {name!r} holds {kind}, expected text, flags, numbers or lists; convert it first (a date to an age), "
        "or drop it"
    )


def _texts(column: pa.ChunkedArray) -> tuple[Sequence[str | None], bool]:
    """The values of a column as `_plain` gives it as text, None where missing, and whether all of them are whole numbers.

    Whole numbers are written alike whether they come as ints, floats or text.
    """
    if not is_number(column.type):
        code, values = coded(column)
        words = [tidy(value) or None for value in values]
        return [words[index] if index >= 0 else None for index in code], False
    value = column.cast(pa.float64(), safe=False).to_numpy()
    finite = np.isfinite(value)
    whole = finite & (value == np.floor(value)) & (np.abs(value) < 2**53)
    texts = [
        None if not there else str(int(number)) if is_whole else repr(float(number))
        for number, there, is_whole in zip(value, finite, whole, strict=True)
    ]
    return texts, bool((whole | ~finite).all())


def _finite(column: pa.ChunkedArray, name: str, what: str) -> np.ndarray:
    value = numbers(column, name, what)[0]
    return np.where(np.isfinite(value), value, np.nan)
