"""In which encoding a text file is, if not in UTF-8: a likely one, for a message, and all that are plausible."""

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


def plausible_codings(sample: bytes) -> list[str]:
    """Encodings that a sample of lines beyond ASCII may be in; "cp1252" stands for all Western ones.

    Some dozen characters of Chinese or Korean may be valid, and common, in two encodings: then both are named.
    """
    for name, expected, least in _LETTERS:
        if name in ("shift_jis", "euc_jp", "cp1251") and _share(sample, name, expected) >= least:
            return [name]
    found = []
    for name, common, other in _CHINESE_KOREAN:
        try:
            text = sample.decode(name)
        except UnicodeDecodeError:
            continue
        runs = re.findall(r"[^\x00-\x7f]+", text)
        if name == "big5" and 2 * sum(map(len, runs)) < 3 * len(runs):
            continue  # a Western letter and an ASCII one behind it are a character of big5
        signs = [character.encode(name) for character in "".join(runs)]
        letters = [sign for sign in signs if len(sign) != 2 or not 0xA1 <= sign[0] <= 0xA3]  # not full-width punctuation
        if letters and sum(len(sign) == 2 and common(sign[0], sign[1]) for sign in letters) >= other * len(letters):
            found.append(name)
    if found[:1] == ["euc_kr"] and sum(map(len, _HIGH.findall(sample))) >= 2 * _SURE:
        return found[:1]
    return ["gbk" if name == "gb18030" and _share(sample, "gbk", str.isprintable) else name for name in found] or ["cp1252"]


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
# Encoding, whether two bytes are a character in common use, and the least share of these. All Korean text is also common
# Chinese, while of Chinese characters in common use three in five are also Korean.
_CHINESE_KOREAN: tuple[tuple[str, Callable[[int, int], bool], float], ...] = (
    ("euc_kr", lambda lead, trail: 0xB0 <= lead <= 0xC8, 0.95),
    ("gb18030", lambda lead, trail: 0xB0 <= lead <= 0xD7 and trail >= 0xA1, 0.9),
    ("big5", lambda lead, trail: 0xA4 <= lead <= 0xC6, 0.9),
)
_SURE = 40  # characters: all of them Korean by chance would be 1 in 10**9
