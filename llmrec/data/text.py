"""Item text as a model should read it: entities unescaped, tags and control characters gone, one kind of space, capped."""

from __future__ import annotations

import html
import re
import unicodedata
from html.entities import html5

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

REPAIRS = ("html", "unicode", "space", "capped")

# Only with the semicolon: "fish&notes" is not "fish¬es".
_ENTITY = re.compile(r"&(#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_AMP = re.compile(r"&(?:(?:amp|AMP|#0{0,4}38|#[xX]0{0,4}26);)+")
# Only tags that HTML has, with attributes of the form name=value: "a <b and c> d" is text.
_TAG = re.compile(
    r"</?(?:a|b|i|u|p|s|br|hr|em|li|ol|ul|td|th|tr|dd|dl|dt|h[1-6]|div|img|pre|sub|sup|big|small|span|font|body|html|head|"
    r"table|tbody|thead|strong|center|strike|script|style|blockquote|iframe)"
    r"(?:\s{1,9}[\w-]{1,40}\s?=\s?(?:\"[^\"<>]*\"|'[^'<>]*'|[^\s<>\"']+))*\s{0,9}/?>",
    re.IGNORECASE,
)
# Invisible: controls, soft hyphen, zero-width space, direction marks, byte-order mark. The joiner U+200D and the variation
# selectors stay: emoji are built with them.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff\ud800-\udfff]"
)
_CLEAN = r"^[!-%'-;=-~]+( [!-%'-;=-~]+)*$"  # printable ASCII but & and <, single spaces: nothing to do
_ROUNDS = 16  # nested deeper than anyone escapes by accident: the rest is not unescaped
_SLACK = 8  # a text far over the cap is cut before the work, so that a megabyte costs no more than a few thousand characters


def normalise(text: str, cap: int = 2000) -> str:
    """`text` with HTML entities unescaped (however often they were escaped), HTML tags and invisible characters removed,
    Unicode in NFKC, white space collapsed, and at most `cap` characters. Idempotent; emoji survive."""
    return _normalise(text, cap)[0]


def normalise_column(column: pa.ChunkedArray, cap: int = 2000) -> tuple[pa.ChunkedArray, np.ndarray, dict[str, int]]:
    """A text column normalised.

    Returns the column (large_string, nulls kept), bool (rows,) of what changed, and the number of rows by kind of repair.
    """
    encoded = column.cast(pa.large_string()).combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.unify_dictionaries().combine_chunks()
    distinct = encoded.dictionary
    easy = pc.and_(pc.match_substring_regex(distinct, _CLEAN), pc.less_equal(pc.utf8_length(distinct), cap))
    hard = np.flatnonzero(~easy.to_numpy(zero_copy_only=False))
    values = distinct.to_pylist()
    repaired = np.zeros((len(values) + 1, len(REPAIRS)), bool)  # the last row is null's
    for index in hard.tolist():
        values[index], repaired[index] = _normalise(values[index], cap)
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    by_row = repaired[codes]
    result = pa.chunked_array([pa.array(values, pa.large_string()).take(encoded.indices)])
    counts = {name: int(count) for name, count in zip(REPAIRS, by_row.sum(axis=0), strict=True) if count}
    return result, by_row.any(axis=1), counts


def folded(text: str) -> str:
    """The words of `text` without case, punctuation, order or repetition: equal for titles that differ in nothing else."""
    return " ".join(sorted(set(re.findall(r"\w+", text.casefold()))))


def _normalise(text: str, cap: int) -> tuple[str, tuple[bool, ...]]:
    markup = unicode = space = False
    capped = len(text) > _SLACK * cap
    text = text[: _SLACK * cap]
    before, rounds = None, 0
    while text != before:  # to the fixed point: unescaping may bring a tag, and removing a character may bring an entity
        before, rounds = text, rounds + 1
        if rounds > _ROUNDS:
            text = text.replace("&", " ")
        step = _TAG.sub(" ", _ENTITY.sub(_character, _AMP.sub("&", text)))
        markup |= step != text
        text = step
        step = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text))
        unicode |= step != text
        text = step
        step = " ".join(text.split())
        space |= step != text
        text = step
    if len(text) > cap:
        capped, text = True, text[:cap].rstrip()
    return text, (markup, unicode, space, capped)


def _character(match: re.Match) -> str:
    name = match.group(1)
    return html.unescape(match.group()) if name.startswith("#") else html5.get(name + ";", match.group())
