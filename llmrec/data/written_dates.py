"""Dates as people write them: day, month and year in the order that all values of a column allow, names of months, hours.

An order that the values leave open is never guessed.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone

import numpy as np
import pyarrow as pa

from llmrec.data.frames import coded

_CLOCK = (
    r"(?:(?:\s*[T,]\s*|\s+|\s+um\s+|\s+-\s+|\s+à\s+)(?P<noon>上午|下午)?\s*(?P<hour>\d{1,2})(?:[:：h.时](?P<minute>\d{2}))"
    r"(?:[:：.分](?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9}))?)?[分秒]?"
    r"\s*(?P<half>[aApP]\.?\s?[mM]\.?)?(?:\s*Uhr|h)?\s*(?P<zone>Z|UTC|GMT|[+-]\d{2}:?\d{2})?)?"
)
_OPEN = re.compile(r"(?P<a>\d{1,2})\s?(?P<by>[./-])\s?(?P<b>\d{1,2})\s?(?P=by)\s?(?P<c>\d{4}|\d{2})" + _CLOCK, re.ASCII)
_YEAR_FIRST = re.compile(r"(?P<c>\d{4})(?:[./-]|年)\s?(?P<b>\d{1,2})(?:[./-]|月)\s?(?P<a>\d{1,2})[日号]?" + _CLOCK, re.ASCII)
_NAMED = (
    re.compile(
        r"(?P<a>\d{1,2})(?:st|nd|rd|th|er|\.|º)?[\s-]*(?:de\s+)?(?P<name>[^\W\d_]{3,10})\.?[\s,-]*(?:del?\s+)?(?P<c>\d{4})"
        + _CLOCK
    ),
    re.compile(r"(?P<name>[^\W\d_]{3,10})\.?\s+(?P<a>\d{1,2})(?:st|nd|rd|th)?,?\s+(?P<c>\d{4})" + _CLOCK),
)
_MONTHS = (
    "jan january januar janner janvier janv enero ene",
    "feb february februar fevrier fevr fev febrero",
    "mar march marz maerz mars marzo mrz",
    "apr april avril avr abril abr",
    "may mai mayo",
    "jun june juni juin junio",
    "jul july juli juillet juil julio",
    "aug august aout agosto ago",
    "sep sept september septembre septiembre",
    "oct october okt oktober octobre octubre",
    "nov november novembre noviembre",
    "dec december dez dezember decembre diciembre dic",
)
_MONTH = {name: number for number, names in enumerate(_MONTHS, 1) for name in names.split()}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_ORDERS = ("dmy", "mdy", "ymd")
_EPOCH = datetime(1970, 1, 1)
_WEEKDAY = re.compile(r"^[^\W\d_]{2,10}\.?,?\s+(?=\d)")
_ZONE_NAME = re.compile(r"\s+(?:[A-Z][A-Za-z]{1,4}|\([^()]*\))$")
_SHORT_YEAR = re.compile(r"^(\d{1,2}\.?[\s-]*[^\W\d_]+\.?[\s,-]+|[^\W\d_]+\.?\s+\d{1,2}(?:st|nd|rd|th)?,?\s+)(\d{2})(?![\d:])")


@dataclass(frozen=True)
class Dates:
    """A column of text read as dates.

    times: timestamp[us] (rows,), null where there is none. lost: bool (rows,), text that is no date. order: "dmy", "mdy" or
    "ymd", None where no value needs one.
    """

    times: pa.ChunkedArray
    lost: np.ndarray
    order: str | None


@dataclass(frozen=True)
class Orders:
    """The orders of day, month and year that a column allows.

    fitting: those in which most values are dates. example: a text that they do not read alike; None where they do.
    against: a text that is a date only in another order than the one that fits; None without any.
    """

    fitting: tuple[str, ...]
    example: str | None = None
    against: str | None = None


def machine_written(texts: list[str]) -> bool:
    """Whether no text is a date in another form than ISO 8601 or a number, which need no format."""
    return not any(_OPEN.fullmatch(text) or _not_iso(text) for text in texts)


def is_number_text(text: str) -> bool:
    """Whether a text is a number, without an exponent or with one."""
    return _NUMBER.fullmatch(text) is not None


def unreadable(texts: list[str]) -> list[str]:
    """Texts that are neither ISO 8601 nor numbers."""
    return [text for text in texts if _iso(text) is None and not _NUMBER.fullmatch(text)]


def possible_orders(texts: list[str]) -> Orders:
    """The orders that fit the texts of a column, told by days above 12 and by years."""
    parts: dict[tuple[str, ...], str] = {}
    for text in texts:
        if found := _OPEN.fullmatch(text.strip()):
            parts.setdefault(found.group("a", "b", "c"), text)
    read = {order: [_day(numbers, order) for numbers in parts] for order in _ORDERS}
    count = {order: sum(day is not None for day in days) for order, days in read.items()}
    fitting = [order for order in _ORDERS if count[order] == max(count.values()) > 0]
    if not fitting:
        return Orders(())
    first, *others = (read[order] for order in fitting)
    for place, text in enumerate(parts.values()):
        if any(other[place] != first[place] for other in others):
            return Orders(tuple(fitting), text)
    for place, text in enumerate(parts.values()):
        if first[place] is None and any(days[place] is not None for days in read.values()):
            return Orders((fitting[0],), None, text)
    return Orders((fitting[0],))


def _day(numbers: tuple[str, ...], order: str) -> date | None:
    """The day that three numbers are in an order, a year of two or four digits among them; None where they are none."""
    part = {letter: numbers[at] for at, letter in enumerate(order)}
    if len(part["y"]) not in (2, 4) or len(part["d"]) > 2:
        return None
    try:
        return date(_whole_year(part["y"]), int(part["m"]), int(part["d"]))
    except ValueError:
        return None


def _whole_year(year: str) -> int:
    return int(year) if len(year) == 4 else int(year) + (2000 if int(year) < 69 else 1900)


def turned(texts: list[str]) -> str | None:
    """The first text with the year first that is a date only with day and month the other way round; None without any."""
    for text in texts:
        found = _YEAR_FIRST.fullmatch(text.strip())
        if found and _day(found.group("c", "b", "a"), "ymd") is None and _day(found.group("c", "a", "b"), "ymd") is not None:
            return text
    return None


def what_to_change(text: str) -> str:
    """How a text that is no date can be made one, as the beginning of a remedy; "" where that is not known."""
    bare = _ZONE_NAME.sub("", _WEEKDAY.sub("", text.strip()))
    for some, advice in ((text.strip(), []), (bare, ["Take the weekday or zone name off"])):
        whole = _SHORT_YEAR.sub(r"\g<1>20\2", some)
        if any(_moment(whole, order) is not None for order in _ORDERS):
            return ". ".join([*advice, *["Write the year with four digits"] * (whole != some), ""])
    return ""


def read_dates(column: pa.ChunkedArray, order: str | None) -> Dates:
    """A column of text as times, with the order of day, month and year where it is open; without a zone they are UTC."""
    code, texts = coded(column.cast(pa.large_string()))
    moments = [_moment(text.strip(), order) for text in texts]
    lost = np.array([moment is None and text.strip() != "" for text, moment in zip(texts, moments, strict=True)] + [False])
    micros = pa.array([*(None if moment is None else _micros(moment) for moment in moments), None], pa.int64())
    used = any(_OPEN.fullmatch(text.strip()) for text in texts)
    times = pa.chunked_array([micros.take(pa.array(code % len(micros))).cast(pa.timestamp("us"))])
    return Dates(times, lost[code], order if used else None)


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _not_iso(text: str) -> bool:
    text = text.strip()
    return (
        _iso(text) is None
        and not _NUMBER.fullmatch(text)
        and (bool(_YEAR_FIRST.fullmatch(text)) or any(pattern.fullmatch(text) is not None for pattern in _NAMED))
    )


def _iso(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def _moment(text: str, order: str | None) -> datetime | None:
    """The time that a text is, in UTC; None where it is none, also in this order."""
    if found := _OPEN.fullmatch(text):
        return _built(found, _day(found.group("a", "b", "c"), order)) if order else None
    if "-" in text and (moment := _iso(text)) is not None:
        return moment
    if re.fullmatch(r"(19|20)\d{6}", text):
        return _iso(text)
    if found := _YEAR_FIRST.fullmatch(text):
        return _built(found, _day(found.group("c", "b", "a"), "ymd"))
    for pattern in _NAMED:
        if found := pattern.fullmatch(text):
            folded = "".join(c for c in unicodedata.normalize("NFKD", found["name"].casefold()) if c.isalpha())
            return _built(found, _day((found["c"], str(_MONTH.get(folded, 0)), found["a"]), "ymd"))
    return None


def _built(found: re.Match[str], day: date | None) -> datetime | None:
    """The time on a day, None where there is no such day or time."""
    if day is None:
        return None
    hour, minute, second = (int(found[name] or 0) for name in ("hour", "minute", "second"))
    half = (found["half"] or "").lower()[:1] or {"上午": "a", "下午": "p"}.get(found["noon"] or "", "")
    if half and not 1 <= hour <= 12:
        return None
    hour = hour % 12 + 12 * (half == "p") if half else hour
    try:
        clock = time(hour, minute, second, int((found["fraction"] or "0").ljust(6, "0")[:6]))
    except ValueError:
        return None
    moment = datetime.combine(day, clock)
    zone = found["zone"]
    if zone and zone[0] in "+-":
        offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[-2:]))
        moment = moment.replace(tzinfo=timezone(-offset if zone[0] == "-" else offset)).astimezone(UTC).replace(tzinfo=None)
    return moment
