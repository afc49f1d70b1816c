"""Values of a template: titles stay data. Text is brought onto one line and cut; nothing in it is read as a template."""

from __future__ import annotations

import re
from numbers import Number

CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")  # become blanks
UNSEEN = re.compile(
    # Soft hyphen, spaces without width, marks of direction, what no text may hold, tags, variants of letters. The joiners
    # U+200C and U+200D stay: words and emoji are built with them.
    "[\xad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff\ufdd0-\ufdef\U000e0000-\U000e007f\U000e0100-\U000e01ef]"
)  # shown nowhere, or turn text around: left out


def one_line(text: str, longest: int | None = None) -> str:
    """The text on one line: runs of blanks, line breaks and control characters become one blank, marks that turn the direction
    of text and invisible tags are left out. longest: characters it may have; a longer one ends in "…"."""
    line = " ".join(CONTROL.sub(" ", UNSEEN.sub("", text)).split())
    return line if longest is None or len(line) <= longest else line[: longest - 1].rstrip() + "…"


def as_value(value: object, longest: int | None) -> str | tuple[str, ...] | None:
    """What stands for a value in a template: text for text and numbers, a tuple for a list of texts, "" or () for nothing
    (None, NaN, blanks, a list of such). None for what is neither."""
    if isinstance(value, str):
        return one_line(value, longest)
    if value is None:
        return ""
    if isinstance(value, Number):
        return "" if value != value else str(value)  # NaN is how a frame says "no value"
    if isinstance(value, (list, tuple)) and all(isinstance(part, str) for part in value):
        found = tuple(one_line(part, longest) for part in value)
        return found if any(found) else ()
    return None
