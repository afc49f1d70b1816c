"""Laws of the MovieLens protocols on made ratings."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from benchmarks import movielens
from benchmarks.files import Counts

USERS, ITEMS = 50, 140


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """50 users, ids not in the order of the file, with 6 to 130 events of which many share a time."""
    rng = np.random.default_rng(1)
    user, item, time = [], [], []
    for one in rng.permutation(USERS) * 3 + 1:
        length = int(rng.integers(6, 131))
        user += [int(one)] * length
        item += rng.permutation(ITEMS)[:length].tolist()
        time += np.sort(rng.integers(978_300_000, 978_300_020, length)).tolist()
    rating = rng.integers(1, 6, len(user)).astype(np.int8)
    table = pa.table({"user_id": user, "item_id": item, "rating": rating, "timestamp": time})
    pyarrow.parquet.write_table(table, tmp_path / movielens.EVENTS)
    columns = {"item_id": list(range(ITEMS + 5)), "title": [f"t{i}" for i in range(ITEMS + 5)]}
    columns |= {"year": ["1995"] * (ITEMS + 5), "genres": ["Comedy, Drama"] * (ITEMS + 5), "directors": ["A B"] * (ITEMS + 5)}
    columns |= {"actors": ["C, D, E, F"] * (ITEMS + 5), "plot": [None] * (ITEMS + 5)}
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / movielens.ITEMS)
    monkeypatch.setattr(movielens, "PUBLISHED", Counts(USERS, len(set(item)), len(user)))
    return tmp_path


def test_users_are_split_by_the_published_permutation_of_ascending_ids(folder):
    benchmark = movielens.ml1m_cold(folder)
    whole = benchmark.train
    assert whole.users.values == sorted(whole.users.values)
    order = np.random.RandomState(0).permutation(USERS)
    assert benchmark.users.tolist() == sorted(order[15:].tolist())
    for setting in benchmark.settings:
        assert set(setting.test.user.tolist()) <= set(order[:10].tolist())
        assert set(setting.validation.user.tolist()) <= set(order[10:15].tolist())


def test_each_who_has_three_more_is_asked_for_up_to_ten(folder):
    benchmark = movielens.ml1m_cold(folder)
    whole, order = benchmark.train, np.random.RandomState(0).permutation(USERS)
    length = np.diff(whole.start)
    assert [setting.name for setting in benchmark.settings] == ["known=5", "known=10", "known=20", "known=100"]
    for setting, known in zip(benchmark.settings, (5, 10, 20, 100), strict=True):
        tasks = setting.test
        assert setting.rank == "unseen"
        assert tasks.user.tolist() == [user for user in order[:10].tolist() if length[user] >= known + 3]
        np.testing.assert_array_equal(tasks.start, whole.start[tasks.user])
        assert (tasks.split - tasks.start == known).all()
        np.testing.assert_array_equal(tasks.stop - tasks.split, np.minimum(10, length[tasks.user] - known))


def test_the_order_is_the_files_and_ratings_go_with_their_events(folder):
    table = pyarrow.parquet.read_table(folder / movielens.EVENTS)
    whole = movielens.dataset(folder)
    by_user = np.argsort(table.column("user_id").to_numpy(), kind="stable")
    np.testing.assert_array_equal(np.array(whole.catalogue.ids.values)[whole.item], table.column("item_id").to_numpy()[by_user])
    np.testing.assert_array_equal(whole.attributes["rating"], table.column("rating").to_numpy()[by_user])


def test_taste_has_the_same_events_in_another_order(folder):
    whole, taste = movielens.dataset(folder), movielens.ml1m_taste(folder)
    other = taste.train
    np.testing.assert_array_equal(other.time, whole.time)
    key = whole.item * 10 + whole.attributes["rating"]
    moved = other.item * 10 + other.attributes["rating"]
    for user in range(USERS):
        mine = slice(whole.start[user], whole.start[user + 1])
        assert sorted(key[mine].tolist()) == sorted(moved[mine].tolist())
    assert (key == moved).mean() < 0.1
    cold = movielens.ml1m_cold(folder)
    for a, b in zip(cold.settings, taste.settings, strict=True):
        assert a.test.user.tolist() == b.test.user.tolist()
    assert movielens.ml1m_taste(folder).settings[0].key("test") == taste.settings[0].key("test")  # the same whenever it is made


def test_items_say_what_is_known_of_them(folder):
    table = movielens.dataset(folder).catalogue.table
    assert table.column("category")[0].as_py() == "Comedy, Drama"
    assert table.column("text")[0].as_py() == "1995. by A B. with C, D, E"


def test_liked_asks_for_a_part_of_what_taste_asks_for(folder):
    liked, taste = movielens.ml1m_liked(folder), movielens.ml1m_taste(folder)
    for mine, other in zip(liked.settings, taste.settings, strict=True):
        asked, found = relevant_of(other), relevant_of(mine)
        assert all(found[user] and found[user] <= asked[user] for user in found)
        assert sum(map(len, found.values())) < sum(map(len, asked.values()))
    np.testing.assert_array_equal(liked.train.item, taste.train.item)


def relevant_of(setting) -> dict:
    """User's id -> the items to be found for them."""
    tasks = setting.test
    return {tasks.dataset.users[u]: set(r.tolist()) for u, r in zip(tasks.user, setting.relevant(tasks), strict=True)}
