from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from llmrec.data.build import asked_for, build, events_for, read_catalogue
from llmrec.data.clean import Cleaning
from llmrec.data.dataset import Dataset
from llmrec.errors import DataError, DataLossWarning, SchemaError, UnknownItemError


def world(rng: np.random.Generator, rows: int = 800, users: int = 20, items: int = 30) -> dict:
    """Events with many ties; a basket has one user, but may last, so that baskets overlap in time."""
    user = rng.integers(0, users, rows)
    return {
        "user_id": [f"u{k:02d}" for k in user],
        "item_id": rng.integers(0, items, rows).tolist(),
        "timestamp": rng.integers(0, 12, rows).tolist(),
        "basket_id": (user * 10 + rng.integers(0, 6, rows)).tolist(),
        "price": rng.integers(1, 4, rows).astype(float).tolist(),
        "event_type": rng.choice(["view", "buy"], rows).tolist(),
        "scene": rng.choice(["north", "south"], rows).tolist(),
    }


def catalogue(items: int = 30) -> dict:
    return {"item_id": list(range(items)), "title": [f"title {k}" for k in range(items)]}


def flat(dataset: Dataset) -> dict:
    """Everything that a dataset says, as plain data."""
    known = {
        "users": dataset.users.values,
        "items": [dataset.catalogue.ids[k] for k in dataset.item],
        "start": dataset.start.tolist(),
        "time": dataset.time.tolist(),
        "basket": dataset.basket.tolist(),
        "scene": None if dataset.scene is None else dataset.scene.tolist(),
        "names": (dataset.event_types, dataset.scenes),
    }
    return known | {name: str(values.tolist()) for name, values in dataset.attributes.items()}


def reference(columns: dict) -> list[tuple]:
    """(user, basket ordinal, time, item, price, type, scene) by plain loops, in canonical order up to ties."""
    rows = sorted(set(zip(*columns.values(), strict=True)), key=str)
    begin: dict = {}
    for user, _, moment, basket, *_ in rows:
        begin[user, basket] = min(moment, begin.get((user, basket), np.inf))
    return sorted(
        (user, begin[user, basket], moment, item, price, kind, scene) for user, item, moment, basket, price, kind, scene in rows
    )


def test_events_and_their_attributes_survive_and_baskets_are_whole():
    columns = world(np.random.default_rng(0))
    dataset, report = build(columns, catalogue())
    began = np.repeat(np.minimum.reduceat(dataset.time, dataset.basket_start[:-1]), np.diff(dataset.basket_start))
    got = [
        (
            dataset.users[dataset.user[k]],
            began[k],
            dataset.time[k],
            dataset.catalogue.ids[dataset.item[k]],
            float(dataset.attributes["price"][k]),
            dataset.event_types[int(dataset.attributes["event_type"][k])],
            dataset.scenes[dataset.scene[k]],
        )
        for k in range(dataset.n_events)
    ]
    assert sorted(got) == reference(columns)
    # In order: user, then when the basket began, then basket, then time. Every (user, basket id) is one basket.
    keys = list(zip(dataset.user, began, dataset.basket, dataset.time, strict=True))
    assert keys == sorted(keys)
    assert len(dataset.basket_start) - 1 == len(set(zip(columns["user_id"], columns["basket_id"], strict=True)))
    assert dataset.basket[dataset.start[:-1]].tolist() == [0] * dataset.n_users
    assert dataset.users.values == sorted(set(columns["user_id"]))
    assert (np.diff(dataset.start) > 0).all()
    assert dataset.n_events == report.steps[-1].rows_out


@pytest.mark.parametrize("baskets", [True, False])
def test_the_order_of_the_rows_and_of_the_catalogue_changes_nothing(baskets):
    rng = np.random.default_rng(1)
    columns = pd.DataFrame(world(rng)).drop(columns=[] if baskets else ["basket_id"])
    items = pd.DataFrame(catalogue())
    expected = flat(build(columns, items, seed=3)[0])
    for _ in range(3):
        columns, items = columns.sample(frac=1, random_state=rng), items.sample(frac=1, random_state=rng)
        assert flat(build(columns, items, seed=3)[0]) == expected
    assert flat(build(columns, items, seed=4)[0]) != expected


def test_ties_are_neither_in_id_order_nor_in_row_order():
    """10,000 pairs of tied events: either order of a pair is as likely as the other, and the seed decides anew."""
    pairs = 10_000
    columns = {
        "user_id": np.repeat(np.arange(pairs), 2),
        "item_id": np.tile([0, 1], pairs),
        "timestamp": np.zeros(2 * pairs, np.int64),
    }
    up = [build(columns, catalogue(2), seed=seed)[0].item[::2] == 0 for seed in (0, 1)]
    deviation = 0.5 / np.sqrt(pairs)
    assert abs(up[0].mean() - 0.5) < 5 * deviation
    assert abs((up[0] == up[1]).mean() - 0.5) < 5 * deviation


def test_tied_baskets_are_shuffled_too_and_stay_whole():
    users = 4000
    columns = {
        "user_id": np.repeat(np.arange(users), 4),
        "item_id": np.tile([0, 1, 2, 3], users),
        "timestamp": np.zeros(4 * users, np.int64),
        "basket_id": np.tile([0, 0, 1, 1], users),
    }
    dataset, _ = build(columns, catalogue(4))
    first = dataset.item.reshape(users, 2, 2) // 2
    assert (first[:, :, 0] == first[:, :, 1]).all()
    assert abs((first[:, 0, 0] == 0).mean() - 0.5) < 2.5 / np.sqrt(users)


def test_without_basket_ids_or_where_one_is_missing_an_event_is_its_own_basket():
    columns = {"user_id": [1, 1, 1, 1], "item_id": [0, 1, 2, 3], "timestamp": [1, 2, 3, 4]}
    assert build(columns, catalogue(4))[0].basket.tolist() == [0, 1, 2, 3]
    dataset, _ = build({**columns, "basket_id": ["b", None, None, "b"]}, catalogue(4))
    assert dataset.item.tolist() == [0, 3, 1, 2]
    assert dataset.basket.tolist() == [0, 0, 1, 2]


def test_ids_keep_their_type():
    for ids in (["a", "b"], [7, 8], [uuid.UUID(int=7), uuid.UUID(int=8)]):
        frame = pd.DataFrame({"user_id": ids, "item_id": ids[::-1], "timestamp": [1, 2]})
        dataset, _ = build(frame)
        assert dataset.users.values == ids
        assert dataset.catalogue.ids.values == ids
        assert [type(value) for value in dataset.users.values] == [type(ids[0])] * 2
        assert [dataset.catalogue.ids[k] for k in dataset.item] == ids[::-1]
        again, _ = events_for(dataset.catalogue, frame)
        assert again.item.tolist() == dataset.item.tolist()


def test_a_catalogue_made_of_events():
    columns = {
        "CustomerID": [1.0, 1.0, 2.0, 2.0, None],
        "StockCode": ["x", "x", "x", "y", "y"],
        "Description": ["MUG", "MUG", "mug?", None, None],
        "InvoiceDate": [datetime(2011, 1, day, tzinfo=UTC) for day in (1, 2, 3, 4, 5)],
        "InvoiceNo": ["1", "2", "3", "4", "5"],
        "UnitPrice": [1.0, 2.0, 9.0, 4.0, 100.0],
        "Country": ["NL", "NL", None, "BE", "BE"],
    }
    names = {"StockCode": "item_id", "Description": "title", "Country": "scene"}
    dataset, report = build(columns, columns=names)
    assert dataset.catalogue.ids.values == ["x", "y"]
    assert dataset.catalogue.column("title") == ["MUG", "item y"]
    assert dataset.catalogue.column("price") == [2.0, 4.0]
    assert dataset.scenes == ("BE", "NL")
    assert dataset.scene.tolist() == [1, 1, -1, 0]
    text = str(report)
    assert "column 'CustomerID' is read as 'user_id'" in text
    assert "made of the events' title, price" in text
    assert "user_id: 4 floats to int" in text


def test_rows_out_of_one_step_are_rows_into_the_next():
    rng = np.random.default_rng(2)
    columns = pd.DataFrame(world(rng, items=40))
    columns = pd.concat([columns, columns.head(30)], ignore_index=True)
    columns["user_id"] = columns["user_id"].where(rng.random(len(columns)) > 0.05)
    columns["timestamp"] = columns["timestamp"].map(lambda value: "never" if value == 3 else str(1e9 + value))
    columns["quantity"] = rng.choice([1.0, 2.0, 0.0, -1.0, 1e9, np.nan], len(columns))
    dataset, report = build(columns, {**catalogue(), "item_id": [float(k) for k in range(30)]})
    steps = [step for step in report.steps if step.table == "events"]
    assert steps[0].rows_in == len(columns)
    for before, after in pairwise(steps):
        assert before.rows_out == after.rows_in, (before.name, after.name)
    assert steps[-1].rows_out == dataset.n_events
    assert {step.name for step in steps if step.rows_dropped} >= {
        "missing values",
        "timestamps",
        "exact duplicates",
        "impossible values",
        "not in the catalogue",
    }


def test_options_of_cleaning_are_heard():
    twice = {"user_id": [1, 1], "item_id": [0, 0], "timestamp": [5, 5]}
    assert build(twice)[0].n_events == 1
    assert build(twice, cleaning=Cleaning(drop_duplicates=False))[0].n_events == 2
    wild = {"user_id": [1] * 100, "item_id": [0] * 100, "timestamp": list(range(100)), "quantity": [1.0] * 99 + [1e6]}
    assert np.isnan(build(wild)[0].attributes["quantity"][-1])
    assert build(wild, cleaning=Cleaning(outlier_spread=None))[0].attributes["quantity"][-1] == 1e6


def test_a_history_of_100_000_events_is_kept_whole_and_fast():
    rows = 100_000
    columns = {"user_id": ["u"] * rows, "item_id": np.arange(rows) % 1000, "timestamp": np.arange(rows)}
    started = time.process_time()
    dataset, _ = build(columns)
    assert time.process_time() - started < 3
    assert dataset.start.tolist() == [0, rows]
    np.testing.assert_array_equal(dataset.item, np.arange(rows) % 1000)
    np.testing.assert_array_equal(dataset.basket, np.arange(rows))


@pytest.mark.parametrize(
    ("events", "error", "said"),
    [
        ({"user_id": [], "item_id": [], "timestamp": []}, DataError, "events is empty"),
        ({"user_id": [None], "item_id": [1], "timestamp": [1]}, DataError, "no row has user_id, item_id and timestamp"),
        ({"user_id": [1], "item_id": [1], "timestamp": [float("nan")]}, DataError, "no row has user_id, item_id and timestamp"),
        ({"user_id": [1], "item_id": [1], "timestamp": ["soon"]}, DataError, "got 'soon'"),
        ({"user_id": [1], "item_id": [1], "timestamp": [1], "quantity": [-1]}, DataError, "no row is left after cleaning"),
        (
            {"user_id": [1], "item_id": ["1"], "timestamp": [1]},
            DataError,
            "events hold large_string (1 item, such as '1'; '1' is not the catalogue's 1",
        ),
        ({"user_id": [1], "itm_id": [1], "timestamp": [1]}, SchemaError, "Did you mean 'itm_id'?"),
    ],
)
def test_events_that_cannot_be_used(events, error, said):
    with pytest.raises(error) as caught:
        build(events, catalogue())
    assert said in str(caught.value)


def test_item_columns_without_items_are_refused():
    with pytest.raises(SchemaError, match="item_columns is given without items"):
        build({"user_id": [1], "item_id": [1], "timestamp": [1]}, item_columns={"a": "title"})


def test_a_history_alone_is_the_same_as_among_others():
    columns = pd.DataFrame(world(np.random.default_rng(3)))
    whole, _ = build(columns, catalogue(), seed=5)
    names = {"event_types": whole.event_types, "scenes": whole.scenes, "seed": 5}
    together, _ = events_for(whole.catalogue, columns, **names)
    assert flat(together) == flat(whole)
    for user in ("u00", "u07"):
        alone, _ = events_for(whole.catalogue, columns[columns.user_id == user], **names)
        assert flat(alone) == flat(whole.take(whole.users.find([user])))


def test_histories_with_unknown_items_types_and_scenes():
    whole, _ = build(world(np.random.default_rng(4)), catalogue())
    events = pa.table(
        {
            "user_id": ["new", "new", "lost"],
            "item_id": [3, 999, 999],
            "timestamp": [1, 2, 3],
            "event_type": ["return", "buy", "buy"],
            "scene": ["south", "north", "north"],
        }
    )
    dataset, report = events_for(whole.catalogue, events, event_types=whole.event_types, scenes=whole.scenes)
    assert dataset.users.values == ["new"]
    assert dataset.item.tolist() == [3]
    assert dataset.catalogue is whole.catalogue
    assert np.isnan(dataset.attributes["event_type"]).tolist() == [True]
    assert dataset.scene.tolist() == [whole.scenes.index("south")]
    assert report.steps[-1].rows_dropped == 2
    assert "1 user without a known item, such as 'lost'" in report.notes[0]
    assert "event_type 'return' is not among" in report.notes[1]
    with pytest.raises(UnknownItemError, match="none of the item ids is in the catalogue"):
        events_for(whole.catalogue, events.slice(1))
    dataset, report, asked = asked_for(whole.catalogue, events.slice(1))
    assert dataset.n_events == 0 and asked.values == ["new", "lost"] and report.steps[-1].rows_dropped == 2


def test_event_weights_go_by_name_and_others_count_one():
    columns = world(np.random.default_rng(0))
    dataset, _ = build(columns, catalogue(), event_weights={"view": 0.25})
    kind = [dataset.event_types[int(code)] for code in dataset.attributes["event_type"]]
    assert dataset.sample_weight.tolist() == [0.25 if name == "view" else 1.0 for name in kind]


@pytest.mark.parametrize(
    ("weights", "expected"),
    [(None, (1.0, 0.0)), ({"buy": 0.5}, (0.5, 0.0)), ({"view": 0.25}, (1.0, 0.25)), ({"view": 0.25, "buy": 2.0}, (2.0, 0.25))],
)
def test_events_of_negative_types_count_nothing_unless_they_are_named(weights, expected):
    columns = world(np.random.default_rng(0))
    columns["event_type"] = [("buy", "view")[row % 2] for row in range(len(columns["user_id"]))]
    dataset, _ = build(columns, catalogue(), event_weights=weights, negative=("view", "return"))
    assert dataset.event_types == ("buy", "view") and dataset.event_weights.types == expected
    with pytest.raises(DataError, match=r"every event has sample weight 0.*or leave a type out of SignedFeedback\.negative"):
        build(columns, catalogue(), negative=("view", "buy"))


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ({"look": 1.0}, r"event_weights: event_type holds 'buy', 'view', got a weight for 'look'"),
        ({"view": -1.0}, r"event_weights\['view'\]: expected a number from 0 on, got -1.0"),
        ({"view": float("nan")}, r"event_weights\['view'\]: expected a number from 0 on, got nan"),
        ({"view": "0.1"}, r"event_weights\['view'\]: expected a number from 0 on, got '0.1'"),
        ({"view": 0, "buy": 0}, r"events: every event has sample weight 0, expected some above 0"),
    ],
)
def test_event_weights_that_cannot_be_are_named(weights, said):
    with pytest.raises(DataError, match=said):
        build(world(np.random.default_rng(0)), catalogue(), event_weights=weights)


def test_event_weights_without_event_types_are_refused():
    columns = world(np.random.default_rng(0))
    del columns["event_type"]
    with pytest.raises(DataError, match="events have no column event_type, got a weight for 'view'"):
        build(columns, catalogue(), event_weights={"view": 0.1})


def test_a_catalogue_is_read_alone_as_with_its_events():
    items = {"sku": ["b", "a"], "name": [" Red  mug", "Tent"], "aisle": ["x", None]}
    events = {"user_id": [1], "item_id": ["a"], "timestamp": [1]}
    catalogue, report = read_catalogue(items)
    whole, said = build(events, items)
    assert catalogue.ids.values == whole.catalogue.ids.values and catalogue.table.equals(whole.catalogue.table)
    assert set(report.notes) <= set(said.notes) and all(step in said.steps for step in report.steps)
    assert {step.table for step in report.steps} == {"items"}


def shop(rows: int = 100) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "user_id": rng.integers(0, 9, rows),
            "item_id": [f"i{k % 10}" for k in range(rows)],
            "timestamp": 1.7e9 + np.arange(rows),
        }
    )


def things(count: int) -> dict:
    return {"item_id": [f"i{k}" for k in range(count)], "title": [f"thing {k}" for k in range(count)]}


def test_a_great_loss_is_a_warning_that_names_the_step_the_share_and_examples():
    with pytest.warns(
        DataLossWarning, match=r"50 of 100 rows of events \(50%\) .* 'not in the catalogue' \(5 items, such as 'i5'"
    ):
        build(shop(), things(5))
    late = shop().assign(timestamp=lambda frame: frame.timestamp.map(lambda time: "soon" if time % 4 else "2024-01-01"))
    with pytest.warns(DataLossWarning, match=r"75 of 100 .* 'timestamps' \(.*not a time: 'soon'"):
        build(late, things(10))
    with pytest.warns(DataLossWarning, match=r"40 of 100 .* 'missing values' \(user_id: 40\)"):
        build(shop().assign(user_id=lambda frame: frame.user_id.where(frame.index >= 40)), things(10))
    build(shop(), things(8))  # a fifth is lost: in the report only


@pytest.mark.parametrize(
    "dressed", [lambda i: i + " ", lambda i: " " + i, lambda i: f"\t{i}\n", lambda i: f"\u00a0{i}", lambda i: f"\ufeff{i}"]
)
@pytest.mark.parametrize("side", ["events", "items"])
def test_white_space_around_ids_loses_no_event(dressed, side):
    events, items = shop(), pd.DataFrame(things(10))
    expected = flat(build(events, items)[0])
    frame = {"events": events, "items": items}[side]
    frame.loc[frame.index[::2], "item_id"] = frame.item_id[::2].map(dressed)
    dataset, report = build(events, items)
    assert flat(dataset) == expected
    step = next(step for step in report.steps if step.name == "ids" and step.table == side)
    assert step.rows_changed == len(frame) / 2
    signs = "unseen signs" if "\ufeff" in dressed("") else "white space"
    assert step.detail == f"item_id: {len(frame) // 2} {signs} around taken off"
    assert dataset.catalogue.ids.find([dressed("i3")]).tolist() == [3]


def test_forms_of_unicode_are_one_user_and_one_item():
    composed, apart = "caf\u00e9", "cafe\u0301"
    events = {"user_id": [composed, apart], "item_id": [apart, composed], "timestamp": [1, 2]}
    dataset, report = build(events, {"item_id": [apart], "title": ["coffee"]})
    assert dataset.users.values == [composed] == dataset.catalogue.ids.values and dataset.n_events == 2
    assert "user_id: 1 to Unicode's form NFC; item_id: 1 to Unicode's form NFC" in report.steps[0].detail
    assert dataset.users.find([apart, composed, "cafe"]).tolist() == [0, 0, -1]


def test_an_id_that_looks_like_one_of_the_catalogue_is_told():
    with pytest.warns(DataLossWarning, match="'I3' is not the catalogue's 'i3', but looks like it"):
        build(shop().assign(item_id=lambda frame: frame.item_id.replace({"i3": "I3", "i4": "I4", "i5": "I5"})), things(10))


def test_columns_and_times_are_told_in_the_report():
    _, report = build(shop().assign(plays=3, title="x"), {**things(10), "is_hidden": [0] * 10})
    assert [note for note in report.notes if "not read" in note and "'plays', 'title'" in note and note.startswith("events")]
    assert [note for note in report.notes if "'is_hidden' is not read" in note and note.startswith("items")]
    days = {"user_id": ["u"] * 3, "item_id": ["a", "b", "b"], "timestamp": ["2024-01-01"] * 3}
    dataset, report = build(days)
    assert dataset.basket.tolist() == [0, 1]
    assert [note for note in report.notes if "whole days; 3 events share their user and day" in note]
    assert [step.rows_dropped for step in report.steps if step.name == "exact duplicates"] == [1]
    assert max(map(len, str(report).splitlines())) <= 100


def test_dates_written_as_numbers_are_dates():
    dataset, report = build({"user_id": ["u"] * 2, "item_id": ["a", "b"], "timestamp": [20210105, 20210106]})
    assert dataset.time.tolist() == [datetime(2021, 1, day, tzinfo=UTC).timestamp() for day in (5, 6)]
    assert "read as numbers of the form YYYYMMDD" in str(report)
