"""Rows of a text file as a table of texts: each row is held to the number of names, and broken ones are told by their lines."""

from __future__ import annotations

import csv
import io
import re
from array import array
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.csv

from llmrec.data.report import counted
from llmrec.errors import DataError

_SHOWN = 80
_HEAD = 100
_LINE = re.compile(rb"[^\r\n]*(?:\r\n|\r|\n|\Z)")
UNIT = "\x1f"  # stands for a separator of more than one character


@dataclass(frozen=True)
class Broken:
    """A row that cannot be read: its line in the file, why, and how it begins."""

    line: int
    why: str
    text: str

    def __str__(self) -> str:
        return f"line {self.line:,}: {self.why}: {self.text!r}"


@dataclass(frozen=True)
class Rows:
    """names: of the columns. table: large_string columns "0", "1", ... in their order. line: int64 (rows,), where each row
    begins in the file. broken: rows that are not in the table."""

    names: tuple[str, ...]
    table: pa.Table
    line: np.ndarray
    broken: tuple[Broken, ...]


def first_rows(data: bytes, separator: str, quote: str, skip: int, count: int) -> list[tuple[int, list[str]]]:
    """The first rows of UTF-8 text that are not blank, each with the line that it begins in; broken ones are left out."""
    return [(line, row) for line, row, _ in _Parser(_lines(data), separator, quote, skip).rows(count) if any(row)]


def read_rows(data: bytes, separator: str, quote: str, names: tuple[str, ...] | None, skip: int) -> Rows:
    """All rows of UTF-8 text. The csv module finds what is broken, pyarrow reads the rest, and both must find as many rows.

    separator: one character. quote: around texts, "" for none. names: of the columns, None where the first row below `skip`
    lines holds them.
    """
    parser = _Parser(_lines(data), separator, quote, skip)
    line, broken, width, header, named = array("q"), [], len(names or ()), list(names or ()), list[str]()
    left_out: list[tuple[int, int]] = [(1, skip)] if skip else []
    for begin, row, why in parser.rows():
        blank = not why and (not row or ((len(row) == 1 or not header) and not any(cell.strip() for cell in row)))
        if not header and not blank and not why:
            header, width, named = [name.strip().strip("\ufeff\u200b") for name in row], len(row), row
            left_out.append((begin, parser.last))
        elif blank:
            left_out.append((begin, parser.last))
        elif why or len(row) != width or row == named:
            said = why or (
                "the names of the columns again" if row == named else f"{counted(len(row), 'field')}, expected {width}"
            )
            broken.append(Broken(begin, said, parser.text[:_SHOWN].strip("\r\n")))
            left_out.append((begin, parser.last))
        else:
            line.append(begin)
    keys = [str(place) for place in range(width)]
    kept = _without(data, left_out)
    if not len(line):
        table = pa.table({key: pa.array([], pa.large_string()) for key in keys})
    else:
        table = pyarrow.csv.read_csv(
            io.BytesIO(kept),
            read_options=pyarrow.csv.ReadOptions(column_names=keys),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=separator, quote_char=quote or False, newlines_in_values=bool(quote)
            ),
            convert_options=pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(keys, pa.large_string())),
        )
    if len(table) != len(line):
        raise DataError(
            f"two readers find {len(line):,} and {len(table):,} rows: lines or quotes are not written as in a CSV file; export "
            "it again, with quotes around texts"
        )
    places = np.frombuffer(line, np.int64) if len(line) else np.zeros(0, np.int64)
    return Rows(tuple(header), table, places, tuple(broken))


class _Parser:
    """Rows out of lines by the csv module, strictly. A row that is broken ends with its first line: a quote that is not closed
    does not take the rows behind it along."""

    def __init__(self, lines: Iterator[str], separator: str, quote: str, skip: int = 0):
        self.lines, self.separator, self.quote = lines, separator, quote
        self.waiting: deque[str] = deque()
        self.taken: list[str] = []
        self.last = skip  # line that the last row ended in
        for _ in range(skip):
            next(lines, None)

    @property
    def text(self) -> str:
        """The lines of the last row."""
        return "".join(self.taken)

    def rows(self, most: int | None = None) -> Iterator[tuple[int, list[str], str]]:
        """First line, fields, and why the row is broken, "" where it is not; at most so many rows."""
        reader, count = self._reader(), 0
        while most is None or count < most:
            begin, row, why = self.last + 1, [], ""
            self.taken.clear()
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                why = _why(str(error), self.quote, len(self.taken) > 1)
                self.waiting.extendleft(reversed(self.taken[1:]))
                del self.taken[1:]
                reader = self._reader()
            self.last += len(self.taken)
            count += 1
            yield begin, row, why

    def _reader(self) -> Iterator[list[str]]:
        if not self.quote:
            return csv.reader(self._next(), delimiter=self.separator, quoting=csv.QUOTE_NONE, strict=True)
        return csv.reader(self._next(), delimiter=self.separator, quotechar=self.quote, strict=True)

    def _next(self) -> Iterator[str]:
        while True:
            line = self.waiting.popleft() if self.waiting else next(self.lines, None)
            if line is None:
                return
            self.taken.append(line)
            yield line


def _why(error: str, quote: str, several_lines: bool) -> str:
    if "field larger" in error:
        return f"a field of more than {csv.field_size_limit():,} characters; a quote {quote} may not be closed"
    if "unexpected end" in error or several_lines:
        return f"a quote {quote} that is never closed"
    return f"text behind a closing quote {quote}; a quote within a text is written twice"


def _lines(data: bytes) -> Iterator[str]:
    return iter(io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", newline=""))


def _without(data: bytes, left_out: list[tuple[int, int]]) -> bytes:
    """The bytes without some lines, given as first and last, ascending."""
    few = all(last <= _HEAD for _, last in left_out)  # as a rule the names alone: no need to cut all of the file into lines
    lines: list[bytes] = []
    place = 0
    while few and len(lines) < _HEAD and (found := _LINE.match(data, place)) and found.group():
        lines.append(found.group())
        place = found.end()
    if not few:
        lines, place = data.splitlines(keepends=True), len(data)
    keep = np.ones(len(lines), bool)
    for first, last in left_out:
        keep[first - 1 : last] = False
    return b"".join([*(lines[i] for i in np.flatnonzero(keep)), data[place:]])
