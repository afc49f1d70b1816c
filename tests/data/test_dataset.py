from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmrec.data.build import build
from llmrec.data.dataset import Dataset, EventWeights, empty_dataset
from llmrec.data.ids import Ids


def shop(rows: int = 200) -> Dataset:
    rng = np.random.default_rng(0)
    user = rng.integers(0, 15, rows)
    events = {
        "user_id": user,
        "item_id": rng.integers(0, 20, rows),
        "timestamp": rng.integers(0, 30, rows),
        "basket_id": user * 10 + rng.integers(0, 5, rows),
        "rating": rng.integers(1, 6, rows),
        "scene": rng.choice(["a", "b"], rows),
    }
    return build(events)[0]


def rows_of(dataset: Dataset, user: int) -> list[tuple]:
    rows = range(dataset.start[user], dataset.start[user + 1])
    names = {code: place for place, code in enumerate(dict.fromkeys(dataset.basket[list(rows)].tolist()))}
    return [
        (dataset.item[k], dataset.time[k], names[int(dataset.basket[k])], dataset.attributes["rating"][k], dataset.scene[k])
        for k in rows
    ]


def test_baskets_by_a_plain_loop():
    dataset = shop()
    edges = [
        k
        for k in range(dataset.n_events)
        if k == 0 or (dataset.user[k], dataset.basket[k]) != (dataset.user[k - 1], dataset.basket[k - 1])
    ]
    assert dataset.basket_start.tolist() == [*edges, dataset.n_events]
    for user in range(dataset.n_users):
        rows = slice(dataset.start[user], dataset.start[user + 1])
        assert dataset.n_baskets[user] == len(set(dataset.basket[rows]))
        assert (dataset.user[rows] == user).all()
        assert dataset.basket_start[dataset.first_basket[user]] == dataset.start[user]


def test_taking_users_takes_their_rows_in_the_order_asked():
    dataset = shop()
    wanted = np.array([7, 0, 3, 7])
    taken = dataset.take(wanted)
    for place, user in enumerate(wanted):
        assert rows_of(taken, place) == rows_of(dataset, user)
        assert taken.users[place] == dataset.users[user]
    assert dataset.take(np.array([], int)).n_events == 0


def test_keeping_events_keeps_the_users_and_renumbers_baskets():
    dataset = shop()
    mask = (np.random.default_rng(1).random(dataset.n_events) < 0.3) & (dataset.user != 4)
    kept = dataset.keep(mask)
    assert kept.users.values == dataset.users.values
    assert np.diff(kept.start).tolist() == [mask[dataset.user == user].sum() for user in range(dataset.n_users)]
    np.testing.assert_array_equal(kept.item, dataset.item[mask])
    np.testing.assert_array_equal(kept.attributes["rating"], dataset.attributes["rating"][mask])
    for user in range(dataset.n_users):
        before = dataset.basket[mask & (dataset.user == user)]
        expected = np.unique(before, return_inverse=True)[1]
        assert kept.basket[kept.start[user] : kept.start[user + 1]].tolist() == expected.tolist()
    assert kept.n_baskets[4] == 0


def test_keeping_nothing_and_everything():
    dataset = shop()
    nothing = dataset.keep(np.zeros(dataset.n_events, bool))
    assert nothing.n_events == 0
    assert nothing.n_baskets.tolist() == [0] * dataset.n_users
    everything = dataset.keep(np.ones(dataset.n_events, bool))
    for user in range(dataset.n_users):
        assert rows_of(everything, user) == rows_of(dataset, user)


def test_ids_find_and_take():
    ids = Ids(["b", "a", "c"])
    assert ids.find(["c", "x", "b"]).tolist() == [2, -1, 0]
    assert ids.take([2, 0]).values == ["c", "b"]
    assert Ids([5, 6]).find(np.array([6, 7, 5])).tolist() == [1, -1, 0]


def test_a_catalogue_names_its_columns():
    catalogue = shop().catalogue
    assert catalogue.column("title")[3] == f"item {catalogue.ids[3]}"
    with pytest.raises(KeyError, match="nope"):
        catalogue.column("nope")


def weighed(**more) -> Dataset:
    kinds, weights = ["view", "buy", "view", "cart"], [1.0, None, 3.0, 2.0]
    table = {"user_id": [1] * 4, "item_id": [1, 2, 3, 4], "timestamp": [1, 2, 3, 4]}
    return build(table | {name: values for name, values in (("event_type", kinds), ("weight", weights)) if name in more})[0]


def test_an_event_counts_its_weight_by_the_mean_one_times_the_factor_of_its_type():
    dataset = weighed(event_type=True, weight=True)
    assert dataset.event_weights == EventWeights((), 2.0)
    np.testing.assert_allclose(dataset.sample_weight, [0.5, 1.0, 1.5, 1.0])  # an unknown weight is a mean one
    factors = tuple({"buy": 1.0, "cart": 0.5, "view": 0.1}[name] for name in dataset.event_types)
    changed = replace(dataset, event_weights=EventWeights(factors, 2.0))
    np.testing.assert_allclose(changed.sample_weight, [0.05, 1.0, 0.15, 0.5], rtol=1e-6)
    np.testing.assert_allclose(changed.keep(np.array([True, False, False, True])).sample_weight, [0.05, 0.5], rtol=1e-6)
    np.testing.assert_allclose(changed.take(np.array([0, 0])).sample_weight[4:], changed.sample_weight)


def test_a_type_that_nobody_knows_counts_one():
    dataset = replace(weighed(event_type=True), event_weights=EventWeights((0.2, 0.2, 0.2)))
    unknown = replace(dataset, attributes={"event_type": np.array([np.nan, 0, 1, 2], np.float32)})
    np.testing.assert_allclose(unknown.sample_weight, [1, 0.2, 0.2, 0.2])


def test_without_weights_or_factors_there_is_nothing_to_weigh():
    assert weighed().sample_weight is None and weighed(event_type=True).sample_weight is None


def test_nobody_is_a_dataset_like_any_other():
    known = shop()
    empty = empty_dataset(known.catalogue)
    assert (empty.n_users, empty.n_events, empty.n_items) == (0, 0, known.n_items)
    assert len(empty.n_baskets) == 0 and len(empty.user) == 0
    assert empty.take(np.zeros(0, np.int64)).n_events == 0
