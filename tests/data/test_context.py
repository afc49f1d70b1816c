"""The context of a request: columns of the events, the hour and weekday of the timestamp, and what a call may say."""

from __future__ import annotations

import datetime

import numpy as np
import pandas as pd
import pytest

from llmrec.data.build import build, events_for
from llmrec.data.context import code_name, request_context
from llmrec.data.merge import merge
from llmrec.data.tasks import first_baskets
from llmrec.encoder.slots import slots
from llmrec.errors import DataError


def table(seed: int = 0) -> pd.DataFrame:
    """10 users with 6 events each, one every 30 hours from a Monday on; users of odd number are on a phone."""
    start = datetime.datetime(2024, 1, 1, 5, tzinfo=datetime.UTC).timestamp()
    rows = [
        (
            f"u{user}",
            f"i{(user + step + seed) % 7}",
            start + 108_000.0 * step + user,
            ("desk", "phone")[user % 2],
            0.5 + 0.1 * step,
        )
        for user in range(10)
        for step in range(6)
    ]
    return pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp", "device", "battery"])


@pytest.fixture(scope="module")
def dataset():
    return build(table(), context=["device", "hour", "weekday", "battery"])[0]


def values(dataset, name: str) -> np.ndarray:
    column = next(column for column in dataset.context.columns if column.name == name)
    code = dataset.attributes[code_name(name)]
    return np.array(column.levels)[code.astype(int)] if column.levels else code


def test_columns_are_read_and_the_timestamp_gives_hour_and_weekday(dataset):
    when = [datetime.datetime.fromtimestamp(second, datetime.UTC) for second in dataset.time]
    assert values(dataset, "hour").tolist() == [str(time.hour) for time in when]
    assert values(dataset, "weekday").tolist() == [str(time.weekday()) for time in when]
    assert values(dataset, "device").tolist() == [("desk", "phone")[user % 2] for user in dataset.user]
    own = build(table().assign(hour="noon"), context=["hour"])[0]  # a column of that name is taken as it is
    assert set(values(own, "hour")) == {"noon"}
    assert build(table())[0].context is None and code_name("device") not in build(table())[0].attributes


def test_codes_stay_with_their_events(dataset):
    later = table(3).assign(timestamp=lambda t: t.timestamp + 1e7, user_id=lambda t: "v" + t.user_id)
    more, _ = events_for(dataset.catalogue, later.drop(columns="battery"), context=dataset.context)
    both = merge(dataset.take(np.array([1, 0])), more)
    assert both.context == dataset.context
    names = [str(user).lstrip("v") for user in (both.users[number] for number in both.user)]
    assert values(both, "device").tolist() == [("desk", "phone")[int(name[1:]) % 2] for name in names]
    assert np.isnan(both.attributes[code_name("battery")][both.time > dataset.time.max()]).all()


def test_a_slot_has_the_context_of_the_basket_after_it_and_the_last_one_that_of_the_request(dataset):
    for known in (0, 2, 4):
        tasks = first_baskets(dataset, np.arange(10), known, 1)
        batch, width = slots(tasks, 8), dataset.context.width
        assert batch.context.shape == (10, batch.item.shape[1] + 1, width)
        for t in range(10):
            for place in range(batch.item.shape[1] + 1):
                event = int(tasks.start[t]) + min(place, known)  # the word is followed by event 0, slot 0 by event 1, ...
                codes = [dataset.attributes[code_name(name)][event] for name in dataset.context.names]
                row = request_context(dataset.context, {}).codes if place > known else np.array([codes], np.float32)
                alone = type(tasks.context)(dataset.context, row).blocks()[0]
                assert np.array_equal(batch.context[t, place], alone)
    asked = slots(type(tasks)(tasks.dataset, tasks.start, tasks.split, tasks.stop), 8)
    assert not asked.context[np.arange(10), asked.length].any()  # nothing of the query is read where no request is given


def test_what_a_call_says_of_its_context(dataset):
    found = request_context(dataset.context, {"device": "phone", "hour": 5})
    assert found.known.tolist() == [[name in ("device", "hour") for name in dataset.context.names]]
    assert not request_context(dataset.context, {"device": "fridge"}).some.any()
    assert not request_context(dataset.context, {}).some.any()
    with pytest.raises(
        DataError, match="context: 'page' was not fitted, expected one of 'battery', 'device', 'hour', 'weekday'"
    ):
        request_context(dataset.context, {"page": "home"})
    with pytest.raises(DataError, match=r"this model was fitted without; name the columns in fit\(..., context="):
        request_context(None, {"hour": 5})
    with pytest.raises(DataError, match="context is 5, expected a dict"):
        request_context(dataset.context, 5)
    with pytest.raises(DataError, match=r"context\['device'\] is <object"):
        request_context(dataset.context, {"device": object()})


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("hour", "context is the text 'hour', expected a list"),
        (["page"], "events have no column 'page', expected one of 'device', 'battery', 'empty', 'hour' or"),
        (["rating"], "'rating' is read as it is in every event"),
        (["empty"], "no column can be read.*'empty' holds nothing"),
    ],
)
def test_a_name_that_cannot_be_context_is_refused(names, message):
    with pytest.raises(DataError, match=message):
        build(table().assign(rating=5, empty=None), context=names)
