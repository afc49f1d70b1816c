"""Laws of reading a benchmark's files: nothing lost, nothing reordered, and a message where something is missing."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from benchmarks.files import Counts, build_whole, in_file_order, read
from llmrec.errors import DataError


def events(user: list[int], item: list[int], time: list[int]) -> pa.Table:
    return pa.table({"user_id": user, "item_id": item, "timestamp": time})


def items(count: int) -> pa.Table:
    return pa.table({"item_id": list(range(count)), "title": [f"t{i}" for i in range(count)]})


def test_a_file_that_is_not_there_is_named_with_its_source(tmp_path):
    with pytest.raises(DataError, match=r"x\.parquet: no such file; expected .*user_id, item_id.*example\.org"):
        read(tmp_path, "x.parquet", ("user_id", "item_id"), "example.org")


def test_a_file_of_another_kind_is_named(tmp_path):
    (tmp_path / "x.parquet").write_text("user_id,item_id")
    with pytest.raises(DataError, match=r"x\.parquet: expected a Parquet table"):
        read(tmp_path, "x.parquet", ("user_id",), "example.org")


def test_a_column_that_is_not_there_is_named(tmp_path):
    pyarrow.parquet.write_table(items(2), tmp_path / "x.parquet")
    with pytest.raises(DataError, match="no column 'user_id'.*got item_id, title"):
        read(tmp_path, "x.parquet", ("item_id", "user_id"), "example.org")
    assert read(tmp_path, "x.parquet", ("item_id",), "example.org").num_rows == 2


def test_events_of_one_time_keep_the_order_of_the_file():
    rng = np.random.default_rng(0)
    item = [rng.permutation(50), rng.permutation(50)]
    order = rng.permutation(100)  # the users' rows are mixed in the file
    user = np.repeat([7, 3], 50)[np.sort(order)]
    table = events(user.tolist(), np.concatenate(item).tolist(), [1_400_000_000] * 100)
    shift = in_file_order(table)
    kept, shuffled = (build_whole(t, items(50), None, "x", seed=0) for t in (shift, table))
    np.testing.assert_array_equal(kept.item[:50], item[1])  # user 3 is first in the dataset
    np.testing.assert_array_equal(kept.item[50:], item[0])
    assert not np.array_equal(shuffled.item, kept.item)
    assert np.ptp(kept.time) < 0.01  # and the times are what they were, to a hundredth of a second


def test_time_comes_before_the_place_in_the_file():
    dataset = build_whole(in_file_order(events([1, 1, 2, 1], [0, 1, 2, 3], [5, 5, 1, 6])), items(4), None, "x", seed=0)
    assert dataset.item.tolist() == [0, 1, 3, 2]


def test_rows_out_of_the_order_of_time_are_refused():
    with pytest.raises(DataError, match="row 2 of user 1 is earlier"):
        in_file_order(events([1, 2, 1], [0, 1, 2], [9, 1, 8]))


def test_nothing_is_dropped_not_even_equal_rows_and_items_without_events_are_left_out():
    dataset = build_whole(events([1, 1, 1], [2, 2, 0], [5, 5, 6]), items(4), Counts(1, 2, 3), "x", seed=0)
    assert dataset.n_events == 3
    assert dataset.catalogue.column("title") == ["t0", "t2"]


def test_other_counts_than_published_are_refused():
    with pytest.raises(DataError, match="x: expected 1 users, 1 items and 2 events, as published, got 1 users, 2 items and 2"):
        build_whole(events([1, 1], [0, 1], [5, 6]), items(4), Counts(1, 1, 2), "x", seed=0)
