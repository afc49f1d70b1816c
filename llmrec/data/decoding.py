"""The bytes of a text file as UTF-8: unpacked, and out of the encoding that it is in, which is found or held to."""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
import re
import zlib
from collections.abc import Callable
from pathlib import Path

from llmrec.data.encodings import chance_utf8, coding_of, could_be_gbk, is_utf8, likely_of, surely_gbk
from llmrec.data.western import doubtful
from llmrec.errors import DataError

_CHUNK = 1 << 24
_SAMPLE = 1 << 18  # bytes of lines beyond ASCII, of which the encoding is told
_NAMES = {"utf-8-sig": "utf-8", "iso8859-1": "latin-1"}
_WESTERN = ("cp1252", "cp1250", "cp1251", "cp850", "mac_roman", "iso8859_15")  # to show how a line would read
_UNPACK: dict[bytes, Callable[[bytes], bytes]] = {
    b"\x1f\x8b": gzip.decompress,
    b"BZh": bz2.decompress,
    b"\xfd7zXZ\x00": lzma.decompress,
}
_OTHER = {
    b"PK\x03\x04": "a zip archive or an Excel workbook: unpack it, or save the sheet as CSV UTF-8",
    b"\xd0\xcf\x11\xe0": "an Excel workbook: save the sheet as CSV UTF-8",
    b"\x28\xb5\x2f\xfd": "compressed by zstd: unpack it, or compress it by gzip",
    b"PAR1": "a Parquet file: name it .parquet",
    b"%PDF": "a PDF: export a table as CSV",
    b"<!DOCTYPE": "a web page: export a table as CSV",
    b"<!doctype": "a web page: export a table as CSV",
    b"<html": "a web page: export a table as CSV",
    b"<table": "a web page: export a table as CSV",
    b"<div": "a web page: export a table as CSV",
    b"<meta": "a web page: export a table as CSV",
    b"<?xml": "XML: export a table as CSV",
    b"{\\rtf": "a text document: export a table as CSV",
}


def raw_bytes(path: Path, named: str) -> bytes:
    """The whole file, unpacked if gzip, bzip2 or xz compressed it. named: the table and where it is, in messages. Raises
    DataError for what is no text, and for an empty file."""
    data = path.read_bytes()
    for magic, unpack in _UNPACK.items():
        if data.startswith(magic):
            try:
                data = unpack(data)
            except (EOFError, OSError, lzma.LZMAError, zlib.error) as error:
                raise DataError(
                    f"{named} is compressed and cannot be unpacked ({error}): it may be cut off; transfer it again"
                ) from error
            break
    if (kind := not_text(data)) is not None:
        raise DataError(f"{named} is not a table of text but {kind}")
    if not data.strip():
        raise DataError(f"{named} is empty, expected a line with the names of the columns, and rows")
    return data


def not_text(head: bytes) -> str | None:
    """What a file is, told by its first bytes, and what to do with it; None where they are not those of a known format."""
    begin = head.lstrip()
    return next((kind for magic, kind in _OTHER.items() if begin.startswith(magic)), None)


def as_utf8(data: bytes, encoding: str | None, named: str, says: Callable[[str], int]) -> tuple[bytes, str]:
    """The text in UTF-8 without a byte-order mark, and the encoding that it came in.

    encoding: as given, None to find it. named: the file in messages. says: how many column names known in some language the
    first line of a text has, to choose between encodings that fit the bytes equally well.
    Raises DataError for bytes that are not in the encoding (naming the line), and where several fit or none does.
    """
    if encoding is None:
        encoding = _found(data, named, says)
        if encoding == "utf-8":
            return data.removeprefix(codecs.BOM_UTF8), encoding
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = _line(data, error.start, encoding)
        raise DataError(
            f"{named}, line {line}: not in the encoding {encoding} (bytes {data[error.start : error.end][:4]!r}); "
            "say --encoding, or save the file as UTF-8"
        ) from error
    except (LookupError, UnicodeError) as error:
        raise DataError(f"{named} is not in the encoding {encoding}: {error}; say another with --encoding") from error
    name = codecs.lookup(encoding).name
    return text.removeprefix("\ufeff").encode(), _NAMES.get(name, name)


def doubts_of(data: bytes) -> tuple[str, ...]:
    """What looks as if an earlier export had damaged the text, which is UTF-8: nothing here can mend it."""
    doubts = (
        (rb"\xc3[\x82\x83]\xc2[\x80-\xbf]", "texts such as {!r} look as if they had been encoded twice"),
        (rb"\xef\xbf\xbd", "characters were lost in an earlier export, as in {!r}"),
    )
    said = []
    for pattern, text in doubts:
        if found := re.search(pattern, data):
            around = re.split(rb'[\r\n,;\t|"]', data[max(found.start() - 20, 0) : found.start()])[-1]
            behind = re.split(rb'[\r\n,;\t|"]', data[found.start() : found.start() + 20])[0]
            shown = (around + behind).decode("utf-8", errors="ignore")
            said.append(f"{text.format(shown)} (line {_line(data, found.start(), 'utf-8')})")
    return tuple(said)


def _found(data: bytes, named: str, says: Callable[[str], int]) -> str:
    wide = coding_of(data[: 1 << 16])
    if wide is not None:
        return wide
    if is_utf8(data[i : i + _CHUNK] for i in range(0, len(data), _CHUNK)):
        odd = re.search(rb"[\xf1-\xf4]" if not chance_utf8(data) else rb"[\x80-\xff]", data)
        if odd is None:
            return "utf-8"
        raise DataError(
            f"{named}, line {_line(data, odd.start(), 'utf-8')}: reads as UTF-8, but with unlikely characters "
            f"({data[odd.start() : odd.start() + 4].decode('utf-8', errors='ignore')!r}). Say in which encoding it is, such as "
            "--encoding gbk or --encoding utf-8"
        )
    lines = [(number, line) for number, line in enumerate(data.splitlines(), 1) if not line.isascii()]
    wrong = [number for number, line in lines if not is_utf8(iter([line]))]
    if len(wrong) <= len(lines) / 2:
        raise DataError(
            f"{named}, line {wrong[0]}: not in UTF-8, while {len(lines) - len(wrong):,} other lines are ({len(wrong):,} are "
            "not). Two encodings were mixed: fix these lines, or export the file again as UTF-8"
        )
    step = 1 + sum(len(line) for _, line in lines) // _SAMPLE  # from all over the file
    sample = b"\n".join(line for _, line in lines[::step])
    likely = likely_of(sample)
    if could_be_gbk(sample):
        head = next(line for line in data.splitlines() if line.strip())
        if surely_gbk(sample) or says(head.decode("gb18030", errors="replace")) > says(head.decode("latin-1")):
            return "gbk" if _decodes(data, "gbk") else "gb18030"
    elif likely in ("latin-1", "cp1252") and not doubtful(sample.decode("cp1252", errors="replace")):
        return "cp1252" if re.search(rb"[\x80-\x9f]", data) else "latin-1"
    number, line = lines[0]
    names = dict.fromkeys([likely, *(("gbk", "big5", "euc_kr", "euc_jp") if could_be_gbk(sample) else _WESTERN)])
    shown = ", ".join(f"{_excerpt(line, name)!r} in {name}" for name in names if _decodes(sample, name))
    raise DataError(
        f"{named}: not in UTF-8, and no other encoding is certain. Line {number} would read {shown}. Say which with "
        "--encoding, or save the file as UTF-8"
    )


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _excerpt(line: bytes, encoding: str) -> str:
    """The words of a line that are not ASCII, as an encoding reads them."""
    words = [word for word in re.split(rb'[,;\t|"]+', line) if not word.isascii()]
    return b" ".join(words)[:24].decode(encoding, errors="replace")


def _line(data: bytes, place: int, encoding: str) -> int:
    """The number of the line that a byte is in."""
    return 1 + len(re.findall(r"\r\n|\r|\n", data[:place].decode(encoding, errors="replace")))
