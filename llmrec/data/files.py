"""Files as tables: .csv and .parquet are read; of everything else the error says what it is and how to read it.

A CSV file has no types. Its ids stay text where a number would not keep them as they are written, so that "007" and "7" are two
ids. So do columns whose values are levels: attributes of users, and the context of events.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from llmrec.data.encodings import coding_of, is_utf8, likely_coding
from llmrec.errors import DataError

Naming = Callable[[list[str]], list[str]]
AsWritten = Callable[[str], bool]  # name of the library -> whether a CSV column keeps its values as they are written

ID_NAMES = ("user_id", "item_id", "basket_id")
# How CSV files write an id, an attribute or a context that is missing. "NA" is one of them: write "NAM" for Namibia.
MISSING = (
    "",
    "#N/A",
    "#NA",
    "N/A",
    "n/a",
    "NA",
    "<NA>",
    "NULL",
    "Null",
    "null",
    "None",
    "none",
    "NaN",
    "nan",
    "\\N",
    "-",
    "--",
)
_INTEGER = r"^(0|-?[1-9][0-9]{0,17}|-?[1-9][0-9]{18})$"
_WHOLE = r"^-?(0|[1-9][0-9]{0,14})\.0+$"  # as pandas writes integers of a column with missing values
# As programs write numbers: 12, -0.5, .5, 1e-05, 1.0E10, inf. Not "1E5" or "01", which are codes.
_NUMBER = (
    r"^-?((0|[1-9][0-9]{0,15})(\.[0-9]*)?((e[+-]?|E[+-])[0-9]{1,3})?|(0|[1-9][0-9]{0,15})\.[0-9]+E[0-9]{1,3}"
    r"|\.[0-9]+(e[+-]?[0-9]{1,3})?|(?i:inf(inity)?))$"
)
_CHANGED = r"^\s*-?(0[0-9]|[0-9]{17,}\s*$|[0-9]+E[0-9]+\s*$|[0-9]*\.[0-9]*0\s*$)"  # a number would be written otherwise
FLAGS = ("True", "TRUE", "true", "False", "FALSE", "false")
_SEPARATORS = (";", "\t", "|", "::", "\x01", "^", ":", " ")
_CHUNK = 1 << 24
UNTYPED = b"llmrec.untyped"  # in the metadata of a table that was read from text
_TEXT = (".tsv", ".tab", ".txt", ".dat", ".inter", ".item", ".json", ".jsonl", ".ndjson", ".gz", ".bz2")
_READ_WITH = {
    ".tsv": 'pandas.read_csv({path}, sep="\\t")',
    ".tab": 'pandas.read_csv({path}, sep="\\t")',
    ".txt": 'pandas.read_csv({path}, sep=...) with the separator of the file, such as "\\t"',
    ".dat": 'pandas.read_csv({path}, sep=...) with the separator of the file, such as "::"',
    ".inter": 'pandas.read_csv({path}, sep="\\t"), and name its columns in columns=, such as {{"user_id:token": "user_id"}}',
    ".item": 'pandas.read_csv({path}, sep="\\t"), and name its columns in item_columns=, such as {{"item_id:token": ...}}',
    ".json": "pandas.read_json({path}), with lines=True if every line is an object",
    ".jsonl": "pandas.read_json({path}, lines=True)",
    ".ndjson": "pandas.read_json({path}, lines=True)",
    ".xlsx": "pandas.read_excel({path}, dtype=str)",
    ".xls": "pandas.read_excel({path}, dtype=str)",
    ".feather": "pandas.read_feather({path})",
    ".gz": "pandas.read_csv({path}), which unpacks it, with dtype=str for columns of ids",
    ".zip": "pandas.read_csv({path}), which unpacks it, with dtype=str for columns of ids",
    ".bz2": "pandas.read_csv({path}), which unpacks it, with dtype=str for columns of ids",
    ".zst": "pandas.read_csv({path}), which unpacks it, with dtype=str for columns of ids",
}
_MAGIC = {
    b"PK\x03\x04": "a zip archive or an Excel workbook: unpack it, or use pandas.read_excel({path}, dtype=str)",
    b"\xd0\xcf\x11\xe0": "an Excel workbook: use pandas.read_excel({path}, dtype=str)",
    b"\x1f\x8b": 'compressed by gzip: use pandas.read_csv({path}, compression="gzip")',
    b"PAR1": "a Parquet file: name it .parquet",
}


def untyped(source: Any) -> bool:
    """Whether a table comes from a CSV file, where ids have no type of their own."""
    if isinstance(source, pa.Table):
        return (source.schema.metadata or {}).get(UNTYPED) is not None
    return isinstance(source, (str, Path)) and Path(source).suffix.lower() == ".csv"


def read_file(path: Path, what: str, naming: Naming | None = None, as_written: AsWritten | None = None) -> pa.Table:
    """The table in a .csv or .parquet file.

    what: the name of the table in messages. naming: names of the columns in the file -> names of the library, to know which of
    a CSV file's columns hold ids; without it they are those of the same name. as_written: which columns of a CSV file stay text
    where a number would not keep every value as it is written, by the library's name; None for none but ids.
    Raises DataError that names the file, what is wrong with it (ending, encoding, separator, a row), and the remedy.
    """
    check_file(path, what)
    ending = path.suffix.lower()
    if ending == ".csv":
        return _read_csv(path, what, naming or list, as_written)
    if ending != ".parquet":
        how = _READ_WITH.get(ending, "a reader of that format").format(path=repr(str(path)))
        text = f" pass {_reading(path, what)}, or" if ending in _TEXT else ""
        raise DataError(
            f"{what}: {str(path)!r} ends in {ending!r}, expected .csv or .parquet;{text} read it yourself, with {how}, "
            "and pass the table"
        )
    return read_parquet(path, what)


def read_parquet(path: Path, what: str) -> pa.Table:
    """The table in a Parquet file. Raises DataError, which names the file, where it is none."""
    try:
        return pyarrow.parquet.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{what}: {str(path)!r} is not a readable .parquet file: {error}") from error


def check_file(path: Path, what: str) -> None:
    """Raises DataError, which names the table, for a path that is not there or is a folder."""
    if path.is_dir():
        raise DataError(
            f"{what}: {str(path)!r} is a folder, expected one .csv or .parquet file; "
            f"read it with pyarrow.parquet.read_table({str(path)!r}) if it holds Parquet, and pass the table"
        )
    if not path.is_file():
        web = " An address on the web is not read: download the file first." if ":/" in str(path) else ""
        raise DataError(f"{what}: there is no file {str(path)!r}; pass the path of a .csv or .parquet file.{web}")


def _read_csv(path: Path, what: str, naming: Naming, as_written: AsWritten | None) -> pa.Table:
    header = _checked_header(path, what)
    named = [name for name in header if name.strip()]
    pairs = list(zip(named, naming(named), strict=True))
    ids = [theirs for theirs, ours in pairs if ours in ID_NAMES]
    kept = [name for name, ours in pairs if as_written and as_written(ours) and name not in ids and named.count(name) == 1]
    try:
        table = _typed_csv(path, ids, kept)
    except pa.ArrowInvalid as error:
        raise DataError(
            _ragged(path, what, len(header)) or f"{what}: {str(path)!r} is not a readable .csv file: {error}"
        ) from error
    for name in ids:
        table = table.set_column(table.column_names.index(name), name, csv_ids(table.column(name)))
    # Spreadsheets write columns without a name and without a value behind the last one.
    void = [i for i, name in enumerate(table.column_names) if not name.strip() and table.column(i).null_count == len(table)]
    return table.select([i for i in range(table.num_columns) if i not in void]) if len(table) else table


def _typed_csv(path: Path, ids: list[str], kept: list[str]) -> pa.Table:
    """The file in the types that pyarrow finds: ids as text, and `kept` where they would lose how they are written."""
    try:
        table = _arrow_csv(path, ids)
    except pa.ArrowInvalid as error:
        if not kept or "conversion error" not in str(error):
            raise
        return _arrow_csv(path, ids + kept)  # a text far down in a column that begins with numbers
    numeric = [name for name in kept if pa.types.is_integer(table[name].type) or pa.types.is_floating(table[name].type)]
    text = _arrow_csv(path, numeric, numeric) if numeric else table
    for name in numeric:
        if pc.any(pc.match_substring_regex(text[name], _CHANGED)).as_py():
            written = pc.if_else(pc.is_null(table[name]), None, text[name])
            table = table.set_column(table.column_names.index(name), name, written)
    return table


def _arrow_csv(path: Path, text: list[str], only: list[str] | None = None) -> pa.Table:
    types = dict.fromkeys(text, pa.large_string())
    return pyarrow.csv.read_csv(
        path,
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(column_types=types, include_columns=only or []),
    )


def csv_ids(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Ids as a CSV file writes them: int64 if a number keeps each as it is written, float64 if all end in ".0", else text.

    White space around them is taken off, and what stands for a missing value (`MISSING`) becomes null.
    """
    text = pc.utf8_trim_whitespace(column)
    gone = pc.is_in(text, pa.array(MISSING, text.type))
    bare = pc.if_else(gone, None, text)
    numbers = _as_numbers(bare, _WHOLE)
    return pc.if_else(gone, None, column) if numbers is None else numbers


def without_markers(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Text (large_string) of attributes or context in which all that stands for a missing value (`MISSING`) is null.

    "NA" is among it: where that is a level, such as the country code of Namibia, write it otherwise.
    """
    return pc.if_else(pc.is_in(pc.utf8_trim_whitespace(column), pa.array(MISSING, column.type)), None, column)


def levels_or_numbers(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Text of attributes or context as what it stands for: int64 or float64 where a number keeps every value as it is written,
    "True" and "False" where all are flags, else text. Missing values are null, as in `without_markers`."""
    column = without_markers(column)
    bare = pc.utf8_trim_whitespace(column)
    if (numbers := _as_numbers(bare, _NUMBER)) is not None:
        return numbers
    known = bare.drop_null()
    if len(known) and pc.all(pc.is_in(known, pa.array(FLAGS, known.type))).as_py():
        return pc.utf8_capitalize(bare)
    return column


def _as_numbers(bare: pa.ChunkedArray, fractions: str) -> pa.ChunkedArray | None:
    """Text without white space around it as int64, or float64 where all of it matches the pattern `fractions`; else None."""
    known = bare.drop_null()
    for pattern, kind in ((_INTEGER, pa.int64()), (fractions, pa.float64())):
        if len(known) and pc.all(pc.match_substring_regex(known, pattern)).as_py():
            try:
                return bare.cast(kind)
            except pa.ArrowInvalid:
                return None  # nineteen digits beyond int64
    return None


def _checked_header(path: Path, what: str) -> list[str]:
    """Names of the columns. Raises DataError for a file that is not UTF-8 text separated by commas."""
    named = f"{what}: {str(path)!r}"
    with path.open("rb") as file:
        head = file.read(1 << 16)
    if not head.strip():
        raise DataError(f"{named} is empty, expected a line with the names of the columns, and rows")
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            raise DataError(f"{named} is not text but {kind.format(path=repr(str(path)))}, and pass the table")
    coding = coding_of(head)
    if coding is None and not _utf8_throughout(path):
        raise DataError(_not_utf8(path, what))
    first, second = _first_rows(head, coding or "utf-8-sig")
    separator = _other_separator(first, second)
    if coding is not None:
        raise DataError(
            f"{named} is encoded in {coding}, expected UTF-8. {_remedy(path, what, separator, coding)}, or save it as UTF-8"
        )
    if separator is not None:
        raise DataError(
            f"{named}: the separator looks like {separator!r}, expected commas; the first line is {first[:80]!r}. "
            f"{_remedy(path, what, separator, None)}"
        )
    if first.lower().startswith("sep="):
        raise DataError(
            f"{named} begins with the line {first!r}, which tells a spreadsheet the separator; expected column names. "
            f"Remove it, or read with pandas.read_csv({str(path)!r}, sep={first[4:5]!r}, skiprows=1) and pass the frame"
        )
    _check_quotes(path, what)
    return next(row for row in _rows(path) if row)


def _utf8_throughout(path: Path) -> bool:
    with path.open("rb") as file:
        return is_utf8(iter(lambda: file.read(_CHUNK), b""))


def _first_rows(head: bytes, coding: str) -> tuple[str, str]:
    lines = [line for line in head.decode(coding, errors="ignore").splitlines() if line.strip()]
    first, second, *_ = (*lines[:2], "", "")
    return first, second


def _remedy(path: Path, what: str, separator: str | None, coding: str | None) -> str:
    options = [f", sep={separator!r}"] if separator else []
    options += [f", encoding={coding!r}"] if coding else []
    engine = ', engine="python"' if separator and len(separator) > 1 else ""
    call = f"pandas.read_csv({str(path)!r}{''.join(options)}{engine})"
    return (
        f"Pass {_reading(path, what)}, which finds the format, or read it with {call}, dtype=str for "
        "columns of ids, and pass the frame"
    )


def _reading(path: Path, what: str) -> str:
    table = f', "{what}"' if what in ("items", "users") else ""
    return f"llmrec.data.reading.read({str(path)!r}{table}).table"


def _other_separator(first: str, second: str) -> str | None:
    """What separates the fields of a file if commas do not: it is in the first name, and cuts more fields than commas do."""
    by_comma = _fields(first, ",")
    if first.lower().startswith("sep="):
        return None
    for separator in _SEPARATORS:
        count = first.count(separator) + 1 if len(separator) > 1 else len(_fields(first, separator))
        sure = separator in ";\t|" or (len(by_comma) == 1 and (not second or second.count(separator) + 1 >= count))
        if count > 1 and count >= len(by_comma) and separator in by_comma[0] and sure:
            return separator
    return None


def _fields(line: str, separator: str) -> list[str]:
    return next(csv.reader([line], delimiter=separator), [""])


def _rows(path: Path, coding: str = "utf-8-sig", strict: bool = False) -> Iterator[list[str]]:
    with path.open(encoding=coding, newline="") as file:
        yield from csv.reader(file, strict=strict)


def _not_utf8(path: Path, what: str) -> str:
    """The message for a file that is not UTF-8: line and column of the first text that is not, and the likely encoding."""
    coding, where, header, line = likely_coding(path), "", None, 0
    with path.open("rb") as raw:
        file = io.TextIOWrapper(raw, encoding="latin-1", newline="")
        separator = _other_separator(*_first_rows(raw.peek(1 << 16), "latin-1"))
        reader = csv.reader(file, delimiter=separator if separator and len(separator) == 1 else ",")
        try:
            for row in reader:
                wrong = [i for i, field in enumerate(row) if not is_utf8(iter([field.encode("latin-1")]))]
                if wrong and header is None:
                    where = " in the names of its columns"
                elif wrong and header is not None:
                    name = header[wrong[0]] if wrong[0] < len(header) else ""
                    shown = row[wrong[0]].encode("latin-1").decode(coding, errors="replace")[:40]
                    where = f" in column {name!r}, line {reader.line_num}, which may be {shown!r}"
                if wrong:
                    break
                header = header or row
        except csv.Error as error:
            where = f" (line {line}: {error})"
    return (
        f"{what}: {str(path)!r} is not in the encoding UTF-8{where}; the encoding is likely {coding!r}. "
        f"{_remedy(path, what, separator, coding)}, or save the file as UTF-8"
    )


def _ragged(path: Path, what: str, width: int) -> str | None:
    """The message for rows with more or fewer fields than the header, None where no row is such."""
    first, count, rows = None, 0, 0
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        try:
            for row in reader:
                rows += 1
                if row and len(row) != width:
                    count += 1
                    first = first or (reader.line_num, len(row), ",".join(row)[:80])
        except csv.Error:
            pass  # what was found so far is said
    if first is None:
        return None
    line, found, shown = first
    more = f" ({count:,} of {rows - 1:,} rows are such)" if count > 1 else ""
    return (
        f"{what}: {str(path)!r}, line {line}: expected {width} fields as in the first line, found {found}: {shown!r}{more}. "
        "Mend the row (a text with a comma needs quotes), or skip rows that are too long with "
        f'pandas.read_csv({str(path)!r}, on_bad_lines="skip") and pass the frame'
    )


def _check_quotes(path: Path, what: str) -> None:
    """Raises DataError for a quote that is never closed, which would make one text of all rows behind it."""
    with path.open("rb") as file:
        odd = sum(chunk.count(b'"') for chunk in iter(lambda: file.read(_CHUNK), b"")) % 2
    if not odd:
        return
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader, began = csv.reader(file, strict=True), 1
        try:
            for _ in reader:
                began = reader.line_num + 1
        except csv.Error as error:
            if "unexpected end" in str(error):
                raise DataError(
                    f"{what}: {str(path)!r}: a quote that opens in line {began} is never closed, so that the rest of the file "
                    "would be one text. Close the quote, or write a quote within a text twice"
                ) from error
