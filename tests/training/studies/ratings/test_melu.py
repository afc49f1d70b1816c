"""Laws of MeLU's protocol on made ratings."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet
import pytest

from llmrec.errors import DataError
from studies.ratings import melu

YEARS = [1990, 1995, 1996, 1997, 1998, 1999] * 25


def films() -> pa.Table:
    text = {
        name: [f"{name} {row}" for row in range(150)] for name in ("title", "mpaa", "genres", "directors", "writers", "actors")
    }
    ids = np.random.default_rng(0).permutation(150) + 7  # the file is not in the order of ids
    return pa.table({"item_id": ids, "year": [str(YEARS[i - 7]) for i in ids], "plot": ["p"] * 150, **text})


def table(states=(melu.WARM, *melu.STATES), seed: int = 1) -> pa.Table:
    rng = np.random.default_rng(seed)
    rows = []
    for place, state in enumerate(states):
        for user in range(30):
            for item in rng.permutation(150)[: rng.integers(10, 120)]:
                rows.append((state, 100 * place + user, int(item) + 7, int(rng.integers(1, 6))))
    columns = zip(*rows, strict=True)
    return pa.table(dict(zip(("state", "user_id", "item_id", "rating"), (list(column) for column in columns), strict=True)))


@pytest.fixture
def folder(tmp_path):
    pyarrow.parquet.write_table(films(), tmp_path / melu.FILMS)
    pyarrow.parquet.write_table(table(), tmp_path / melu.SPLIT)
    return tmp_path


def same(a: melu.Ratings, b: melu.Ratings) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("user", "item", "value"))


def test_users_with_13_to_100_ratings_are_asked_for_ten_of_them(folder):
    ratings = melu.load(folder).states["user_cold"]
    asked = {one.user: one for one in melu.episodes(ratings, 0)}
    counts = dict(zip(*(part.tolist() for part in np.unique(ratings.user, return_counts=True)), strict=True))
    assert set(asked) == {user for user, count in counts.items() if 13 <= count <= 100}
    assert 0 < len(asked) < len(counts)
    for user, one in asked.items():
        assert len(one.asked) == len(one.answer) == 10
        mine = ratings.take(ratings.user == user)
        whole = dict(zip(mine.item.tolist(), mine.value.tolist(), strict=True))
        item, value = np.concatenate([one.item, one.asked]), np.concatenate([one.value, one.answer])
        assert dict(zip(item.tolist(), value.tolist(), strict=True)) == whole
        assert len(item) == len(whole)


def test_a_seed_is_a_shuffle_whatever_the_order_of_the_file(folder):
    ratings = melu.load(folder).states["item_cold"]
    turned = ratings.take(np.random.default_rng(3).permutation(len(ratings)))
    first, again = melu.episodes(ratings, 5), melu.episodes(turned, 5)
    assert [one.asked.tolist() for one in first] == [one.asked.tolist() for one in again]
    assert [one.asked.tolist() for one in first] != [one.asked.tolist() for one in melu.episodes(ratings, 6)]


def test_films_are_rows_by_id(folder):
    world = melu.load(folder)
    assert world.films.column("item_id").to_pylist() == list(range(7, 157))
    assert melu.years(world.films).tolist() == YEARS
    row = table().slice(0, 1).to_pylist()[0]
    assert world.warm.item[0] == row["item_id"] - 7
    assert (world.warm.user[0], world.warm.value[0]) == (row["user_id"], row["rating"])


def test_validation_is_cut_out_of_the_warm_state_alone(folder):
    before = melu.validation(folder, seed=2)
    warm = table(states=(melu.WARM,))
    later = table(seed=9).filter(pyarrow.compute.not_equal(table(seed=9).column("state"), melu.WARM))
    pyarrow.parquet.write_table(pa.concat_tables([warm, later]), folder / melu.SPLIT)
    after = melu.validation(folder, seed=2)
    assert same(before.warm, after.warm)
    assert all(same(before.states[state], after.states[state]) for state in melu.STATES)
    assert not same(melu.load(folder).states["user_cold"], before.states["user_cold"])


def test_the_states_of_validation_are_new_where_their_names_say_so(folder):
    world, whole = melu.validation(folder), melu.load(folder).warm
    users, seen = set(world.warm.user.tolist()), set(world.warm.item.tolist())
    for state, new_user, new_film in zip(melu.STATES, (True, False, True), (False, True, True), strict=True):
        ratings = world.states[state]
        assert bool(set(ratings.user.tolist()) & users) is not new_user
        assert bool(set(ratings.item.tolist()) & seen) is not new_film
    assert len(world.warm) + sum(len(ratings) for ratings in world.states.values()) == len(whole)
    assert max(YEARS[item] for item in seen) == 1995


def test_perfect_predictions_and_their_opposite():
    answer = np.tile([5.0, 4, 3, 2, 1, 5, 4, 3, 2, 1], (2, 1))
    found = melu.measures(answer, answer)
    assert set(found) == set(melu.METRICS)
    for name, values in found.items():
        np.testing.assert_allclose(values, 1.0 if name.startswith("ndcg") else 0.0)
    worst = melu.measures(6 - answer, answer)
    assert worst["ndcg@1"][0] == pytest.approx(1 / 5)
    assert worst["ndcg@1, 2^r"][0] == pytest.approx(1 / 31)


def test_errors_are_those_of_the_definitions():
    answer, predicted = np.full((1, 10), 4.0), np.array([[3.4, 3.5, 4.6, 7.0, 0.0, 4, 4, 4, 4, 4]])
    found = melu.measures(predicted, answer)
    # decoded 3 4 5 5 1 | cut 3.4 3.5 4.6 5 1
    assert found["mae"][0] == pytest.approx((1 + 0 + 1 + 1 + 3) / 10)
    assert found["mae, raw"][0] == pytest.approx((0.6 + 0.5 + 0.6 + 1 + 3) / 10)
    assert found["rmse"][0] == pytest.approx(np.sqrt((0.36 + 0.25 + 0.36 + 1 + 9) / 10))
    assert melu.measures(predicted, answer, median=answer)["mae"][0] == 0


@pytest.mark.parametrize("k", [1, 3])
def test_ties_are_worth_the_mean_over_their_orders(k):
    answer = np.array([[5.0, 1, 3, 2]])
    discount = 1 / np.log2(np.arange(k) + 2)
    ideal = (np.array([5, 3, 2])[:k] * discount).sum()
    orders = [sum(np.array(order)[:k] * discount) / ideal for order in permutations([5.0, 1, 3, 2])]
    assert melu.measures(np.ones((1, 4)), answer)[f"ndcg@{k}"][0] == pytest.approx(np.mean(orders))


def test_half_way_is_decoded_upwards_and_kept_in_the_scale():
    assert melu.decoded(np.array([0.2, 1.5, 2.5, 3.49, 9.0])).tolist() == [1, 2, 3, 3, 5]


def test_files_that_do_not_fit_are_named(folder):
    pyarrow.parquet.write_table(films().slice(1), folder / melu.FILMS)
    with pytest.raises(DataError, match="is not in movielens-1m.items.parquet"):
        melu.load(folder)
    broken = films().to_pydict() | {"year": ["unknown"] * 150}
    pyarrow.parquet.write_table(pa.table(broken), folder / melu.FILMS)
    with pytest.raises(DataError, match="year of row 0: expected four digits, got 'unknown'"):
        melu.validation(folder)
    pyarrow.parquet.write_table(films(), folder / melu.FILMS)
    bad = table().to_pydict()
    bad["rating"][0] = 6
    pyarrow.parquet.write_table(pa.table(bad), folder / melu.SPLIT)
    with pytest.raises(DataError, match="rating: expected 1 to 5, got 6"):
        melu.load(folder)
    (folder / melu.SPLIT).unlink()
    with pytest.raises(DataError, match="github.com/hoyeoplee/MeLU"):
        melu.load(folder)


def test_shapes_that_differ():
    with pytest.raises(DataError, match=r"expected predictions of shape \(2, 10\)"):
        melu.measures(np.zeros((1, 10)), np.ones((2, 10)))
