"""The bytes of a text file as UTF-8: unpacked, and out of the encoding that it is in, which is found or held to."""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
import re
import unicodedata
import zlib
from collections.abc import Callable
from pathlib import Path

from llmrec.data.encodings import coding_of, is_utf8, plausible_codings
from llmrec.errors import DataError

_CHUNK = 1 << 24
_NAMES = {"utf-8-sig": "utf-8", "iso8859-1": "latin-1"}
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
    b"<?xml": "XML: export a table as CSV",
    b"{\\rtf": "a text document: export a table as CSV",
}
# Letters of Western European languages beyond ASCII. Others that cp1252 has (Š, ž, ð, þ, ý) are more often letters of
# another encoding that were read wrongly.
_LETTERS = frozenset("äöüßÄÖÜàâæçèéêëîïôœùûÿÀÂÆÇÈÉÊËÎÏÔŒÙÛáíñóúÁÍÑÓÚãõÃÕåøÅØìòÌÒ")
_WITHIN_WORDS = frozenset("’‘·\xad–—")
_UNUSUAL = 0.02  # share of the characters beyond ASCII, above which a Western encoding is doubted


def raw_bytes(path: Path, what: str) -> bytes:
    """The whole file, unpacked if gzip, bzip2 or xz compressed it. Raises DataError for what is no text, and for an empty
    file."""
    named = f"{what}: {str(path)!r}"
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
    for magic, kind in _OTHER.items():
        if data.lstrip()[: len(magic)] == magic:
            raise DataError(f"{named} is not a table of text but {kind}")
    if not data.strip():
        raise DataError(f"{named} is empty, expected a line with the names of the columns, and rows")
    return data


def as_utf8(data: bytes, encoding: str | None, named: str, says: Callable[[str], int]) -> tuple[bytes, str]:
    """The text in UTF-8 without a byte-order mark, and the encoding that it came in.

    encoding: as given, None to find it. named: the file in messages. says: how many column names known in some language the
    first line of a text has, to choose between encodings that fit the bytes equally well.
    Raises DataError for bytes that are not in the encoding (naming the line), and where several fit or none does.
    """
    if encoding is None:
        encoding = _found(data, named, says)
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
    return text.removeprefix("\ufeff").encode("utf-8", errors="replace"), _NAMES.get(name, name)


def _found(data: bytes, named: str, says: Callable[[str], int]) -> str:
    wide = coding_of(data[: 1 << 16])
    if wide is not None:
        return wide
    if is_utf8(data[i : i + _CHUNK] for i in range(0, len(data), _CHUNK)):
        return "utf-8"
    lines = [(number, line) for number, line in enumerate(data.splitlines(), 1) if not line.isascii()]
    wrong = [number for number, line in lines if not is_utf8(iter([line]))]
    if len(wrong) <= len(lines) / 2:
        raise DataError(
            f"{named}, line {wrong[0]}: not in UTF-8, while {len(lines) - len(wrong):,} other lines are ({len(wrong):,} are "
            "not). Two encodings were mixed: mend these lines, or export the file again as UTF-8"
        )
    sample = b"\n".join(line for _, line in lines)[: 1 << 18].rsplit(b"\n", 1)[0] if len(lines) > 1 else lines[0][1]
    codings = plausible_codings(sample)
    head = data[: 1 << 14].splitlines()[0]
    if len(codings) > 1:
        known = {name: says(head.decode(name, errors="replace")) for name in codings}
        best = [name for name in codings if known[name] == max(known.values())]
        codings = best if max(known.values()) > 0 else codings
    if len(codings) > 1 or (codings == ["cp1252"] and _doubtful(sample.decode("cp1252", errors="replace"))):
        number, line = lines[0]
        shown = ", ".join(f"{name} {_excerpt(line, name)!r}" for name in (codings if len(codings) > 1 else _WESTERN))
        raise DataError(
            f"{named}: the encoding is not clear. Line {number} would read: {shown}. Say which with --encoding, or save the "
            "file as UTF-8"
        )
    if codings == ["cp1252"]:
        return "cp1252" if re.search(rb"[\x80-\x9f]", data) else "latin-1"
    return codings[0]


_WESTERN = ("cp1252", "cp1250", "cp850", "mac_roman", "iso8859_15", "cp1254", "cp1253")


def _excerpt(line: bytes, encoding: str) -> str:
    """The words of a line that are not ASCII, as an encoding reads them."""
    words = [word for word in re.split(rb'[,;\t|"]+', line) if not word.isascii()]
    return b" ".join(words)[:24].decode(encoding, errors="replace")


def _doubtful(text: str) -> bool:
    """Whether a text read as cp1252 has signs within words, capitals behind small letters or letters that its languages do not
    have."""
    beyond = 0
    odd = sum(len(word) for word in re.findall(r"[^\W\d_]{2,}", text) if not re.search("[a-zA-Z]", word))  # no Western word
    for match in re.finditer(r"[^\x00-\x7f]", text):
        letter, place = match.group(), match.start()
        before, after = text[max(place - 1, 0) : place], text[place + 1 : place + 2]
        beyond += 1
        if unicodedata.category(letter)[0] == "L" and letter not in "ªº":
            odd += letter not in _LETTERS or (letter.isupper() and before.islower() and after.islower())
        elif letter not in _WITHIN_WORDS:
            odd += (before.isalpha() and after.isalpha()) or unicodedata.category(letter) in ("Cc", "Cn") or letter in "\ufffd¤"
    return odd > _UNUSUAL * beyond


def _line(data: bytes, place: int, encoding: str) -> int:
    return len(data[:place].decode(encoding, errors="replace").splitlines()) or 1
