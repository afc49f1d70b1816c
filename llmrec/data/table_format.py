"""How a table is written in a file: encoding, separator, decimal sign, order of dates, and which columns are meant by what."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from llmrec.errors import DataError

SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|", "space": " ", "\\t": "\t"}
ORDERS = {"dmy": "day, month, year", "mdy": "month, day, year", "ymd": "year, month, day"}
_PAIR = r"(?P<theirs>.*?[^\s=].*?)=\s*(?P<ours>\w*)\s*(?:,|$)"
DECIMALS = {"comma": ",", "point": ".", "dot": ".", ",": ",", ".": "."}


@dataclass(frozen=True)
class TableFormat:
    """How a file is written. What is None is found in the file, which is then held to it from its first to its last row.

    encoding: in Python's terms, such as "utf-8", "cp1252" or "gbk".
    separator: between the fields of a row: one character, or "::".
    quote: around texts that may hold the separator; "" where quotes are signs like others.
    decimal: "," or "." in the numbers of all columns; None: each column's own, told by its values.
    date_order: "dmy", "mdy" or "ymd", where dates are not ISO 8601; as `date_order` reads it.
    columns: pairs of a column's name in the file and its name in the library.
    names: the names of the columns, for a file whose first row holds values already.
    skip_rows: lines above the row of the names.
    left_out: names of columns in the file that are not read.
    """

    encoding: str | None = None
    separator: str | None = None
    quote: str | None = None
    decimal: str | None = None
    date_order: str | None = None
    columns: tuple[tuple[str, str], ...] | None = None
    names: tuple[str, ...] | None = None
    skip_rows: int = 0
    left_out: tuple[str, ...] = ()

    def to_dict(self) -> dict:
        """Plain data for JSON."""
        return asdict(self)


def table_format(
    encoding: str | None = None,
    separator: str | None = None,
    decimal: str | None = None,
    date_format: str | None = None,
    columns: Iterable[str] = (),
    names: str | None = None,
    skip_rows: int = 0,
) -> TableFormat:
    """A TableFormat from what a person types, such as separator "tab", date_format "dd.mm.yyyy", columns "Kundennr=user_id".

    A column without a name behind it, "Menge=", is not read.

    Raises DataError that names the option, what it may be and what came.
    """
    if encoding is not None:
        try:
            codecs.lookup(encoding)
        except LookupError as error:
            raise DataError(
                f"encoding is {encoding!r}, expected one that Python knows, such as utf-8, cp1252, latin-1, gbk or utf-16"
            ) from error
    if separator is not None:
        separator = SEPARATORS.get(separator.lower(), separator)
        if separator != "::" and (len(separator) != 1 or separator in '"\r\n' or separator.isalnum()):
            raise DataError(
                f"separator is {separator!r}, expected one character such as ';' or '|', the word tab, or '::' in quotes"
            )
    if decimal is not None and decimal.lower() not in DECIMALS:
        raise DataError(f"decimal is {decimal!r}, expected comma or point")
    if skip_rows < 0:
        raise DataError(f"skip_rows is {skip_rows}, expected a number of lines from 0 on")
    pairs = tuple(pair for text in columns for pair in _pairs(text))
    return TableFormat(
        encoding,
        separator,
        decimal=DECIMALS[decimal.lower()] if decimal is not None else None,
        date_order=date_order(date_format) if date_format is not None else None,
        columns=tuple(pair for pair in pairs if pair[1]) or None,
        names=tuple(name.strip() for name in names.split(",")) if names else None,
        skip_rows=skip_rows,
        left_out=tuple(theirs for theirs, ours in pairs if not ours),
    )


def date_order(text: str) -> str:
    """ "dmy", "mdy" or "ymd" out of "dmy", "dd.mm.yyyy", "TT.MM.JJJJ" or "%d/%m/%Y %H:%M"; times of day need no format.

    Raises DataError for anything else.
    """
    if "%" in text:
        letters = [letter.lower() for letter in re.findall(r"%-?([dmYybB])", text)]
        found = "".join(dict.fromkeys("m" if letter == "b" else letter for letter in letters))
    else:
        folded = text.casefold().translate(str.maketrans("tjaä", "dyyy"))  # German TT.MM.JJJJ, French jj/mm/aaaa
        if text.casefold().startswith(("jj/", "jj-", "jj.")):
            folded = "d" + folded[2:]
        found = "".join(dict.fromkeys(letter for letter in folded if letter in "dmy"))
    if found not in ORDERS:
        raise DataError(
            f"date_format is {text!r}, expected the order of day, month and year: dmy, mdy or ymd, also written as dd/mm/yyyy "
            "or %d/%m/%Y"
        )
    return found


def _pairs(text: str) -> list[tuple[str, str]]:
    """The pairs in a list such as "a=user_id,b=item_id"; a comma within a name of the file stays there."""
    if not re.fullmatch(rf"(?:{_PAIR})+", text):
        raise DataError(f'columns holds {text!r}, expected "NAME IN THE FILE=NAME IN THE LIBRARY", such as "Kundennr=user_id"')
    return [(found["theirs"].strip(), found["ours"]) for found in re.finditer(_PAIR, text)]
