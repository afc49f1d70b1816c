"""Laws of the Amazon protocols on made reviews."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from benchmarks import amazon
from benchmarks.files import Counts
from llmrec.errors import DataError

DAY = 86_400


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """40 users with 5 to 9 events on a few days, sorted by item within a day as the published files are."""
    rng = np.random.default_rng(2)
    rows = []
    for user in range(40):
        day = np.sort(rng.integers(0, 6, rng.integers(5, 10))) + rng.integers(0, 60)
        item = rng.permutation(30)[: len(day)]
        rows += sorted((user, int(d), int(i)) for d, i in zip(day, item, strict=True))
    table = {"user_id": [u for u, _, _ in rows], "item_id": [i for _, _, i in rows]}
    table["timestamp"] = [1_300_000_000 + d * DAY for _, d, _ in rows]
    pyarrow.parquet.write_table(pa.table(table), tmp_path / "amazon2014-beauty.events.parquet")
    names = pa.table({"item_id": list(range(30)), "title": [f"t{i}" for i in range(30)]})
    pyarrow.parquet.write_table(names, tmp_path / "amazon2014-beauty.items.parquet")
    counts = Counts(40, len(set(table["item_id"])), len(rows))
    monkeypatch.setitem(amazon.PUBLISHED, "beauty", counts)
    return tmp_path


def test_validation_is_the_last_but_one_and_test_the_last(folder):
    whole, benchmark = amazon.dataset(folder, "beauty"), amazon.beauty(folder)
    (setting,) = benchmark.settings
    train = benchmark.train
    assert setting.rank == "unseen"
    for user in range(40):
        mine = whole.item[whole.start[user] : whole.start[user + 1]]
        np.testing.assert_array_equal(train.item[train.start[user] : train.start[user + 1]], mine[:-2])
        for tasks, back in ((setting.validation, 2), (setting.test, 1)):
            np.testing.assert_array_equal(tasks.dataset.item[tasks.support(user)], mine[:-back])
            np.testing.assert_array_equal(tasks.dataset.item[tasks.query(user)], mine[-back : len(mine) - back + 1])


def test_ties_are_in_the_order_of_the_file_only_where_it_is_asked_for(folder):
    published = pyarrow.parquet.read_table(folder / "amazon2014-beauty.events.parquet").column("item_id").to_numpy()
    kept, shuffled = amazon.dataset(folder, "beauty", published_order=True), amazon.dataset(folder, "beauty")
    np.testing.assert_array_equal(np.array(kept.catalogue.ids.values)[kept.item], published)
    assert not np.array_equal(shuffled.item, kept.item)
    np.testing.assert_array_equal(shuffled.time, np.floor(kept.time))  # days are as they were
    np.testing.assert_array_equal(shuffled.item, amazon.dataset(folder, "beauty").item)  # one shuffle, always the same


def test_nothing_after_the_cut_is_known_before_it(folder):
    benchmark = amazon.beauty_time(folder)
    (setting,) = benchmark.settings
    final = benchmark.final()
    assert final is not benchmark
    last = {"validation": benchmark.train.time.max(), "test": final.train.time.max()}
    assert last["validation"] < last["test"]
    for part in ("validation", "test"):
        tasks = setting.asked(part)
        time = tasks.dataset.time
        assert len(tasks)
        assert (tasks.stop - tasks.split == 1).all()
        assert all(time[tasks.support(i)].max() <= last[part] < time[tasks.query(i)].min() for i in range(len(tasks)))
    # constants are chosen on what was there when the test begins
    assert setting.validation.dataset.time.max() <= last["test"]


def test_the_parts_before_the_cuts_are_eight_and_nine_tenths(folder):
    whole, benchmark = amazon.dataset(folder, "beauty"), amazon.beauty_time(folder)
    for share, train in ((0.8, benchmark.train), (0.9, benchmark.final().train)):
        assert train.n_events >= share * whole.n_events
        before_last_day = (train.time < train.time.max()).sum()
        assert before_last_day < share * whole.n_events


def test_test_users_of_the_cut_have_events_on_both_sides_and_their_next_one_is_asked(folder):
    whole, final = amazon.dataset(folder, "beauty"), amazon.beauty_time(folder)
    cut, tasks = final.final().train.time.max(), final.settings[0].test
    both = [u for u in range(40) if whole.time[whole.start[u]] <= cut < whole.time[whole.start[u + 1] - 1]]
    assert tasks.user.tolist() == both
    after = [whole.start[u] + int((whole.time[whole.start[u] : whole.start[u + 1]] <= cut).sum()) for u in both]
    assert tasks.split.tolist() == after


def test_other_data_than_the_published_are_refused(folder, monkeypatch):
    monkeypatch.setitem(amazon.PUBLISHED, "beauty", Counts(40, 30, 7))
    with pytest.raises(DataError, match="beauty: expected 40 users, 30 items and 7 events"):
        amazon.beauty(folder)


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"amazon2014-book\.events\.parquet: no such file.*SeqRecBenchmark"):
        amazon.category_last_out(tmp_path, "book")
    with pytest.raises(DataError, match="no Amazon category 'toys'; there are beauty"):
        amazon.tables(tmp_path, "toys")
