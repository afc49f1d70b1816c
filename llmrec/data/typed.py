"""Columns of text as ids, numbers and times; what does not fit is counted with the line of the first, or is an error."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmrec.data.files import APOSTROPHE, FORMULA, MISSING, NARROW, SHEET_ERRORS, SHORTENED, SHORTENED_TIME, csv_ids
from llmrec.data.frames import coded
from llmrec.data.number_times import number_times
from llmrec.data.report import said_of_lost
from llmrec.data.times import as_time
from llmrec.data.written_dates import (
    is_number_text,
    machine_written,
    possible_orders,
    read_dates,
    turned,
    unreadable,
    what_to_change,
)
from llmrec.data.written_numbers import Doubt, Numbers, ambiguous, evidence, read_flags, read_given, read_numbers
from llmrec.errors import DataError

_BY_SHEET = "a long number that a spreadsheet has shortened"
_AS_OTHERS = "as in the shop's other files"
_TOO_NARROW = "a column too narrow to show"
_AS_TEXT = ((FORMULA, '="..."'), (APOSTROPHE, "'..."))  # how a number is kept as text in a spreadsheet
Where = Callable[[int], str]  # row -> ", line 17", "" where files of that kind have no lines


@dataclass(frozen=True)
class Column:
    """A column of text in a file: its name there, what it means, its place in messages, and its values."""

    name: str
    ours: str
    named: str
    where: Where
    values: pa.ChunkedArray

    def row_of(self, text: str) -> int:
        """The first row with a value."""
        return pc.index(self.values, pa.scalar(text, self.values.type)).as_py()

    def at(self, row: int) -> str:
        """The column and a row of it in a message."""
        return f"{self.named}{self.where(row)}, column {self.name!r}"


def ids(column: Column, decimal: str | None) -> tuple[pa.ChunkedArray, str, str]:
    """Ids as `files.csv_ids` reads them, what was repaired, and what was lost; "" for nothing.

    Raises DataError for numbers that a spreadsheet has shortened, for different ids may have become one.
    """
    values, repaired, lost = column.values, "", ""
    text = pc.utf8_trim_whitespace(values)
    for pattern, shown in _AS_TEXT:
        marked = pc.match_substring_regex(text, pattern)
        if count := pc.sum(marked).as_py():
            repaired = f"{column.name}: {count:,} written as {shown} for a spreadsheet, now without it"
            values = pc.if_else(marked, pc.replace_substring_regex(text, pattern, r"\1"), values)
            text = pc.utf8_trim_whitespace(values)
    _refuse(column, text, SHORTENED, _BY_SHEET, "ids")
    _refuse(column, text, NARROW, _TOO_NARROW, "ids")
    wrong = pc.is_in(text, pa.array(SHEET_ERRORS, text.type))
    if count := pc.sum(wrong).as_py():
        lost = f"{column.name}: {'1 is an error' if count == 1 else f'{count:,} are errors'} of a spreadsheet, now missing"
        values = pc.if_else(wrong, pa.scalar("", values.type), values)
    if decimal == ",":  # 17850,0 is a whole number that was written as one with decimals
        known = text.filter(pc.invert(pc.is_in(text, pa.array(MISSING, text.type))))
        if len(known) and pc.all(pc.match_substring_regex(known, r"^-?(0|[1-9][0-9]{0,14}),0+$")).as_py():
            values = pc.replace_substring(values, ",", ".")
    return csv_ids(values), repaired, lost


def _refuse(column: Column, text: pa.ChunkedArray, pattern: str, kind: str, values: str) -> None:
    """Raises DataError for the first text of a column that has a pattern, by which a spreadsheet shows more than one value."""
    found = pc.index(pc.match_substring_regex(text, pattern), True).as_py()
    if found >= 0:
        raise DataError(
            f"{column.at(found)}: {text[found].as_py()!r} is {kind}, so that different {values} may have become one. Export "
            "the table again, with this column as text"
        )


def numbers(
    columns: list[Column], given: str | None, expected: str | None = None
) -> tuple[list[Numbers], str | None, list[str]]:
    """The columns as numbers; the decimal sign of the file, None where columns differ or no value tells one; and what was read
    by `expected`.

    given: the sign of all columns; None: each column's own, or where its values do not tell, that of the others. expected: that
    of other files, where these leave it open.
    Raises DataError for a column without a number, with two signs, or whose sign neither its own nor others' values tell.
    """
    if given is not None:
        return [_sound(column, lambda values: read_given(values, given)) for column in columns], given, []
    texts = [coded(column.values)[1] for column in columns]
    own = [evidence(some) for some in texts]
    found = {sign for signs in own for sign in signs}
    sign = found.pop() if len(found) == 1 else None
    assumed = []
    for column, some, signs in zip(columns, texts, own, strict=True):
        if sign is None and expected is not None and not signs and (open_text := ambiguous(some)) is not None:
            signs_said = {",": "comma", ".": "point"}
            one, other = signs_said[expected], signs_said["," if expected == "." else "."]
            assumed.append(
                f"{column.name}: {open_text!r} is read with a decimal {one}, {_AS_OTHERS}; say --decimal {other} otherwise"
            )
    return [_sound(column, lambda values: read_numbers(values, sign or expected)) for column in columns], sign, assumed


def all_numbers(column: Column, decimal: str | None) -> pa.ChunkedArray | None:
    """A column of no known meaning as numbers, if every value is one in digits, none begins with zeros, and the decimal sign is
    certain; else None."""
    texts = [text for text in (text.strip() for text in coded(column.values)[1]) if text not in MISSING]
    if not texts or not all(re.fullmatch(r"[+-]?(0|[1-9][0-9]*)([.,][0-9]+)?", text) for text in texts):
        return None
    own = evidence(texts)
    if len(own) == 2 or (not own and decimal is None and ambiguous(texts) is not None):
        return None
    read = read_given(column.values, next(iter(own), decimal or "."))
    return None if isinstance(read, Doubt) or read.lost.any() else floats(read)


def said_of_numbers(column: Column, read: Numbers) -> tuple[str, str]:
    """What was repaired in a column of numbers, and what was lost; "" for nothing."""
    how = "a decimal comma" if read.decimal == "," else "thousands separators, a currency sign or a trailing minus"
    repaired = f"{column.name}: {read.repaired:,} written with {how}" if read.repaired else ""
    lost = _lost(column, read.lost, "number")
    return repaired, f"{lost}, now unknown" if lost else ""


def times(column: Column, order: str | None, expected: str | None = None) -> tuple[pa.ChunkedArray, str | None, str, str]:
    """Times as timestamp[us], or as text where they are ISO 8601 or numbers, which `times.seconds` reads; the order of day,
    month and year, None where no value needs one; what was lost; and what was read by `expected`, the order of other files
    where the values leave it open.

    Raises DataError where the order is open, where two orders are mixed, where nothing is a time, and for numbers that a
    spreadsheet has shortened.
    """
    text = pc.utf8_trim_whitespace(column.values)
    _refuse(column, text, SHORTENED_TIME, _BY_SHEET, "times")
    _refuse(column, text, NARROW, _TOO_NARROW, "times")
    text = pc.if_else(pc.is_in(text, pa.array((*MISSING, *SHEET_ERRORS), text.type)), None, text)
    texts = coded(text)[1]
    column = Column(column.name, column.ours, column.named, column.where, text)
    if machine_written(texts):
        _check_numbers(column, texts)
        wrong = unreadable(texts)
        if wrong and len(wrong) == len(texts):
            raise DataError(_no_times(column, wrong[0]))
        lost = pc.is_in(text, pa.array(wrong, text.type)).to_numpy(zero_copy_only=False) if wrong else np.zeros(len(text), bool)
        return text, None, _lost(column, lost, "date or time"), ""
    assumed = ""
    if order is None:
        order, assumed = _order(column, texts, expected)
    dates = read_dates(text, order)
    if len(texts) and dates.times.null_count == len(dates.times):
        raise DataError(_no_times(column, texts[0]))
    return dates.times, dates.order, _lost(column, dates.lost, "date or time"), assumed


def _check_numbers(column: Column, texts: list[str]) -> None:
    """Raises DataError for numbers that are no times since 1970, such as days of a spreadsheet, at the last of the values that
    show it."""
    numbers = [text for text in texts if is_number_text(text) and as_time(text)[1]]
    try:
        number_times(np.array([float(text) for text in numbers]))
    except DataError as error:
        said = str(error).removeprefix("events: column 'timestamp' ")
        shown = [text for text in numbers if re.search(rf"(?<![0-9.]){re.escape(text)}(?![0-9])", said)] or numbers
        raise DataError(f"{column.at(max(map(column.row_of, shown)))}: {said}") from error


def _order(column: Column, texts: list[str], expected: str | None) -> tuple[str | None, str]:
    """The order of the dates, and what was read by the expected one; "" for nothing."""
    if (other := turned(texts)) is not None:
        raise DataError(
            f"{_not_in_order(column, other, 'ymd')}, or the day always comes before the month. Export dates as 2026-04-03, or, "
            "if the others are of that form, say --date-format ymd to leave out what does not fit"
        )
    found = possible_orders(texts)
    if found.example is not None and expected in found.fitting:
        others = " or ".join(order for order in found.fitting if order != expected)
        return expected, (
            f"{column.name}: {found.example!r} is read as {expected}, {_AS_OTHERS}; say --date-format {others} otherwise"
        )
    if found.example is not None:
        forms = {"dmy": "day/month/year", "mdy": "month/day/year", "ymd": "year/month/day"}
        may = " or ".join(forms[order] for order in found.fitting)
        raise DataError(
            f"{column.at(column.row_of(found.example))}: {found.example!r} may be {may}, and no other value "
            f"tells which. Say --date-format {' or '.join(found.fitting)}"
        )
    if found.against is not None:
        raise DataError(
            f"{_not_in_order(column, found.against, found.fitting[0])}. Export the column in one form, or say --date-format "
            f"{found.fitting[0]} to leave out what does not fit"
        )
    return (found.fitting[0] if found.fitting else None), ""


def _not_in_order(column: Column, text: str, order: str) -> str:
    return (
        f"{column.at(column.row_of(text))}: {text!r} is not a date in the order {order} of the other values, only in another "
        "order: two orders are mixed"
    )


def _no_times(column: Column, text: str) -> str:
    return (
        f"{column.at(column.row_of(text))}: no value of the column is a date, such as {text!r}. {what_to_change(text)}"
        "Expected ISO 8601 (2026-04-03 10:00), day, month and year in one order (say --date-format dmy, mdy or ymd), or "
        'seconds since 1970. If another column holds the time, say --columns "ITS NAME=timestamp"'
    )


def _lost(column: Column, lost: np.ndarray, what: str) -> str:
    """How many values, bool (n,), are not what they should be, and the first of them; "" for none."""
    if not lost.any():
        return ""
    row = int(np.argmax(lost))
    return f"{column.name}: {said_of_lost(lost, what)}, such as {column.values[row].as_py()!r}{column.where(row)}"


def _sound(column: Column, read: Callable[[pa.ChunkedArray], Numbers | Doubt]) -> Numbers:
    """The column as numbers. Raises DataError where that is doubtful, and where no value is a number."""
    left_out = f'{"--item-columns" if column.named.startswith("items") else "--columns"} "{column.name}="'
    found = read_flags(column.values) or read(column.values)
    if isinstance(found, Doubt):
        row = min(map(column.row_of, found.texts))
        raise DataError(f"{column.at(row)}: {found.said}. {found.remedy}, or leave the column out with {left_out}")
    if found.lost.any() and np.isnan(found.values).all():
        row = int(np.argmax(found.lost))
        raise DataError(
            f"{column.at(row)}: {column.values[row].as_py()!r} is not a number, nor is any other value of the column, which "
            f"is read as {column.ours}. Leave the column out with {left_out}, read another as {column.ours}, or say "
            "--decimal if numbers are written otherwise"
        )
    return found


def floats(read: Numbers) -> pa.ChunkedArray:
    """Numbers as float64, null where there is none."""
    return pa.chunked_array([pa.array(read.values, from_pandas=True)])
