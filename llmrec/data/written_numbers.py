"""Numbers as people write them: decimal commas, thousands apart, currencies; told by the values, never by the place."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from llmrec.data.files import FLAGS, MISSING
from llmrec.data.frames import coded

_CURRENCY = re.compile(r"(?i)\s*(€|£|us\$|\$|¥|￥|元|eur|usd|gbp|chf|cny|rmb|kr)\.?\s*")
_BETWEEN = " \u00a0\u202f'’"  # between thousands, besides the comma and the point
_PLAIN = re.compile(r"[+-]?[0-9]+")
_FLOAT = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)[eE][+-]?[0-9]+")
_MACHINE = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_SAY_DECIMAL = "Say --decimal comma or --decimal point"
_SIGNS = {",": ".", ".": ","}
_SIMPLE = re.compile(r"[+-]?([0-9]+)(?:([.,])([0-9]+))?")
_GROUPED = {
    sign: re.compile(
        rf"([+-]?)([0-9]+|[0-9]{{1,3}}([{_BETWEEN}{re.escape(apart)}])[0-9]{{3}}(?:\3[0-9]{{3}})*)?"
        rf"(?:{re.escape(sign)}([0-9]*))?"
    )
    for sign, apart in _SIGNS.items()
}


@dataclass(frozen=True)
class Numbers:
    """A column of text read as numbers.

    values: float64 (rows,), NaN where there is none. lost: bool (rows,), text that is no number. decimal: the decimal sign
    found in the column, None where no value tells. repaired: how many are not as a computer writes them.
    """

    values: np.ndarray
    lost: np.ndarray
    decimal: str | None
    repaired: int


@dataclass(frozen=True)
class Doubt:
    """Why a column of text is not read as numbers.

    texts: values that show it. said: it in words. remedy: what a person can do about it.
    """

    texts: tuple[str, ...]
    said: str
    remedy: str


def evidence(texts: list[str]) -> dict[str, int]:
    """Decimal sign -> the position of the first text that can be read with it alone; absent where no text tells."""
    found: dict[str, int] = {}
    for place, text in enumerate(texts):
        if len(found) == 2:
            break
        if simple := _SIMPLE.fullmatch(text):
            whole, sign, rest = simple.groups()
            if sign and not (len(rest) == 3 and len(whole) <= 3 and whole[0] != "0"):  # else these may be thousands
                found.setdefault(sign, place)
            continue
        bare = _bare(text)[0]
        fits = [sign for sign in _SIGNS if _value(bare, sign) is not None]
        if len(fits) == 1:
            found.setdefault(fits[0], place)
    return found


def ambiguous(texts: list[str]) -> str | None:
    """The first text that is another number with a decimal comma than with a point, such as "1,234"; None without any."""
    for text in texts:
        comma, point = (_value(_bare(text)[0], sign) for sign in ",.")
        if comma is not None and point is not None and comma != point:
            return text
    return None


def read_numbers(column: pa.ChunkedArray, decimal: str | None) -> Numbers | Doubt:
    """A column of text as numbers; `decimal` is the sign where the column's own values do not tell, or None.

    A Doubt where values tell two signs or could be read in two ways, or name two currencies.
    """
    code, texts = coded(column.cast(pa.large_string()))
    own = evidence(texts)
    if len(own) == 2:
        comma, point = texts[own[","]], texts[own["."]]
        said = f"mixes numbers with a decimal comma and a decimal point, such as {comma!r} and {point!r}"
        return Doubt((comma, point), said, _SAY_DECIMAL)
    sign = next(iter(own), decimal)
    if sign is None and (text := ambiguous(texts)) is not None:
        return Doubt((text,), f"{text!r} is one number with a decimal comma and another with a decimal point", _SAY_DECIMAL)
    return _read(code, texts, sign or ".", next(iter(own), None))


def read_flags(column: pa.ChunkedArray) -> Numbers | None:
    """A column of true and false alone, as 1 and 0; None of any other."""
    code, texts = coded(column.cast(pa.large_string()))
    flags = [None if text.strip() in MISSING else text.strip() for text in texts]
    if not any(flags) or any(flag is not None and flag not in FLAGS for flag in flags):
        return None
    values = np.array([*(np.nan if flag is None else float(flag.lower() == "true") for flag in flags), np.nan])
    return Numbers(values[code], np.zeros(len(code), bool), None, 0)


def read_given(column: pa.ChunkedArray, decimal: str) -> Numbers | Doubt:
    """A column of text as numbers with a decimal sign that is given; text that does not fit it is lost.

    A Doubt where values name two currencies.
    """
    code, texts = coded(column.cast(pa.large_string()))
    return _read(code, texts, decimal, decimal)


def _read(code: np.ndarray, texts: list[str], sign: str, found: str | None) -> Numbers | Doubt:
    values, lost, odd = np.full(len(texts) + 1, np.nan), np.zeros(len(texts) + 1, bool), np.zeros(len(texts) + 1, bool)
    currencies: dict[str, str] = {}
    for place, text in enumerate(texts):
        bare, currency = _bare(text)
        if not bare or bare in MISSING or bare.casefold() == "nan":
            continue
        if currency:
            currencies.setdefault(currency, text)
        value = _value(bare, sign)
        lost[place] = value is None
        if value is not None:
            values[place] = value
            odd[place] = not _MACHINE.fullmatch(text.strip()) or float(text) != value
    if len(currencies) > 1:
        one, other, *_ = currencies.values()
        said = f"holds prices in two currencies, such as {one!r} and {other!r}"
        return Doubt((one, other), said, "Bring them to one in the export")
    return Numbers(values[code], lost[code], found, int(odd[code].sum()))


def _bare(text: str) -> tuple[str, str]:
    """The text without a currency, which comes second, without a dash for no cents, and with a minus behind put in front."""
    if _SIMPLE.fullmatch(text):
        return text, ""
    text = text.strip().replace("−", "-")
    found = _CURRENCY.match(text) or _CURRENCY.match(text[1:] if text[:1] in "+-" else "")
    currency = ""
    if found:
        currency, text = found.group(1).casefold(), _CURRENCY.sub("", text, count=1)
    elif text and (last := re.search(_CURRENCY.pattern + r"$", text)) and any(character.isdigit() for character in text):
        currency, text = last.group(1).casefold(), text[: last.start()]
    text = re.sub(r"(?<=[0-9])[.,][-–—]+$", "", text.strip())  # 5.- and 5,– are five
    if re.fullmatch(r"[0-9].*[0-9]\s?-|[0-9]-", text):
        text = "-" + text[:-1].strip()
    return text, currency


def _value(text: str, decimal: str) -> float | None:
    """The number that a text is with a decimal sign, None where it is none."""
    if _PLAIN.fullmatch(text):
        return float(text)
    if _FLOAT.fullmatch(text) and (decimal == "." or "." not in text):
        return float(text)
    found = _GROUPED[decimal].fullmatch(text)
    if found is None or not (found.group(2) or found.group(4)):
        return None
    if found.group(3) in (",", ".") and found.group(2)[0] == "0":
        return None  # 0,500 is a half: no thousands begin with a zero
    whole = re.sub(r"[^0-9]", "", found.group(2) or "0")
    return float(f"{found.group(1)}{whole}.{found.group(4) or '0'}")
