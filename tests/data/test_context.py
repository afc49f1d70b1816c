"""The context of a request: columns of the events, the hour and weekday of the timestamp, and what a call may say."""

from __future__ import annotations

import dataclasses
import datetime
import json
import re

import numpy as np
import pandas as pd
import pytest

from llmrec.data.attributes import Encoding
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
                row = request_context(dataset.context, {})[0].codes if place > known else np.array([codes], np.float32)
                alone = type(tasks.context)(dataset.context, row).blocks()[0]
                assert np.array_equal(batch.context[t, place], alone)
    asked = slots(type(tasks)(tasks.dataset, tasks.start, tasks.split, tasks.stop), 8)
    assert not asked.context[np.arange(10), asked.length].any()  # nothing of the query is read where no request is given


def test_what_a_call_says_of_its_context(dataset):
    found, notes = request_context(dataset.context, {"device": "phone", "hour": 5})
    assert found.known.tolist() == [[name in ("device", "hour") for name in dataset.context.names]] and notes == ()
    assert not request_context(dataset.context, {})[0].some.any()
    with pytest.raises(
        DataError, match="context: 'page' was not fitted, expected one of 'battery', 'device', 'hour', 'weekday'"
    ):
        request_context(dataset.context, {"page": "home"})
    with pytest.raises(DataError, match=r"this model was fitted without; name the columns in fit\(..., context="):
        request_context(None, {"hour": 5})
    with pytest.raises(DataError, match="context is 5, expected a dict"):
        request_context(dataset.context, 5)


@pytest.mark.parametrize("value", [object(), 2**70, pd.NaT, "\ud800", 1j])
def test_a_value_that_is_neither_text_nor_flag_nor_number_is_refused_by_its_name(dataset, value):
    with pytest.raises(DataError, match=r"context\['device'\] is .*, expected text, a flag or a number"):
        request_context(dataset.context, {"device": value})


@pytest.mark.parametrize("value", [None, float("nan"), np.float32("nan"), pd.NA, " "])
@pytest.mark.parametrize("name", ["device", "battery"])
def test_a_missing_value_is_missing_without_a_note(dataset, name, value):
    found, notes = request_context(dataset.context, {name: value})
    assert not found.some.any() and notes == ()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"device": "phne"}, "context: device is 'phne', which was rare .*; expected 'desk', 'phone'$"),
        ({"hour": 25}, "hour is 25, .*; expected '11', '17', '23', '5'$"),
        ({"weekday": 9}, "weekday is 9, .*; expected '0', '1', '2', '3', '5' and 1 more$"),
        ({"hour": True}, "hour is True, which was rare or absent"),
        ({"battery": float("inf")}, "battery is inf, .* expected a finite number"),
    ],
)
def test_a_value_that_was_not_learned_is_missing_and_named(dataset, given, message):
    found, notes = request_context(dataset.context, given)
    assert not found.some.any() and len(notes) == 1 and re.search(message, notes[0])


def test_later_events_note_what_was_not_learned(dataset):
    report = events_for(dataset.catalogue, table().assign(device="fridge"), context=dataset.context)[1]
    assert any("device 'fridge' was in too few rows" in note for note in report.notes)
    report = events_for(dataset.catalogue, table(), context=dataset.context)[1]
    assert not any("learned" in note or "not read" in note for note in report.notes)


def test_hour_comes_from_where_it_came_from_when_it_was_learned(dataset):
    """A column of that name, or the timestamp; also after the encoding was saved."""
    own = build(table().assign(hour=7), context=["hour"])[0]
    for encoding in (own.context, Encoding.from_dict(json.loads(json.dumps(dataclasses.asdict(own.context))))):
        without = events_for(own.catalogue, table(), context=encoding)[0]
        assert np.isnan(without.attributes[code_name("hour")]).all()
    plain = events_for(dataset.catalogue, table(), context=dataset.context)[0]
    for encoding in (dataset.context, Encoding.from_dict(json.loads(json.dumps(dataclasses.asdict(dataset.context))))):
        other, report = events_for(dataset.catalogue, table().assign(hour=5), context=encoding)
        assert values(other, "hour").tolist() == values(plain, "hour").tolist() and len(set(values(other, "hour"))) > 1
        assert any("column 'hour' is not read" in note for note in report.notes)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("hour", "context is the text 'hour', expected a list"),
        (["page"], "events have no column 'page', expected one of 'device', 'battery', 'empty', 'hour' or"),
        (["rating"], "'rating' is read as it is in every event"),
        (["empty"], "no column can be read.*'empty' is empty"),
    ],
)
def test_a_name_that_cannot_be_context_is_refused(names, message):
    with pytest.raises(DataError, match=message):
        build(table().assign(rating=5, empty=None), context=names)
