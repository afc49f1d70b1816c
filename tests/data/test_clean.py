from __future__ import annotations

import json
from datetime import datetime

import numpy as np
import pyarrow as pa
import pytest

from llmrec.data import clean
from llmrec.data.clean import CleaningReport, Step
from llmrec.data.report import losses, warn_of_losses
from llmrec.errors import DataError, DataLossWarning


def orders(**columns) -> pa.Table:
    rows = len(next(iter(columns.values())))
    base = {"user_id": ["u"] * rows, "item_id": ["i"] * rows, "timestamp": np.arange(rows, dtype=np.float64)}
    return pa.table({**base, **columns})


def test_missing_values_are_counted_by_column():
    table = pa.table({"user_id": ["a", None, "c", None], "timestamp": [1.0, 2.0, float("nan"), None]})
    left, step = clean.drop_missing(table, ("user_id", "timestamp"), "events")
    assert left.to_pylist() == [{"user_id": "a", "timestamp": 1.0}]
    assert (step.rows_in, step.rows_dropped, step.rows_out) == (4, 3, 1)
    assert step.detail == "user_id: 2; timestamp: 2"


def test_ids_repaired_are_counted_and_days_and_flags_may_be_baskets_and_scenes():
    table = pa.table({"user_id": [1.0, None], "basket_id": [datetime(2020, 1, 2)] * 2, "scene": [True, False]})
    read, step = clean.read_ids(table, ("user_id", "basket_id", "scene"), "events")
    assert read.column("user_id").to_pylist() == [1, None]
    assert read.column("scene").to_pylist() == ["true", "false"]
    assert read.column("basket_id")[0] == read.column("basket_id")[1]
    assert (step.rows_changed, step.rows_dropped) == (1, 0)


def test_times_that_do_not_parse_are_dropped_with_examples():
    left, step = clean.parse_times(pa.table({"timestamp": ["2020-01-01", "soon", "1970-01-02"], "n": [0, 1, 2]}))
    assert left.column("n").to_pylist() == [0, 2]
    assert left.column("timestamp").to_pylist() == [1577836800.0, 86400.0]
    assert step.rows_dropped == 1
    assert "'soon'" in step.detail


def test_no_time_at_all_is_an_error_with_examples_and_remedy():
    with pytest.raises(DataError, match="got '13/01/2020', '14/01/2020'") as caught:
        clean.parse_times(pa.table({"timestamp": ["13/01/2020", "14/01/2020"]}))
    assert "pandas.to_datetime" in str(caught.value)


def test_cancelled_orders_need_both_the_letter_and_the_sign():
    table = orders(basket_id=["C12", "12", "C12", "Crate", None], quantity=[-1.0, -1.0, 1.0, -1.0, -1.0], n=[0, 1, 2, 3, 4])
    table = clean.read_ids(table, ("basket_id",), "events")[0]
    left, step = clean.drop_cancelled(table, with_purchases=False)
    assert left.column("n").to_pylist() == [1, 2, 3, 4]
    assert step.rows_dropped == 1
    left, step = clean.drop_impossible(left)
    assert left.column("n").to_pylist() == [2]
    assert step.detail == "quantity: 3"


def test_a_cancellation_takes_the_latest_open_purchase_of_that_quantity():
    rows = [  # user, item, basket, quantity, time, kept
        ("u", "i", "1", 2, 10, True),
        ("u", "i", "2", 2, 20, False),  # closed by C3
        ("u", "i", "C3", -2, 30, False),
        ("u", "i", "4", 2, 40, True),  # later than the cancellation
        ("u", "i", "5", 3, 25, True),  # another quantity
        ("u", "j", "6", 2, 25, True),  # another item
        ("v", "i", "7", 2, 25, True),  # another user
        ("v", "i", "C8", -2, 5, False),  # cancels what came before the table
    ]
    user, item, basket, quantity, time, kept = (list(column) for column in zip(*rows, strict=True))
    table = pa.table(
        {
            "user_id": user,
            "item_id": item,
            "basket_id": pa.array(basket, pa.large_string()),
            "quantity": np.array(quantity, float),
            "timestamp": np.array(time, float),
            "kept": kept,
        }
    )
    left, _ = clean.drop_cancelled(table, with_purchases=True)
    assert left.column("kept").to_pylist() == [True] * sum(kept)


def test_matching_cancellations_agrees_with_a_stack():
    rng = np.random.default_rng(1)
    n = 600
    sign = rng.choice([1, 1, -1], n)
    table = pa.table(
        {
            "user_id": rng.integers(0, 3, n),
            "item_id": rng.integers(0, 4, n),
            "basket_id": pa.array([f"C{k}" if sign[k] < 0 else str(k) for k in range(n)], pa.large_string()),
            "quantity": (sign * rng.integers(1, 3, n)).astype(float),
            "timestamp": rng.integers(0, n // 4, n).astype(float),
            "row": np.arange(n),
        }
    )
    rows, stacks, gone = table.to_pylist(), {}, set()
    for row in sorted(rows, key=lambda row: (row["timestamp"], -row["quantity"])):
        stack = stacks.setdefault((row["user_id"], row["item_id"], abs(row["quantity"])), [])
        if row["quantity"] > 0:
            stack.append(row["row"])
        else:
            gone |= {row["row"]} | ({stack.pop()} if stack else set())
    left, _ = clean.drop_cancelled(table, with_purchases=True)
    assert left.column("row").to_pylist() == [row["row"] for row in rows if row["row"] not in gone]


def test_impossible_values_are_dropped_and_unknown_ones_kept():
    nan, inf = float("nan"), float("inf")
    table = orders(quantity=[1.0, 0.0, -1.0, inf, nan, 1.0, 1.0, 1.0], price=[0.0, 1.0, 1.0, 1.0, nan, -0.01, inf, nan])
    left, step = clean.drop_impossible(table)
    assert left.column("timestamp").to_pylist() == [0, 4, 7]
    assert step.detail == "quantity: 3; price: 2"


def test_events_of_a_negative_type_are_neither_cancelled_orders_nor_impossible():
    table = orders(
        basket_id=["C1", "C1", "1", "2", "C3", "C4"],
        quantity=[-2.0, -1.0, 2.0, 0.0, -float("inf"), -1.0],
        price=[-5.0, 5.0, -5.0, 5.0, 5.0, 5.0],
        event_type=["return", "purchase", "purchase", "return", "return", None],
    )
    table = clean.read_ids(table, ("basket_id", "event_type"), "events")[0]
    left, cancelled = clean.drop_cancelled(table, False, ("return", "skip"))
    left, step = clean.read_returns(left, ("return", "skip"))
    assert cancelled.rows_dropped == 2 and left.column("timestamp").to_pylist() == [0, 2, 3, 4]
    assert (step.rows_dropped, step.rows_changed) == (0, 3)
    assert step.detail == "'return', 'skip' kept, without the sign of quantity: 3; price: 1"
    left, _ = clean.drop_impossible(left)
    assert left.column("timestamp").to_pylist() == [0, 3]
    np.testing.assert_array_equal(left.column("quantity").to_numpy(), [2, float("nan")])
    np.testing.assert_array_equal(left.column("price").to_numpy(), [5, 5])
    assert clean.read_returns(table.drop_columns(["event_type"]), ("return",))[1].rows_changed == 0


def test_a_return_that_is_kept_takes_no_purchase_with_it():
    table = orders(
        basket_id=["1", "C2", "3", "C4"], quantity=[2.0, -2.0, 1.0, -1.0], event_type=["buy", "return", "buy", "buy"]
    )
    table = clean.read_ids(table, ("basket_id",), "events")[0]
    left, _ = clean.drop_cancelled(table, True, ("return",))
    assert left.column("timestamp").to_pylist() == [0, 1]


def test_outliers_become_unknown_and_the_rows_stay():
    quantity = np.array([1.0] * 99 + [82.0])
    price = np.linspace(1, 4, 100)
    left, step = clean.clip_outliers(orders(quantity=quantity, price=price), spread=4)
    # The median and the 95th percentile are 1, so the limit is 1 * 3**4 = 81.
    assert np.isnan(left.column("quantity").to_numpy()).tolist() == [False] * 99 + [True]
    np.testing.assert_array_equal(left.column("price").to_numpy(), price)
    assert (len(left), step.rows_dropped, step.rows_changed) == (100, 0, 1)
    assert "1 above 81, up to 82" in step.detail
    assert clean.clip_outliers(orders(quantity=np.minimum(quantity, 81)), spread=4)[1].rows_changed == 0


def crowd(*sizes: int) -> pa.Table:
    user = np.repeat(np.arange(len(sizes)), sizes)
    return pa.table({"user_id": user, "item_id": user, "timestamp": np.arange(len(user)) * 3600.0})


def test_bots_are_reported_and_dropped_only_on_request():
    table = crowd(*[20] * 50, 5000)
    left, step = clean.find_bots(table, drop=False)
    assert len(left) == len(table)
    assert "1 user looks like a bot, kept: 50 (5,000 events)" in step.detail
    left, step = clean.find_bots(table, drop=True)
    assert step.rows_dropped == 5000
    assert set(left.column("user_id").to_pylist()) == set(range(50))


def test_a_long_history_alone_or_among_its_like_is_no_bot():
    assert clean.find_bots(crowd(100_000), drop=True)[1] == Step("bot-like users", "events", 100_000)
    assert clean.find_bots(crowd(4000, 5000, 6000), drop=True)[1].rows_dropped == 0
    # Where all are alike, the spread of their counts is 0: one event more is no bot yet.
    assert clean.find_bots(crowd(*[3000] * 20, 3001), drop=True)[1].rows_dropped == 0


def test_a_busy_day_is_enough_for_a_bot():
    user = np.concatenate([np.repeat(np.arange(60), 900), np.full(900, 60)])
    time = np.concatenate([np.tile(np.arange(900) * 86400.0, 60), np.arange(900.0)])
    _, step = clean.find_bots(pa.table({"user_id": user, "timestamp": time}), drop=False)
    assert "1 user looks like a bot, kept: 60" in step.detail


def test_unknown_items_are_counted_with_examples():
    table = pa.table({"item_id": ["a", "x", "x", "b"]})
    left, step = clean.drop_unknown_items(table, np.array([True, False, False, True]))
    assert left.column("item_id").to_pylist() == ["a", "b"]
    assert (step.rows_dropped, step.detail) == (2, "1 item, such as 'x'")


def test_the_report_reads_as_a_table_and_as_json():
    report = CleaningReport((Step("ids", "events", 12345), Step("missing values", "items", 10, 2, 3, "because")), ("a note",))
    lines = str(report).splitlines()
    assert len(lines) == 4
    assert lines[0].split() == ["table", "step", "rows", "in", "dropped", "changed", "detail"]
    assert lines[1].index("12,345") + len("12,345") == lines[2].index("10") + len("10")
    assert lines[3] == "note: a note"
    assert json.loads(json.dumps(report.to_dict()))["steps"][1]["rows_dropped"] == 2


def test_steps_without_anything_to_do_are_only_named_in_print():
    names = ("ids", "numbers", "timestamps", "outliers", "dislikes")
    changed, told = {"timestamps": 3}, {"outliers": "price above 9"}
    events = [Step(name, "events", 9, 0, changed.get(name, 0), told.get(name, "")) for name in names]
    report = CleaningReport((*events, Step("ids", "items", 4), Step("text", "items", 4)))
    assert [" ".join(line.split()) for line in str(report).splitlines()[1:]] == [
        *("events ids 9 0 0", "events timestamps 9 0 3", "events outliers 9 0 0 price above 9", "items ids 4 0 0"),
        *("events, nothing to do: numbers, dislikes", "items, nothing to do: text"),
    ]
    assert len(report.to_dict()["steps"]) == 7


def test_a_weight_below_0_is_a_dislike_and_stays_with_weight_0():
    nan, inf = float("nan"), float("inf")
    table, step = clean.drop_impossible(orders(weight=[1.0, 0.0, -1.0, nan, inf, -inf, -0.25]))
    assert table.column("timestamp").to_pylist() == [0, 1, 2, 3, 6] and step.detail == "weight: 2"
    read, step = clean.read_dislikes(table)
    np.testing.assert_array_equal(read.column("weight").to_numpy(), [1.0, 0.0, 0.0, nan, 0.0])
    assert (step.rows_in, step.rows_dropped, step.rows_changed) == (5, 0, 2)
    assert step.detail == "weight: 2 below 0, kept and counted 0"
    assert clean.read_dislikes(orders(quantity=[1.0]))[1] == Step("dislikes", "events", 1)


def test_no_line_of_the_report_is_wider_than_100_characters():
    long = " ".join(["word"] * 90)
    report = CleaningReport(
        (Step("not in the catalogue", "events", 10**7, 10**6, 0, long), Step("x", "items", 1, 0, 0, "y" * 300)), (long,)
    )
    lines = str(report).splitlines()
    assert max(map(len, lines)) <= 100
    assert " ".join(str(report).split()).count("word") == 180 and str(report).count("y") == 300
    indent = lines[1].index("word")
    assert lines[2][:indent].isspace() and lines[2][indent:].startswith("word")
    assert lines[-1].startswith("      word")


def test_steps_that_lose_more_than_a_fifth_of_the_rows_are_told():
    def steps(lost: int, name: str = "timestamps", table: str = "events") -> tuple[Step, ...]:
        return Step("ids", table, 100), Step("other", table, 100, 90), Step(name, table, 10, lost, 0, "such as 'soon'")

    assert losses(steps(20)) == () == losses(steps(50, "bot-like users")) == losses(steps(50, table="items"))
    assert losses(steps(21)) == ("21 of 100 rows of events (21%) were left out in the step 'timestamps' (such as 'soon')",)
    with pytest.warns(DataLossWarning, match="21 of 100"):
        warn_of_losses(steps(21))
    warn_of_losses(steps(20))
