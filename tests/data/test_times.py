from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pytest

from llmrec.data.times import seconds
from llmrec.errors import SchemaError

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
    known = read(["2014-07-14", "yesterday", "", None, "13/01/2014", "inf", "2014-13-01"])
    assert np.isnan(known).tolist() == [False] + 6 * [True]
    assert np.isnan(read([1.0, float("nan"), float("inf")])).tolist() == [False, True, True]
    assert np.isnan(read([None, None], pa.null())).all()


def test_a_type_that_is_no_time_is_refused():
    with pytest.raises(SchemaError, match="'timestamp' is bool"):
        read([True])
