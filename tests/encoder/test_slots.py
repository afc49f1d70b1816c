"""Histories as padded slots, against a loop over one task at a time."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import pairwise
from math import log, log1p

import numpy as np
import pytest

from llmrec.data.dataset import Dataset, EventWeights
from llmrec.data.tasks import Tasks, first_baskets, sample_windows
from llmrec.encoder.slots import SLOT_ATTRIBUTES, WIDTH, Readouts, basket_readouts, query_readouts, slots, support_readouts

DAY = 86_400.0


@pytest.fixture
def tasks(random_shop: Dataset) -> Tasks:
    """Supports of 1 to 5 baskets, anywhere in the histories."""
    return sample_windows(random_shop, np.arange(20), (1, 5), 1, 60, np.random.default_rng(0))


def kept(tasks: Tasks, t: int, most: int) -> list[int]:
    """Rows of the events of task `t` that stand in its prompt."""
    return list(range(tasks.start[t], tasks.split[t]))[-most:]


def described(data: Dataset, rows: list[int]) -> list[dict[str, float]]:
    """The attributes of one prompt's slots, by looking back from each."""

    def given(name: str, row: int, change) -> float:
        value = float(data.attributes[name][row]) if name in data.attributes else float("nan")
        return 0.0 if np.isnan(value) else change(value)

    found = []
    for place, row in enumerate(rows):
        before = [earlier for earlier in rows[:place] if data.item[earlier] == data.item[row]]
        opened = next(r for r in rows if data.basket[r] == data.basket[row])
        earlier_baskets = [r for r in rows if data.basket[r] == data.basket[row] - 1]
        gap = data.time[opened] - data.time[earlier_baskets[0]] if earlier_baskets else 0.0
        found.append(
            {
                "gap": log1p(gap / DAY),
                "since_first": log1p((data.time[row] - data.time[rows[0]]) / DAY) / 3,
                "repeat": float(bool(before)),
                "times_before": log1p(len(before)),
                "basket": log1p(data.basket[row] - data.basket[rows[0]]),
                "quantity": given("quantity", row, lambda value: log1p(value) - log(2)),
                "price": given("price", row, lambda value: log1p(value) - 1),
                "rating": given("rating", row, lambda value: (value - 3) / 2),
                "weight": given("weight", row, lambda value: value),
            }
        )
    return found


def kinds(data: Dataset, rows: list[int]) -> list[int]:
    """1 + code of each event's type, 0 where it has none."""
    codes = data.attributes.get("event_type", np.full(data.n_events, np.nan))[rows]
    return [0 if np.isnan(code) else 1 + int(code) for code in codes]


@pytest.mark.parametrize("most", [1, 3, 7, 64])
def test_slots_against_a_loop(tasks, most):
    data, batch = tasks.dataset, slots(tasks, most)
    longest = max(len(kept(tasks, t, most)) for t in range(len(tasks)))
    longest = max(longest, min(most, -(-longest // WIDTH) * WIDTH))
    assert batch.item.shape == batch.basket.shape == batch.doubled.shape == batch.filled.shape == (len(tasks), longest)
    for t in range(len(tasks)):
        rows = kept(tasks, t, most)
        n = len(rows)
        assert batch.length[t] == n == batch.filled[t].sum()
        assert batch.filled[t, :n].all()
        assert batch.item[t, :n].tolist() == data.item[rows].tolist()
        assert batch.basket[t, :n].tolist() == (data.basket[rows] - data.basket[rows[0]]).tolist()
        seen = [(data.basket[row], data.item[row]) for row in rows]
        assert batch.doubled[t, :n].tolist() == [pair in seen[:place] for place, pair in enumerate(seen)]
        expected = [[slot[name] for name in SLOT_ATTRIBUTES] for slot in described(data, rows)]
        np.testing.assert_allclose(batch.attributes[t, :n], expected, rtol=1e-5, atol=1e-5)
        assert batch.time[t].tolist() == [*data.time[rows].tolist(), *[0.0] * (longest - n)]
        assert batch.kind[t].tolist() == [*kinds(data, rows), *[0] * (longest - n)]
        assert (batch.item[t, n:] == 0).all() and (batch.basket[t, n:] == -1).all() and (batch.attributes[t, n:] == 0).all()


def test_types(tasks):
    batch = slots(tasks, 8)
    names = {"item": "int64", "attributes": "float32", "basket": "int32", "doubled": "bool", "length": "int64"}
    assert {name: str(getattr(batch, name).dtype) for name in names} == names
    assert len(batch) == len(tasks)


@pytest.mark.parametrize("most", [4, 64])
def test_one_alone_is_one_among_many(tasks, most):
    together = slots(tasks, most)
    for t in range(len(tasks)):
        alone = slots(tasks.take(np.array([t])), most)
        n = alone.length[0]
        for name in ("item", "attributes", "basket", "doubled"):
            assert np.array_equal(getattr(alone, name)[0, :n], getattr(together, name)[t, :n])


def test_no_slot_looks_ahead(tasks):
    """A shorter support is the beginning of a longer one."""
    longer = slots(tasks, 64)
    cut = Tasks(tasks.dataset, tasks.start, tasks.start + np.maximum((tasks.split - tasks.start) // 2, 1), tasks.stop)
    shorter = slots(cut, 64)
    for t in range(len(tasks)):
        n = shorter.length[t]
        assert np.array_equal(shorter.attributes[t, :n], longer.attributes[t, :n])
        assert np.array_equal(shorter.doubled[t, :n], longer.doubled[t, :n])


def test_without_attributes_they_are_zero(shop):
    data = shop([[[0, 1], [1]]], 2)
    batch = slots(first_baskets(data, np.array([0]), 1, 1), 8)
    given = [SLOT_ATTRIBUTES.index(name) for name in ("quantity", "price", "rating", "weight")]
    assert (batch.attributes[..., given] == 0).all()


# ---------------------------------------------------------------------------------------------------------- readouts


def as_sets(reads: Readouts) -> list[tuple[int, int, list[int]]]:
    return [
        (int(task), int(slot), sorted(reads.target[reads.owner == m].tolist()))
        for m, (task, slot) in enumerate(zip(reads.task, reads.slot, strict=True))
    ]


def items(data: Dataset, rows: list[int]) -> list[int]:
    return sorted(set(data.item[rows].tolist()))


@pytest.mark.parametrize("most", [3, 64])
def test_query_readouts(tasks, most):
    expected = [
        (t, len(kept(tasks, t, most)) - 1, items(tasks.dataset, list(range(tasks.split[t], tasks.stop[t]))))
        for t in range(len(tasks))
    ]
    assert as_sets(query_readouts(tasks, slots(tasks, most))) == expected


@pytest.mark.parametrize("most", [3, 64])
@pytest.mark.parametrize("horizon", [1, 2, 9])
def test_basket_readouts(random_shop, most, horizon):
    tasks = sample_windows(random_shop, np.arange(20), (1, 4), 2, 60, np.random.default_rng(1))
    basket, expected = random_shop.basket, []
    for t in range(len(tasks)):
        rows = kept(tasks, t, most)
        for place, row in enumerate(rows):
            if row + 1 == tasks.split[t] or basket[row + 1] != basket[row]:
                later = [r for r in range(row + 1, tasks.stop[t]) if basket[r] <= basket[row] + horizon]
                expected.append((t, place, items(random_shop, later)))
    assert as_sets(basket_readouts(tasks, slots(tasks, most), horizon)) == expected


@pytest.mark.parametrize("most", [3, 64])
@pytest.mark.parametrize("horizon", [1, 2, 9])
def test_support_readouts(tasks, most, horizon):
    data, expected = tasks.dataset, []
    for t in range(len(tasks)):
        rows = kept(tasks, t, most)
        for place, row in enumerate(rows[:-1]):
            later = [r for r in rows[place + 1 :] if data.basket[r] <= data.basket[row] + horizon]
            expected.append((t, place, items(data, later)))
    assert as_sets(support_readouts(tasks, slots(tasks, most), horizon)) == expected


@pytest.mark.parametrize("most", [1, 2, 3, 99])
def test_fewer_support_readouts_are_evenly_spaced_up_to_the_last(tasks, most):
    batch = slots(tasks, 64)
    whole = as_sets(support_readouts(tasks, batch, 2))
    fewer = as_sets(support_readouts(tasks, batch, 2, most))
    assert all(row in whole for row in fewer)
    for t in range(len(tasks)):
        mine, all_of_them = ([slot for task, slot, _ in rows if task == t] for rows in (fewer, whole))
        assert mine[-1:] == all_of_them[-1:]
        assert len(mine) == len(all_of_them) if len(all_of_them) <= most else len(mine) <= most
        assert len({after - before for before, after in pairwise(mine)}) <= 1
    assert most == 99 or len(fewer) < len(whole)


def test_support_readouts_never_touch_the_query(tasks):
    batch, data = slots(tasks, 64), tasks.dataset
    before = support_readouts(tasks, batch, 9)
    changed = data.item.copy()
    for t in range(len(tasks)):
        changed[tasks.split[t] : tasks.stop[t]] = 9 - changed[tasks.split[t] : tasks.stop[t]]
    alone = np.array([t for t in range(len(tasks)) if np.array_equal(changed[tasks.support(t)], data.item[tasks.support(t)])])
    assert len(alone) > 10
    other = Dataset(**{**{name: getattr(data, name) for name in data.__dataclass_fields__}, "item": changed})
    after = support_readouts(Tasks(other, tasks.start, tasks.split, tasks.stop), batch, 9)
    chosen = set(alone.tolist())
    assert [row for row in as_sets(after) if row[0] in chosen] == [row for row in as_sets(before) if row[0] in chosen]


def test_readouts_of_the_last_user_of_all(shop):
    data = shop([[[0], [1]], [[2], [3], [4]]], 5)
    tasks = first_baskets(data, np.array([1]), 2, 1)
    batch = slots(tasks, 8)
    assert as_sets(basket_readouts(tasks, batch, 9)) == [(0, 0, [3, 4]), (0, 1, [4])]
    whole = Tasks(data, tasks.start, tasks.stop, tasks.stop)  # everything is known, the query is empty
    assert as_sets(basket_readouts(whole, slots(whole, 8), 1)) == [(0, 0, [3]), (0, 1, [4]), (0, 2, [])]
    assert as_sets(query_readouts(whole, slots(whole, 8))) == [(0, 2, [])]


def test_a_support_of_one_event_has_no_support_readouts(shop):
    data = shop([[[0], [1]]], 2)
    tasks = first_baskets(data, np.array([0]), 1, 1)
    reads = support_readouts(tasks, slots(tasks, 8), 3)
    assert len(reads) == len(reads.target) == 0


def test_no_tasks(random_shop):
    none = first_baskets(random_shop, np.arange(20), 99, 1)
    batch = slots(none, 8)
    assert len(none) == len(batch) == 0
    for reads in (query_readouts(none, batch), basket_readouts(none, batch, 1), support_readouts(none, batch, 1)):
        assert len(reads) == len(reads.target) == 0


def test_a_history_of_100_000_events_is_fast(random_shop):
    n = 100_000
    fields = {name: getattr(random_shop, name) for name in random_shop.__dataclass_fields__}
    fields |= {"users": random_shop.users.take([0]), "start": np.array([0, n]), "attributes": {}, "scene": None}
    long = Dataset(
        **fields
        | {"item": np.arange(n, dtype=np.int32) % 10, "time": np.arange(n) * DAY, "basket": np.arange(n, dtype=np.int32) // 4}
    )
    tasks = Tasks(long, np.array([0]), np.array([n - 4]), np.array([n]))
    start = time.perf_counter()
    batch = slots(tasks, 64)
    basket_readouts(tasks, batch, 3)
    support_readouts(tasks, batch, 3)
    query_readouts(tasks, batch)
    assert time.perf_counter() - start < 0.5
    assert batch.item.shape == (1, 64)
    assert batch.item[0].tolist() == long.item[n - 68 : n - 4].tolist()


def test_a_target_counts_what_its_best_event_does(shop):
    more = {"event_type": ["view", "buy", "view", "buy", "view", "view"]}
    plain = shop([[[0], [1], [2, 2], [3], [4]]], 5, more)
    dataset = replace(plain, event_weights=EventWeights((1.0, 0.0) if plain.event_types == ("buy", "view") else (0.0, 1.0)))
    tasks = first_baskets(dataset, np.array([0]), 1, 4)
    reads = query_readouts(tasks, slots(tasks, 8))
    assert reads.target.tolist() == [1, 2]  # views alone are read, not asked for; the other event with item 2 was a purchase
    assert reads.weight.tolist() == [1.0, 1.0]
    half = replace(plain, event_weights=EventWeights((1.0, 0.5)))
    reads = query_readouts(replace(tasks, dataset=half), slots(tasks, 8))
    assert dict(zip(reads.target.tolist(), reads.weight.tolist(), strict=True)) == {1: 1.0, 2: 1.0, 3: 0.5, 4: 0.5}


def test_without_weights_and_factors_nothing_is_weighed(shop):
    tasks = first_baskets(shop([[[0], [1], [2]]], 3, {"event_type": ["view", "buy", "view"]}), np.array([0]), 1, 2)
    assert query_readouts(tasks, slots(tasks, 8)).weight is None


def test_some_targets_of_the_same_readouts(tasks):
    reads = basket_readouts(tasks, slots(tasks, 64), 2)
    mask = np.arange(len(reads.target)) % 3 > 0
    some = reads.keep(mask)
    assert len(some) == len(reads)
    for name in ("target", "owner", "weight"):
        assert getattr(some, name).tolist() == getattr(reads, name)[mask].tolist()
