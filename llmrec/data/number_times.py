"""Timestamps that are numbers: seconds to nanoseconds since 1970, and dates written as digits; what is neither is refused."""

from __future__ import annotations

import re

import numpy as np

from llmrec.errors import DataError

_PER_SECOND = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
_DIGITS = {8: "YYYYMMDD", 10: "YYYYMMDDHH", 12: "YYYYMMDDHHMM", 14: "YYYYMMDDHHMMSS"}
_DATES = (19_000_101, 21_010_101)  # the dates that digits may be: 1900 to 2100
_PLAUSIBLE = (631_152_000.0, 4_102_444_800.0)  # 1990 to 2100, in seconds
_MOST = 0.9  # of the values
# Other forms of dates as digits, and the numbers that they may be: from, below.
_OTHER_DIGITS = ((("DDMMYYYY", "MMDDYYYY"), 10**6, 10**8), (("YYMMDD",), 10**5, 10**6))
# What numbers in a range are likely to be, low <= value < high, and how pandas reads them.
_OTHER = (
    (1900, 2101, "years", 'pandas.to_datetime(column, format="%Y")'),
    (190_001, 210_013, "months, YYYYMM", 'pandas.to_datetime(column, format="%Y%m")'),
    (
        32_874,
        54_789,
        "days of a spreadsheet, counted from 1899-12-30",
        'pandas.to_datetime(column, unit="D", origin="1899-12-30")',
    ),
    (726_468, 767_012, "days counted from the year 1", 'pandas.to_datetime(column - 719163, unit="D")'),
    (2_447_000.0, 2_489_000.0, "Julian days", 'pandas.to_datetime(column, unit="D", origin="julian")'),
    (
        6.2e17,
        6.6e17,
        "ticks of .NET, 100 ns since the year 1",
        'pandas.to_datetime((column - 621355968000000000) // 10, unit="us")',
    ),
    (
        1.22e17,
        1.4e17,
        "Windows file times, 100 ns since 1601",
        'pandas.to_datetime((column - 116444736000000000) // 10, unit="us")',
    ),
)


def number_times(values: np.ndarray) -> tuple[np.ndarray, str]:
    """float64 (rows,) seconds since 1970, NaN where there is no time, and how the numbers were read.

    Digits that are valid dates (20210105, 20201231120000) are dates. Other numbers are seconds, milliseconds, microseconds or
    nanoseconds: the unit in which they are of 1990 to 2100, or else by the magnitude of their median. Raises DataError for a
    column of two units, and for numbers that are likely to be something else: years, months, days of a spreadsheet,
    dates with the day or the month first.
    """
    there = np.isfinite(values)
    known = values[there]
    if not len(known):
        return np.full(len(values), np.nan), "numbers"
    for digits, form in _DIGITS.items():
        low, high = (limit * 10 ** (digits - 8) for limit in _DATES)
        if not ((known >= low) & (known < high)).any():
            continue
        dates = _from_digits(known, digits)
        is_date = np.isfinite(dates)
        plausible = ~is_date & np.any([_plausible(known, unit) for unit in _PER_SECOND], axis=0)
        # Ten digits are also seconds of 2030 to 2036, some of which are valid dates.
        if digits != 10 and is_date.any() and plausible.any() and (is_date | plausible).mean() > _MOST:
            _two_kinds(known[is_date][0], f"date {form}", known[plausible][0], "number since 1970")
        if is_date.mean() >= 0.5:
            result = np.full(len(values), np.nan)
            result[there] = dates
            return result, f"numbers of the form {form}"
    _refuse_others(known)
    found = {unit: _plausible(known, unit) for unit in _PER_SECOND}
    later = known >= _PLAUSIBLE[0]
    sure = later.any() and np.any(list(found.values()), axis=0)[later].mean() > _MOST  # no numbers between those of two units
    units = [unit for unit, which in found.items() if which.any()] if sure else []
    if len(units) > 1:
        first, second = (known[found[unit]][0] for unit in units[:2])
        _two_kinds(first, f"time in {units[0]}", second, f"time in {units[1]}")
    unit = units[0] if units else _unit(float(np.median(np.abs(known))))
    return values / _PER_SECOND[unit], f"numbers in {unit}"


def _unit(size: float) -> str:
    # 1e11 s is the year 5138 and 1e11 ms is 1973: between real dates the units do not overlap.
    return "s" if size < 1e11 else "ms" if size < 1e14 else "us" if size < 1e17 else "ns"


def _plausible(known: np.ndarray, unit: str) -> np.ndarray:
    """bool: a time of 1990 to 2100 in a unit."""
    low, high = (limit * _PER_SECOND[unit] for limit in _PLAUSIBLE)
    return (known >= low) & (known <= high)


def _from_digits(known: np.ndarray, digits: int) -> np.ndarray:
    """float64 seconds of numbers that are dates of 1900 to 2100 in YYYYMMDD and the like, NaN for others."""
    scale = 10 ** (digits - 8)
    fits = (known == np.floor(known)) & (known >= _DATES[0] * scale) & (known < _DATES[1] * scale)
    whole = np.where(fits, known, _DATES[0] * scale).astype(np.int64)
    day, rest = whole // scale, whole % scale
    clock = rest * 10 ** (14 - digits)
    hour, minute, second = clock // 10_000, clock // 100 % 100, clock % 100
    year, month, of_month = day // 10_000, day // 100 % 100, day % 100
    fits &= (month >= 1) & (month <= 12) & (hour < 24) & (minute < 60) & (second < 60)
    first = ((year - 1970) * 12 + np.clip(month, 1, 12) - 1).astype("datetime64[M]")
    length = ((first + 1).astype("datetime64[D]") - first.astype("datetime64[D]")).astype(np.int64)
    fits &= (of_month >= 1) & (of_month <= length)
    days = first.astype("datetime64[D]").astype(np.int64) + of_month - 1
    return np.where(fits, days * 86_400.0 + hour * 3600 + minute * 60 + second, np.nan)


def _refuse_others(known: np.ndarray) -> None:
    for low, high, name, remedy in _OTHER:
        inside = (known >= low) & (known < high)
        if name.startswith("months"):
            inside &= (known % 100 >= 1) & (known % 100 <= 12)
        if inside.mean() >= _MOST:
            _refuse(_shown(known[inside][0]), name, remedy)
    for forms, least, high in _OTHER_DIGITS:
        inside = (known >= least) & (known < high)
        valid = {form: inside & np.isfinite(_from_digits(_as_ymd(known, form), 8)) for form in forms}
        if np.any(list(valid.values()), axis=0).mean() >= _MOST:
            best = max(int(which.sum()) for which in valid.values())
            fitting = [form for form, which in valid.items() if which.sum() == best]
            codes = [re.sub(r"([DMY])\1*", lambda m: "%Y" if m[0] == "YYYY" else f"%{m[1].lower()}", form) for form in fitting]
            remedy = (
                f"pandas.to_datetime(column.astype(int).astype(str).str.zfill({len(forms[0])}), "
                f"format={' or '.join(map(repr, codes))})"
            )
            example = f"{known[valid[fitting[0]]][0]:0{len(forms[0])}.0f}"
            _refuse(example, f"dates, {' or '.join(fitting)}", remedy)


def _as_ymd(known: np.ndarray, form: str) -> np.ndarray:
    """Digits of a form such as DDMMYYYY as YYYYMMDD, NaN for fractions; a year of two digits is of 1990 to 2089."""

    def part(letter: str) -> np.ndarray:
        return known // 10 ** (len(form) - 1 - form.rindex(letter)) % 10 ** form.count(letter)

    year = part("Y")
    if form.count("Y") == 2:
        year = year + np.where(year < 90, 2000, 1900)
    return np.where(known == np.floor(known), year * 10_000 + part("M") * 100 + part("D"), np.nan)


def _refuse(example: str, name: str, remedy: str) -> None:
    raise DataError(
        f"events: column 'timestamp' holds numbers such as {example}, which look like {name}; "
        f"expected datetimes, ISO 8601 text or numbers since 1970. Convert the column with {remedy} (in a file: write dates as "
        '2026-04-03), or, if they are seconds or an order, with pandas.to_datetime(column, unit="s")'
    )


def _two_kinds(first: float, its: str, second: float, others: str) -> None:
    raise DataError(
        f"events: column 'timestamp' mixes units: {_shown(first)} looks like a {its}, {_shown(second)} like a {others}; "
        'expected one. Convert each part with pandas.to_datetime(part, unit=...), unit "s" or "ms", or format="%Y%m%d"'
    )


def _shown(value: float) -> str:
    return f"{value:.0f}" if value == np.floor(value) else repr(float(value))
