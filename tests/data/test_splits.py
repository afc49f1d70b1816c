from __future__ import annotations

from itertools import chain

import numpy as np
import pytest

from llmrec.data.build import build
from llmrec.data.dataset import Dataset
from llmrec.data.splits import by_time, cold_items, cold_users, leave_last_out
from llmrec.errors import DataError


def shop(seed: int = 0, rows: int = 400) -> Dataset:
    rng = np.random.default_rng(seed)
    user = rng.integers(0, 25, rows)
    user[0] = 99  # a user with one event
    items = {
        "item_id": list(range(41)),
        "title": [f"t{k}" for k in range(41)],
        "category": ["odd" if k % 2 else "even" for k in range(41)],
    }
    events = {
        "user_id": user,
        "item_id": rng.integers(0, 40, rows),  # item 40 is never bought
        "timestamp": rng.integers(0, 60, rows),
        "basket_id": user * 20 + rng.integers(0, 9, rows),
        "scene": rng.choice(["north", "south"], rows),
    }
    return build(events, items, seed=seed)[0]


def last_baskets(dataset: Dataset, user: int) -> list[list[int]]:
    """Rows of each basket of a user, by a plain loop."""
    baskets: dict[int, list[int]] = {}
    for row in range(dataset.start[user], dataset.start[user + 1]):
        baskets.setdefault(int(dataset.basket[row]), []).append(row)
    return list(baskets.values())


def test_leave_last_out_by_a_plain_loop():
    dataset = shop()
    split = leave_last_out(dataset)
    for tasks, back in ((split.test, 1), (split.validation, 2)):
        found = {int(user): place for place, user in enumerate(tasks.user)}
        for user in range(dataset.n_users):
            baskets = last_baskets(dataset, user)
            assert (user in found) == (len(baskets) > back)
            if user in found:
                place = found[user]
                assert list(range(*tasks.query(place).indices(dataset.n_events))) == baskets[-back]
                assert list(range(*tasks.support(place).indices(dataset.n_events))) == list(chain(*baskets[:-back]))
    for user in range(dataset.n_users):
        baskets = last_baskets(dataset, user)
        known = list(chain(*baskets[: max(len(baskets) - 2, 1)]))
        rows = slice(split.train.start[user], split.train.start[user + 1])
        assert split.train.item[rows].tolist() == dataset.item[known].tolist()
    assert split.train.users.values == dataset.users.values


@pytest.mark.parametrize("fraction", [0.2, 0.5, 0.8])
def test_a_cut_in_time_parts_baskets_by_their_beginning(fraction):
    dataset = shop()
    cut = by_time(dataset, fraction=fraction)
    known, later = [], []
    for user in range(dataset.n_users):
        for rows in last_baskets(dataset, user):
            (known if dataset.time[rows].min() < cut.time else later).extend(rows)
    assert sorted(cut.train.item.tolist()) == sorted(dataset.item[known].tolist())
    assert len(known) >= fraction * dataset.n_events
    covered: list[int] = []
    for task in range(len(cut.test)):
        covered += range(*cut.test.query(task).indices(dataset.n_events))
        assert set(range(*cut.test.support(task).indices(dataset.n_events))) <= set(known)
    users_known = {int(dataset.user[row]) for row in known}
    assert covered == sorted(row for row in later if int(dataset.user[row]) in users_known)
    assert cut.train.users.values == [dataset.users[user] for user in sorted(users_known)]
    again = by_time(dataset, time=cut.time)
    assert again.train.item.tolist() == cut.train.item.tolist()
    # The earliest such moment: the moment before would know too little.
    begin = np.repeat(np.minimum.reduceat(dataset.time, dataset.basket_start[:-1]), np.diff(dataset.basket_start))
    earlier = begin[begin < cut.time].max()
    assert (begin < earlier).sum() < fraction * dataset.n_events


def test_a_cut_stays_between_baskets_where_keeping_some_events_moved_a_beginning():
    events = {"user_id": [1, 1, 1], "item_id": [0, 1, 2], "timestamp": [1, 5, 3], "basket_id": ["a", "a", "b"]}
    later, _ = build(events)
    left = later.keep(later.time > 1)  # now basket a begins at 5, before b, which begins at 3
    assert left.time.tolist() == [5, 3]
    with pytest.raises(DataError, match="no event lies before the cut"):
        by_time(left, time=4)


def test_a_cut_that_leaves_one_side_empty_is_an_error():
    dataset = shop()
    with pytest.raises(DataError, match="no event lies before the cut at -1"):
        by_time(dataset, time=-1)
    with pytest.raises(DataError, match="no event lies after the cut at 1000"):
        by_time(dataset, time=1000)
    with pytest.raises(ValueError, match="either fraction or time"):
        by_time(dataset)
    with pytest.raises(ValueError, match="between 0 and 1"):
        by_time(dataset, fraction=1.5)


def test_cold_users_follow_the_permutation():
    order = np.random.RandomState(0).permutation(6040)
    cold = cold_users(6040, order=order)
    assert cold.test.tolist() == order[:1208].tolist()
    assert cold.validation.tolist() == order[1208:1812].tolist()
    assert cold.train.tolist() == order[1812:].tolist()


def test_cold_users_are_disjoint_and_complete_with_a_generator():
    cold = cold_users(100, 0.29, 0.29, order=np.random.default_rng(0))
    assert (len(cold.test), len(cold.validation), len(cold.train)) == (29, 29, 42)
    assert sorted(np.concatenate([cold.test, cold.validation, cold.train])) == list(range(100))
    with pytest.raises(ValueError, match="permutation"):
        cold_users(3, order=np.array([0, 0, 1]))
    with pytest.raises(ValueError, match="at most 1"):
        cold_users(3, 0.9, 0.2, order=np.arange(3))


def test_cold_items_are_those_first_seen_later():
    dataset = shop()
    mask = cold_items(dataset, 3)
    for item in range(dataset.n_items):
        times = dataset.time[dataset.item == item]
        assert mask[item] == (len(times) > 0 and times.min() >= 3)
    assert 0 < mask.sum() < dataset.n_items
    assert not mask[40]
