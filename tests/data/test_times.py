from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pytest

from llmrec.data.times import seconds, time_notes
from llmrec.errors import DataError, SchemaError

MOMENT = datetime(2014, 7, 14, 1, 2, 3, 250_000, tzinfo=UTC)
SECONDS = 1_405_299_723.25


def read(values, kind=None):
    return seconds(pa.chunked_array([pa.array(values, kind)]))[0]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_numbers_by_magnitude_and_datetimes_agree_in_every_unit(unit):
    factor = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    whole = int(SECONDS)
    for kind in (pa.int64(), pa.float64(), pa.timestamp(unit), pa.timestamp(unit, "Europe/Amsterdam")):
        column = pa.chunked_array([pa.array([whole * factor, None], pa.int64())]).cast(kind, safe=False)
        read_back, how = seconds(column)
        assert read_back[0] == whole
        assert np.isnan(read_back[1])
        assert how.endswith(unit)


def test_text_forms_are_one_moment():
    forms = [
        "2014-07-14T01:02:03.25Z",
        "2014-07-14 01:02:03.25",
        "2014-07-14T03:02:03.250000+02:00",
        " 2014-07-14T01:02:03.250 ",
    ]
    assert read(forms).tolist() == [SECONDS] * 4
    assert read(forms[1:2]).tolist() == [SECONDS]


def test_dates_are_midnight_utc():
    midnight = datetime(2014, 7, 14, tzinfo=UTC).timestamp()
    assert read([date(2014, 7, 14)]).tolist() == [midnight]
    assert read(["2014-07-14"]).tolist() == [midnight]
    assert read(["20140714", "2014-07-14"]).tolist() == [midnight, midnight]


def test_digits_in_text_are_numbers_not_dates():
    # The first eight digits of these milliseconds are also the date 1405-01-01 of ISO's compact form.
    assert read(["1405010112345", "1405299723250"]).tolist() == [1405010112.345, SECONDS]


def test_sub_second_order_is_kept():
    times = [MOMENT + timedelta(microseconds=step) for step in range(5)]
    assert (np.diff(read(times)) > 0).all()


def test_zones_are_honoured():
    here = MOMENT.astimezone(timezone(timedelta(hours=-7)))
    assert read([here]).tolist() == [SECONDS]


def test_what_does_not_parse_is_nan():
    known = read(["2014-07-14", "yesterday", "", None, "13/01/2014", "inf", "2014-13-32"])
    assert np.isnan(known).tolist() == [False] + 6 * [True]
    assert np.isnan(read([1.0, float("nan"), float("inf")])).tolist() == [False, True, True]
    assert np.isnan(read([None, None], pa.null())).all()


def test_a_type_that_is_no_time_is_refused():
    with pytest.raises(SchemaError, match="'timestamp' is bool"):
        read([True])


# ---------------------------------------------------------------------------------------- dates written as numbers

DAY = datetime(2021, 1, 5, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([20210105, 20210106], [DAY, DAY + 86_400]),
        ([20210105.0, float("nan")], [DAY, np.nan]),
        ([20210105, 20211345, 20210106], [DAY, np.nan, DAY + 86_400]),  # there is no month 13
        ([20210105, 20210229, 20200229], [DAY, np.nan, datetime(2020, 2, 29, tzinfo=UTC).timestamp()]),
        ([20210105, 0, 20210105], [DAY, np.nan, DAY]),
        ([2021010523, 2021010500], [DAY + 23 * 3600, DAY]),
        ([202101051259, 202101050000], [DAY + 12 * 3600 + 59 * 60, DAY]),
        ([20210105125903, 20210105000000], [DAY + 12 * 3600 + 59 * 60 + 3, DAY]),
        ([20201231120000, 20201231250000], [datetime(2020, 12, 31, 12, tzinfo=UTC).timestamp(), np.nan]),
    ],
)
def test_digits_that_are_dates_are_dates(values, expected):
    np.testing.assert_array_equal(read(values), expected)
    text = [None if value != value else str(int(value)) for value in values]
    if min(map(len, filter(None, text))) > 8:  # text of eight digits is a date of its own
        np.testing.assert_array_equal(read(text), expected)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([2019, 2020, 2021], "2019, which look like years"),
        ([2019.5, 2020.25], "look like years"),
        ([202101, 202012], "look like months, YYYYMM"),
        ([44201.5, 44202.25], "44201.5, which look like days of a spreadsheet"),
        ([44201, 44202, 44203], "days of a spreadsheet"),
        ([2459220.5, 2459221.5], "Julian days"),
        ([637_453_152_000_000_000], "ticks of .NET"),
        ([132_541_056_000_000_000], "Windows file times"),
        (
            [1_700_000_000, 1_700_086_400, 1_700_172_800_000],
            "mixes units: 1700000000 looks like a time in s, 1700172800000 like a",
        ),
        ([1_700_000_000_000] * 3 + [1_700_000_000], "1700000000 looks like a time in s, 1700000000000 like a time in ms"),
        ([1_700_000_000_000_000, 1_700_000_000_000_000, 1_700_000_000], "mixes units"),
        ([1_700_000_000_000_000_000, 1_700_000_000_000], "mixes units"),
        ([1_700_000_000, 20210105, 1_700_000_000], "mixes units"),
        ([20210105, 20210106, 1_609_804_800], "20210105 looks like a date YYYYMMDD, 1609804800 like a number since 1970"),
    ],
)
@pytest.mark.parametrize("as_text", [False, True])
def test_numbers_that_are_no_times_are_refused_with_the_remedy(values, said, as_text):
    if as_text and any(len(str(value)) == 8 for value in values):
        return  # as text these are dates
    with pytest.raises(DataError, match=said.replace(".", r"\.")) as caught:
        read([str(value) for value in values] if as_text else values)
    assert "column 'timestamp'" in str(caught.value) and "pandas.to_datetime" in str(caught.value)


@pytest.mark.parametrize(
    "values",
    [
        list(range(12)),
        list(range(100_000)),
        [-5, 0, 3],
        [0, 0, 0],
        [5.5, 6.5],
        (np.arange(900) * 86_400).tolist(),
        (np.arange(5000) * 3600).tolist(),
        [0, 1_700_000_000, 1_700_000_001],  # 0 where the time is not known
        [*[1_700_000_000] * 20, 253_402_300_799],  # the year 9999
        (1_700_000_000 + np.arange(5000) * 10_000_000).tolist(),  # far into the future, without a gap
        [946_684_800, 1_893_456_000],  # 2000 and 2030
        [1_950_000_000, 1_982_103_122, 2_016_482_676],  # of 2031 to 2033; the digits of the second are also a date
    ],
)
def test_orders_and_seconds_stay_as_they_are(values):
    assert read(values).tolist() == values


def notes(column, baskets=False, user=None):
    column = column if isinstance(column, pa.Array) else pa.array(column)
    time, _ = seconds(pa.chunked_array([column]))
    return " | ".join(time_notes(pa.chunked_array([column]), time, pa.chunked_array([user or ["u"] * len(time)]), baskets))


def test_what_is_strange_about_times_is_noted():
    assert "numbers from 0 to 11, read as seconds since 1970" in notes(range(12))
    assert notes([1_700_000_000, 1_700_000_007]) == ""
    assert "1 timestamp far in the future, up to 9999-12-31" in notes(["2020-01-01 10:00:00", "9999-12-31 10:00:00"])
    assert "1 timestamp far in the future, up to 2999-01-01" in notes(["2020-01-01 10:00:00", "2999-01-01 10:00:00"])
    assert "1 timestamp before 1980, from 1970-01-01" in notes([0, 1_700_000_001])
    assert "float, in which times differ only in steps of 128" in notes(pa.array([1.7e9, 1.7e9], pa.float32()))


def test_whole_days_are_noted_where_no_basket_ids_order_them():
    days = ["2024-01-01", "2024-01-01", "2024-01-02"]
    assert "all timestamps are whole days; 2 events share their user and day" in notes(days)
    assert "whole days; no user has two events on one day" in notes(days, user=["u", "v", "u"])
    assert "whole days" in notes([date(2024, 1, 1)] * 2) and "whole days" in notes([20240101, 20240102])
    assert notes(days, baskets=True) == "" == notes([*days, "2024-01-01 00:00:01"])
