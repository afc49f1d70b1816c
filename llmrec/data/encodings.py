"""In which encoding a text file is, if not in UTF-8: a likely one, for a message."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator
from pathlib import Path

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_HIGH = re.compile(rb"[\x80-\xff]+")
_SAMPLE = 1 << 16  # bytes of lines that are not ASCII


def is_utf8(chunks: Iterator[bytes]) -> bool:
    """Whether the chunks together are UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for chunk in chunks:
            decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def coding_of(head: bytes) -> str | None:
    """UTF-16 or UTF-32, told by a byte-order mark or by the zero bytes that they put between ASCII letters; None otherwise."""
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    even, odd = head[::2].count(0), head[1::2].count(0)
    if max(even, odd) > 0.3 * len(head) / 2:
        return "utf-16-le" if odd > even else "utf-16-be"
    return None


def likely_coding(path: Path) -> str:
    """The likely encoding of a file that is not UTF-8: a Chinese, Japanese, Korean, Cyrillic or Western one."""
    sample = b""
    with path.open("rb") as file:
        for line in file:
            if _HIGH.search(line):
                sample += line
            if len(sample) > _SAMPLE:
                break
    for name, expected, least in _LETTERS:
        if _share(sample, name, expected) >= least:
            return name
    return _western(sample)


def _western(sample: bytes) -> str:
    return "cp1252" if re.search(rb"[\x80-\x9f]", sample) else "latin-1"


def _common_chinese(character: str) -> bool:
    """In the first level of GB 2312: the 3,755 characters most in use."""
    return "\u4e00" <= character <= "\u9fff" and 0xB0 <= character.encode("gbk", errors="replace")[0] <= 0xD7


def _share(sample: bytes, coding: str, expected: Callable[[str], bool]) -> float:
    """Share of the characters beyond ASCII that are expected ones; 0 where the sample is not in that encoding."""
    try:
        text = sample.decode(coding)
    except UnicodeDecodeError:
        return 0.0
    beyond = [character for character in text if character > "\x7f"]
    runs = _HIGH.findall(sample)
    if coding != "shift_jis" and sum(map(len, runs)) <= 2.5 * len(runs):
        return 0.0  # single letters between ASCII ones, as in Western text
    return sum(map(expected, beyond)) / max(len(beyond), 1)


def _in(low: str, high: str) -> Callable[[str], bool]:
    return lambda character: low <= character <= high


# Encoding, the letters its texts consist of, and their least share of all characters beyond ASCII. In this order, for Korean
# text is also valid Chinese.
_LETTERS: tuple[tuple[str, Callable[[str], bool], float], ...] = (
    ("shift_jis", _in("\u3041", "\u30ff"), 0.3),
    ("euc_jp", _in("\u3041", "\u30ff"), 0.3),
    ("euc_kr", _in("\uac00", "\ud7a3"), 0.95),
    ("gbk", _common_chinese, 0.6),
    ("cp1251", _in("\u0430", "\u044f"), 0.6),
    ("big5", _in("\u4e00", "\u9fff"), 0.6),
)
