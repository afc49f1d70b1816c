"""Files in the plain formats: CSV in UTF-8 with commas, Parquet, and folders of Parquet or of a Hugging Face dataset.

Every other file, and a CSV file with something broken in it, is for `reading.read`. A CSV file has no types. Its ids stay text
where a number would not keep them as they are written, so that "007" and "7" are two ids. So do columns whose values are
levels: attributes of users, and the context of events.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.dataset
import pyarrow.parquet

from llmrec.data.decoding import not_text
from llmrec.data.encodings import coding_of, is_utf8
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
    "(null)",
    "[NULL]",
    "<null>",
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
SHORTENED = r"^\s*[0-9]([.,][0-9]+)?[eE]\+[0-9]+\s*$"  # a long number as a spreadsheet shows it
SHORTENED_TIME = r"^\s*[0-9]([.,][0-9]{1,5})?E\+[0-9]+\s*$"  # other programs write e+, or all digits
NARROW = r"^\s*#{2,}\s*$"  # a column too narrow, as a spreadsheet shows it
FORMULA = r'^="([^"]*)"$'  # text that a spreadsheet is not to take for a number: ="007"
APOSTROPHE = r"^'([0-9]+)$"  # the same, '007
SHEET_ERRORS = ("#REF!", "#VALUE!", "#NAME?", "#DIV/0!", "#NULL!", "#NUM!", "#N/A")
_ERRORS = (re.escape(text) for text in SHEET_ERRORS if text not in MISSING)
_OF_SHEET = "|".join((SHORTENED, NARROW, FORMULA, APOSTROPHE, *(rf"^\s*{text}\s*$" for text in _ERRORS)))
FLAGS = ("True", "TRUE", "true", "False", "FALSE", "false")
_SEPARATORS = (";", "\t", "|", "::", "\x01", "^", ":", " ")
_CHUNK = 1 << 24
UNTYPED = b"llmrec.untyped"  # in the metadata of a table that was read from text
JSON = (".json", ".jsonl", ".ndjson")
PACKED = (".gz", ".bz2", ".xz")
TEXT = (".csv", ".tsv", ".tab", ".txt", ".dat", ".data", ".inter", ".item", ".user", *JSON, *PACKED)


def read_plain(path: Path, what: str, naming: Naming, as_written: AsWritten | None = None) -> pa.Table | None:
    """The table in a plain .csv file: UTF-8, commas, every row with as many fields as names; None of any other file, and where
    ids or times show traces of a spreadsheet, such as ="007", #REF! or 1.7E+12.

    what: the name of the table in messages. naming: names of the columns in the file -> names of the library, to know which
    hold ids. as_written: which columns stay text where a number would not keep every value as it is written, by the library's
    name; None for none but ids. What `naming` raises passes through.
    """
    header = _header(path) if path.suffix.lower() == ".csv" else None
    if header is None:
        return None
    named = [name for name in header if name.strip()]
    pairs = list(zip(named, naming(named), strict=True))
    ids = [theirs for theirs, ours in pairs if ours in ID_NAMES]
    kept = [name for name, ours in pairs if as_written and as_written(ours) and name not in ids and named.count(name) == 1]
    try:
        table = _typed_csv(path, ids, kept)
    except pa.ArrowInvalid:
        return None
    if any(pc.any(pc.match_substring_regex(table[name], _OF_SHEET)).as_py() for name in ids):
        return None
    if any(_times_of_sheet(path, table, theirs) for theirs, ours in pairs if ours == "timestamp"):
        return None
    for name in ids:
        table = table.set_column(table.column_names.index(name), name, csv_ids(table.column(name)))
    # Spreadsheets write columns without a name and without a value behind the last one.
    void = [i for i, name in enumerate(table.column_names) if not name.strip() and table.column(i).null_count == len(table)]
    return table.select([i for i in range(table.num_columns) if i not in void]) if len(table) else table


def read_parquet(files: Sequence[Path], named: str) -> pa.Table:
    """The table in a Parquet file, or in several that are its parts. named: the table and where it is, in messages.

    Raises DataError for what is no Parquet file, and for files of different tables.
    """
    try:
        if len(files) > 1:
            _check_parts([str(file) for file in files], named)
        return pyarrow.parquet.read_table(files[0] if len(files) == 1 else [str(file) for file in files])
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{named} is not a readable .parquet file: {error}") from error


def read_arrow(files: Sequence[Path], named: str) -> pa.Table:
    """The table in the files of a Hugging Face dataset. Raises DataError where they are not readable. named: as before."""
    try:
        return pa.concat_tables([pa.ipc.open_stream(file.read_bytes()).read_all() for file in files])
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{named} is not a readable .arrow file of a dataset: {error}; write it again") from error


def read_folder(path: Path, named: str) -> pa.Table:
    """The table in a folder of Parquet files, as Spark writes it, or of a Hugging Face dataset, as `save_to_disk` writes it.

    Raises DataError, which names the folder and what it may hold, for any other, for several splits, and for Parquet files of
    different tables. named: as before.
    """
    try:
        if (path / "dataset_dict.json").is_file():
            splits = json.loads((path / "dataset_dict.json").read_bytes())["splits"]
            if len(splits) != 1:
                raise DataError(
                    f"{named} holds a dataset with the splits {', '.join(map(repr, splits))}, expected one table; give the "
                    f"folder of one, such as {str(path / splits[0])!r}"
                )
            path = path / splits[0]
        if (path / "state.json").is_file():
            parts = [part["filename"] for part in json.loads((path / "state.json").read_bytes())["_data_files"]]
            return pa.concat_tables([pa.ipc.open_stream((path / part).read_bytes()).read_all() for part in parts])
        if any(path.rglob("*.parquet")):
            _check_parts(path, named)
            return pyarrow.parquet.read_table(path)
    except DataError:
        raise
    except (pa.ArrowException, OSError, ValueError, LookupError, TypeError) as error:
        raise DataError(f"{named} cannot be read as Parquet files or a saved dataset: {error}; write it again") from error
    raise DataError(
        f"{named} is a folder without Parquet files or a saved dataset, expected a file of one table; give the path of a file "
        "in it"
    )


def _check_parts(source: Path | list[str], named: str) -> None:
    """Raises DataError for Parquet files of which neither has all columns of the other, such as events and items, and for a
    column that is text in one and numbers in another, which would be read as what the first has: "007" as 7.

    source: a folder of them, or the files."""
    parts = [(Path(part.path).name, part.physical_schema) for part in _fragments(source)]
    (first, schema), *others = parts or [("", pa.schema([]))]
    for name, other in others:
        mine, its = {*schema.names}, {*other.names}
        if its - mine and mine - its:
            raise DataError(
                f"{named} holds files of different tables, such as {first!r} and {name!r}, expected the parts of one; give the "
                "path of a file in it"
            )
        for column in sorted(mine & its):
            kinds = [_value_type(one.field(column).type) for one in (schema, other)]
            if any(map(_is_text, kinds)) and any(map(_is_number, kinds)):
                raise DataError(
                    f"{named}: column {column!r} is {kinds[0]} in {first!r} and {kinds[1]} in {name!r}, expected one type; "
                    "write the files again with one"
                )


def _fragments(source: Path | list[str]) -> list[pyarrow.dataset.Fragment]:
    return list(pyarrow.dataset.dataset(source, format="parquet").get_fragments())


def _value_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _header(path: Path) -> list[str] | None:
    """Names of the columns of a plain CSV file, None of any other."""
    with path.open("rb") as file:
        head = file.read(1 << 16)
    if not head.strip() or not_text(head) or coding_of(head) is not None or not _utf8_throughout(path):
        return None
    lines = [line for line in head.decode("utf-8-sig", errors="ignore").splitlines() if line.strip()]
    first, second, *_ = (*lines[:2], "", "")
    if first.lower().startswith("sep=") or _other_separator(first, second) or not _quotes_close(path):
        return None
    row = next((row for row in _rows(path) if row), [])
    return row if len(row) > 1 and any(name.strip() for name in row) else None


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


def _times_of_sheet(path: Path, table: pa.Table, name: str) -> bool:
    """Whether times are shown as a spreadsheet shows long numbers and narrow columns: several may have become one."""
    column = table[name]
    if pa.types.is_floating(column.type):
        column = _arrow_csv(path, [name], [name])[name]
    shown = f"{SHORTENED_TIME}|{NARROW}"
    return _is_text(column.type) and bool(pc.any(pc.match_substring_regex(column, shown)).as_py())


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


def _utf8_throughout(path: Path) -> bool:
    with path.open("rb") as file:
        return is_utf8(iter(lambda: file.read(_CHUNK), b""))


def _other_separator(first: str, second: str) -> str | None:
    """What separates the fields of a file if commas do not: it is in the first name, and cuts more fields than commas do."""
    by_comma = _fields(first, ",")
    for separator in _SEPARATORS:
        count = first.count(separator) + 1 if len(separator) > 1 else len(_fields(first, separator))
        sure = separator in ";\t|" or (len(by_comma) == 1 and (not second or second.count(separator) + 1 >= count))
        if count > 1 and count >= len(by_comma) and separator in by_comma[0] and sure:
            return separator
    return None


def _fields(line: str, separator: str) -> list[str]:
    return next(csv.reader([line], delimiter=separator), [""])


def _rows(path: Path, strict: bool = False) -> Iterator[list[str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        yield from csv.reader(file, strict=strict)


def _quotes_close(path: Path) -> bool:
    """Whether no quote is left open, which would make one text of all rows behind it."""
    with path.open("rb") as file:
        odd = sum(chunk.count(b'"') for chunk in iter(lambda: file.read(_CHUNK), b"")) % 2
    if not odd:
        return True
    try:
        for _ in _rows(path, strict=True):
            pass
    except csv.Error as error:
        return "unexpected end" not in str(error)
    return True
