from __future__ import annotations

import numpy as np
import pytest

from llmrec.data.build import build, events_for
from llmrec.data.dataset import Dataset
from llmrec.data.merge import already_known, merge
from llmrec.errors import SchemaError

ITEMS = {"item_id": list(range(20)), "title": [f"item {i}" for i in range(20)]}


def rows(seed: int, users: range, more: bool = False) -> dict[str, list]:
    """60 events in baskets; no two events share a time."""
    rng = np.random.default_rng(seed)
    user = rng.choice(list(users), 60)
    table = {
        "user_id": user.tolist(),
        "item_id": rng.integers(0, 20, 60).tolist(),
        "timestamp": rng.permutation(10_000)[:60].tolist(),
        "basket_id": [f"{seed}-{who}-{rng.integers(0, 4)}" for who in user],
        "price": rng.random(60).tolist(),
    }
    return table | ({"rating": rng.integers(1, 6, 60).tolist(), "scene": rng.choice(["a", "b"], 60).tolist()} if more else {})


def dataset(table: dict[str, list]) -> Dataset:
    return build(table, ITEMS)[0]


def later(known: Dataset, table: dict[str, list]) -> Dataset:
    return events_for(known.catalogue, table, None, known.event_types, known.scenes)[0]


def history(data: Dataset, user: object, names: tuple[str, ...] = ("price",)) -> list[tuple]:
    place = data.users.values.index(user)
    own = range(data.start[place], data.start[place + 1])
    return [(data.item[k], data.time[k], data.basket[k], *(data.attributes[name][k] for name in names)) for k in own]


@pytest.mark.parametrize("seed", range(5))
def test_merging_is_having_built_from_everything(seed):
    one, two = rows(seed, range(6)), rows(100 + seed, range(3, 9))
    known = dataset(one)
    merged = merge(known, later(known, two))
    whole = dataset({name: one[name] + two[name] for name in one})
    assert sorted(merged.users.values) == whole.users.values
    assert merged.users.values[: known.n_users] == known.users.values
    for user in whole.users.values:
        assert history(merged, user) == history(whole, user)
    assert merged.start.dtype == whole.start.dtype
    assert [merged.item.dtype, merged.time.dtype, merged.basket.dtype] == [
        whole.item.dtype,
        whole.time.dtype,
        whole.basket.dtype,
    ]
    assert merged.basket_start[-1] == merged.n_events == whole.n_events


def test_neither_side_is_changed():
    known = dataset(rows(1, range(4)))
    more = later(known, rows(2, range(6)))
    before = [values.copy() for data in (known, more) for values in (data.start, data.item, data.time, data.basket)]
    merge(known, more)
    after = [values for data in (known, more) for values in (data.start, data.item, data.time, data.basket)]
    assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))


def test_baskets_of_both_sides_stay_apart_and_whole_at_one_time():
    table = {"user_id": [1, 1, 1], "item_id": [5, 3, 9], "timestamp": [10, 12, 11], "basket_id": ["x", "x", "x"]}
    known = dataset(table)
    merged = merge(known, later(known, table))
    assert merged.item.tolist() == [5, 9, 3] * 2
    assert merged.basket.tolist() == [0, 0, 0, 1, 1, 1]


def test_a_late_report_of_an_early_basket_goes_where_it_happened():
    known = dataset({"user_id": [1, 1], "item_id": [1, 2], "timestamp": [10, 30]})
    merged = merge(known, later(known, {"user_id": [1, 1], "item_id": [3, 4], "timestamp": [20, 5]}))
    assert merged.item.tolist() == [4, 1, 3, 2]
    assert merged.basket.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("known_has_more", [True, False])
def test_what_only_one_side_tells_is_unknown_on_the_other(known_has_more):
    known = dataset(rows(1, range(4), known_has_more))
    new = later(known, rows(2, range(10, 14), not known_has_more))
    merged = merge(known, new)
    first = merged.user < known.n_users
    told = first if known_has_more else ~first
    assert np.array_equal(np.isfinite(merged.attributes["rating"]), told)
    assert np.isfinite(merged.attributes["price"]).all()
    if known_has_more:
        assert np.array_equal(merged.scene[first], known.scene)
        assert merged.scenes == known.scenes
    assert (merged.scene[~first] == -1).all()  # without names on the known side, a scene has no code
    assert merged.scene.dtype == np.int32


def test_without_scenes_there_are_none():
    known = dataset(rows(1, range(4)))
    assert merge(known, later(known, rows(2, range(4)))).scene is None


def test_nobody_and_somebody_are_somebody():
    some = dataset(rows(1, range(4)))
    nobody = some.take(np.zeros(0, np.int64))
    for merged in (merge(nobody, some), merge(some, nobody)):
        assert merged.users.values == some.users.values
        for name in ("start", "item", "time", "basket"):
            assert np.array_equal(getattr(merged, name), getattr(some, name))
    assert merge(nobody, nobody).n_events == 0


def test_a_user_who_has_no_event_keeps_the_place():
    known = dataset(rows(1, range(4)))
    emptied = known.keep(known.user != 1)
    merged = merge(emptied, later(known, rows(2, range(1, 3))))
    assert merged.users.values == known.users.values
    assert history(merged, 1) == history(later(known, rows(2, range(1, 3))), 1)
    assert history(merged, 0) == history(known, 0)


def test_ids_of_two_kinds_are_refused():
    known = dataset(rows(1, range(4)))
    other = rows(2, range(4))
    other["user_id"] = [str(user) for user in other["user_id"]]
    with pytest.raises(SchemaError, match=r"known are int such as \d, got str such as '\d'; expected one kind"):
        merge(known, later(known, other))


def test_an_event_is_known_where_user_item_time_and_type_are():
    kinds = {"event_type": ["view", "buy"] * 30}
    known = dataset(rows(1, range(4)) | kinds)
    again = later(known, rows(1, range(4)) | kinds)
    assert already_known(known, again).all()
    assert already_known(known, later(known, rows(1, range(4)))).all()  # a table that names no types
    turned = later(known, rows(1, range(4)) | {"event_type": ["buy", "view"] * 30})
    assert not already_known(known, turned).any()
    for name, other in (("user_id", 7), ("item_id", 19), ("timestamp", 20_000)):
        table = rows(1, range(4))
        table[name] = [other] * 60
        changed = later(known, table)
        was = np.isin(changed.time, known.time[known.item == 19]) & (name == "item_id")  # it was item 19 before, too
        assert np.array_equal(already_known(known, changed), was)
    assert not already_known(known.keep(np.zeros(60, bool)), again).any()


def test_of_equal_events_in_several_baskets_as_many_are_known_as_are_there():
    table = {"user_id": [1, 1], "item_id": [5, 5], "timestamp": [100, 100], "basket_id": ["a", "b"]}
    one = dataset({name: values[:1] for name, values in table.items()})
    assert already_known(one, later(one, table)).sum() == 1
    assert already_known(dataset(table), later(one, table)).all()
