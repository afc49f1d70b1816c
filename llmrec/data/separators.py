"""What separates the fields of a file, and where its table begins: told by rows that are cut into as many fields as the row of
the names."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from llmrec.data.meanings import example_names, has_required, known_names
from llmrec.data.report import counted
from llmrec.errors import DataError

CANDIDATES = (",", ";", "\t", "|", "::", "^", "~", "\x01", ":", " ")
_USUAL = ",;\t|"
_ROWS = 200
_ABOVE = 20  # rows in which the names are looked for
_ALIKE = 0.6  # least share of the rows that have as many fields as most
_VALUE = re.compile(r"\s*[+-]?[0-9][0-9.,:/\-]*([ T][0-9:.]+)?Z?\s*")


@dataclass(frozen=True)
class _Cut:
    """What a separator makes of the first rows: fields of most rows, the share of such rows, meanings known in the names."""

    separator: str
    width: int
    share: float
    known: int
    first: int


def find_separator(head: str, named: str, names: tuple[str, ...] | None, what: str) -> str:
    """What separates the fields in the first lines of a file.

    head: whole lines, from that of the names on. names: of the columns, where the file has none. what: as in `check_names`.
    Raises DataError where nothing or more than one thing does.
    """
    cuts = [cut for separator in CANDIDATES if separator in head and (cut := _cut(head, separator, names)) is not None]
    if any(cut.separator == "::" for cut in cuts):
        cuts = [cut for cut in cuts if cut.separator != ":"]
    if not cuts:
        first = head.splitlines()[0][:80]
        if re.fullmatch(r'"[^"]+[,;\t|][^"]+"', head.splitlines()[0].strip()):
            raise DataError(
                f"{named}: each line is one text in quotes, such as {first!r}; expected quotes around single fields. Export "
                "the table again, or take the outer quotes off"
            )
        above = ", and --skip-rows for lines above the header" if what == "events" else ", or delete lines above the header"
        raise DataError(
            f"{named}: no separator splits the lines into equal numbers of fields (tried comma, semicolon, tab, | and others); "
            f"the first line is {first!r}. Say --separator{above}"
        )
    best = max(cuts, key=lambda cut: (cut.known, cut.separator in _USUAL, cut.share, cut.width))
    rivals = [
        cut
        for cut in cuts
        if cut is not best
        and cut.known == best.known
        and cut.separator in _USUAL
        and cut.width == cut.first
        and cut.share > 0.95
    ]
    if rivals and best.separator in _USUAL:
        raise DataError(
            f"{named}: {best.separator!r} cuts the lines into {best.width} fields and {rivals[0].separator!r} into "
            f"{rivals[0].width}; say which separates them with --separator"
        )
    return best.separator


def check_names(rows: list[tuple[int, list[str]]], named: str, separator: str, what: str, given: Collection[str] = ()) -> None:
    """Raises DataError for a first row that holds no names: values, fewer fields than the rows below, names that are there
    twice.

    rows: the first rows, each with its line. what: "events", "items" or "users"; --names and --skip-rows are options for events
    alone. given: names that a person says are there.
    """
    events = what == "events"
    (line, first), below = rows[0], rows[1:]
    names = [name.strip() for name in first]
    wide, count = Counter(len(row) for _, row in below).most_common(1)[0] if below else (len(names), 1)
    if len(names) < 2 and wide < 2:
        raise DataError(
            f"{named}, line {line}: one column only, {names[0][:80]!r}, with the separator {separator!r}; expected at least "
            "two. Say another with --separator"
        )
    if len(names) != wide and 2 * count > len(below):
        begin = next(number for number, row in below if len(row) == wide)
        if len(names) == 1 or wide > len(names) + 1:
            remedy = f"If the names stand in line {begin}, "
            remedy += f"say --skip-rows {begin - 1}" if events else "delete the lines above it"
        else:
            remedy = "Name every column in that line"
        decimal = ", and put numbers with a decimal comma in quotes" if separator == "," else ""
        raise DataError(
            f"{named}, line {line}: the header has {counted(len(names), 'name')}, but most rows have {wide} "
            f"fields. {remedy}{decimal}"
        )
    there, sure = known_names(names), has_required(names, what) or not set(given).isdisjoint(names)
    looked = [] if sure else [(number, known_names([cell.strip() for cell in row])) for number, row in below[:_ABOVE]]
    later = next((number for number, known in looked if known > max(1, there)), None)
    if later is not None:
        shown = next(name for name in names if name)
        remedy = f"say --skip-rows {later - 1}" if events else "delete the lines above it"
        raise DataError(
            f"{named}, line {line}: begins with {shown[:80]!r}, and the names of the columns stand in line {later}: {remedy}"
        )
    values = [name for name in names if _VALUE.fullmatch(name)]
    if values and known_names(names) < 2:
        examples = example_names(what, len(names))
        remedy = f"Give the names in order: --names {','.join(examples)}"
        if not events:
            remedy = f"Write the names above the rows, in order: {', '.join(examples)}"
        raise DataError(f"{named}, line {line}: holds values such as {values[0]!r} instead of column names. {remedy}")
    if twice := [name for name, count in Counter(name for name in names if name).items() if count > 1]:
        option = f", or name all columns with --names and --skip-rows {line}" if events else ""
        raise DataError(
            f"{named}, line {line}: several columns are named {twice[0]!r}, expected distinct names. Rename all but one of "
            f"them{option}"
        )


def _cut(head: str, separator: str, names: tuple[str, ...] | None) -> _Cut | None:
    if len(separator) > 1:
        rows = [line.split(separator) for line in head.splitlines() if line.strip()][:_ROWS]
    else:
        try:
            reader = csv.reader(head.splitlines(keepends=True), delimiter=separator)
            rows = [row for row, _ in zip((row for row in reader if any(row)), range(_ROWS), strict=False)]
        except csv.Error:
            return None
    width, count = Counter(map(len, rows)).most_common(1)[0]
    share = count / len(rows)
    known = known_names(rows[0]) if names is None else int(width == len(names))
    rare = separator not in _USUAL
    if width < 2 or (share < _ALIKE and known < 2) or (rare and (share < 0.95 or len(rows[0]) != width)):
        return None
    return _Cut(separator, width, share, known, len(rows[0]))
