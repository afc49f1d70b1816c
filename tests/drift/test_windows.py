"""Windows hold consecutive events of one group, each event once."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec.data.build import build
from llmrec.drift.windows import basket_times, cut


@pytest.fixture
def world():
    """Nine users with baskets of one to four events at random times."""
    rng = np.random.default_rng(0)
    rows = [(user, f"{user}-{visit}", 1e9 + 1e4 * visit + rng.random()) for user in range(9) for visit in range(12)]
    rows = [row for row in rows for _ in range(rng.integers(1, 5))]
    user, basket, time = zip(*rows, strict=True)
    table = {"user_id": user, "basket_id": basket, "timestamp": time, "item_id": rng.integers(0, 30, len(user))}
    return build({name: list(values) for name, values in table.items()})[0]


@pytest.mark.parametrize("size", [1, 7, 20])
def test_every_group_is_cut_in_the_order_of_time_until_it_is_used_up(world, size):
    group = np.array([0, 0, 0, 1, 1, -1, 2, 2, 2])[world.user]
    windows = cut(world, group, size)
    assert windows.rows.shape == (len(windows), size)
    began = basket_times(world)
    for one in range(3):
        mine = windows.rows[windows.group == one].ravel()
        there = np.flatnonzero(group == one)
        assert len(np.unique(mine)) == len(mine) == len(there) // size * size
        assert set(mine.tolist()) <= set(there.tolist())
        assert (np.diff(began[mine]) >= 0).all()
        left = np.setdiff1d(there, mine)
        assert not len(left) or began[left].min() >= began[mine].max()
    assert not np.isin(windows.rows, np.flatnonzero(group == -1)).any()
    assert np.array_equal(windows.time, began[windows.rows].max(1))


def test_baskets_are_not_mixed(world):
    windows = cut(world, np.zeros(world.n_events, int), 40)
    code = world.user[windows.rows].astype(int) * 100 + world.basket[windows.rows]
    for row in code:
        assert len(np.unique(row)) == 1 + (np.diff(row) != 0).sum()


def test_too_few_events_give_no_window(world):
    assert len(cut(world, np.where(np.arange(world.n_events) < 5, 0, -1), 6)) == 0
    assert len(cut(world, np.full(world.n_events, -1), 6)) == 0
    with pytest.raises(ValueError, match="at least 1, got 0"):
        cut(world, np.zeros(world.n_events), 0)


def test_some_windows_are_taken(world):
    windows = cut(world, world.user, 3)
    some = windows.take(np.array([4, 1]))
    assert np.array_equal(some.rows, windows.rows[[4, 1]]) and np.array_equal(some.group, windows.group[[4, 1]])
