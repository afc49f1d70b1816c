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
    runs = _HIGH.findall(sample)
    if sum(map(len, runs)) <= 2.5 * len(runs):  # single letters between ASCII ones
        return _western(sample)
    scores = {
        "gbk": _share(sample, "gbk", lambda c: "\u4e00" <= c <= "\u9fff" and _common_chinese(c)),
        "shift_jis": _share(sample, "shift_jis", lambda c: "\u3041" <= c <= "\u30ff"),
        "euc_jp": _share(sample, "euc_jp", lambda c: "\u3041" <= c <= "\u30ff"),
        "euc_kr": _share(sample, "euc_kr", lambda c: "\uac00" <= c <= "\ud7a3"),
        "cp1251": _share(sample, "cp1251", lambda c: "\u0430" <= c <= "\u044f"),
        "big5": 0.9 * _share(sample, "big5", lambda c: "\u4e00" <= c <= "\u9fff"),
    }
    best = max(scores, key=lambda name: scores[name])
    return best if scores[best] > 0.5 else _western(sample)


def _western(sample: bytes) -> str:
    return "cp1252" if re.search(rb"[\x80-\x9f]", sample) else "latin-1"


def _common_chinese(character: str) -> bool:
    """In the first level of GB 2312: the 3,755 characters most in use."""
    return 0xB0 <= character.encode("gbk", errors="replace")[0] <= 0xD7


def _share(sample: bytes, coding: str, expected: Callable[[str], bool]) -> float:
    """Share of the characters beyond ASCII that are expected ones; 0 where the sample is not in that encoding."""
    try:
        text = sample.decode(coding)
    except UnicodeDecodeError:
        return 0.0
    beyond = [character for character in text if character > "\x7f"]
    return sum(map(expected, beyond)) / max(len(beyond), 1)
