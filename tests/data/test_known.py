"""Histories in layers: whatever was added in whatever order, they are those of one merge of everything."""

from __future__ import annotations

from math import log2

import numpy as np
import pytest

from llmrec.data.build import build, events_for
from llmrec.data.dataset import Dataset
from llmrec.data.ids import Ids
from llmrec.data.known import KnownUsers
from llmrec.data.merge import merge, overlaid, stacked

ITEMS = {"item_id": list(range(20)), "title": [f"item {i}" for i in range(20)]}
NAMES = ("start", "item", "time", "basket")


def rows(seed: int, users: list[int], count: int, more: bool = False) -> dict[str, list]:
    """Events that share no time, also not with those of another seed; with `more`, an attribute and scenes beside the price."""
    rng = np.random.default_rng(seed)
    table = {
        "user_id": rng.choice(users, count).tolist(),
        "item_id": rng.integers(0, 20, count).tolist(),
        "timestamp": (1000 * rng.permutation(10_000)[:count] + seed).tolist(),
        "price": rng.random(count).tolist(),
    }
    return table | (
        {"rating": rng.integers(1, 6, count).tolist(), "scene": rng.choice(["a", "b"], count).tolist()} if more else {}
    )


def fitted(more: bool = False) -> Dataset:
    return build(rows(0, list(range(30)), 400, more), ITEMS)[0]


def later(known: Dataset, table: dict[str, list]) -> Dataset:
    return events_for(known.catalogue, table, None, known.event_types, known.scenes)[0]


def added(known: KnownUsers, events: Dataset) -> KnownUsers:
    return known.with_histories(known.joined(events.users, events)[0])


def same(one: Dataset, other: Dataset) -> None:
    assert one.users.values == other.users.values and one.attributes.keys() == other.attributes.keys()
    assert all(np.array_equal(getattr(one, name), getattr(other, name)) for name in NAMES)
    assert all(np.array_equal(one.attributes[name], other.attributes[name], equal_nan=True) for name in one.attributes)
    assert (one.scene is None) == (other.scene is None) and (one.scene is None or np.array_equal(one.scene, other.scene))
    assert (one.event_types, one.scenes, one.event_weights) == (other.event_types, other.scenes, other.event_weights)
    assert {getattr(one, name).dtype for name in NAMES} == {getattr(other, name).dtype for name in NAMES}


@pytest.mark.parametrize("more", [(False, False), (False, True), (True, False), (True, True)])
def test_layers_hold_what_one_merge_of_everything_holds(more):
    first = fitted(more[0])
    known, whole, rng = KnownUsers((first,)), first, np.random.default_rng(1)
    for seed in range(1, 60):
        some = rng.choice(45, rng.integers(1, 4), replace=False).tolist()  # a third of them are new at first
        events = later(first, rows(seed, some, int(rng.integers(1, 6)), more[1]))
        known, whole = added(known, events), merge(whole, events)
    assert len(known.layers) > 1
    same(known.dataset, whole)
    assert known.latest == whole.latest == whole.time.max()
    for users in ([3, 40, 3, 7], [999], [], list(range(44, -1, -1))):
        found, place = known.of(Ids(users)), whole.users.find(users)
        assert known.knows(Ids(users)).tolist() == (place >= 0).tolist()
        assert sorted(found.users.values) == sorted({user for user in users if user in whole.users.values})
        expected = whole.take(whole.users.find(found.users.values))
        assert all(np.array_equal(getattr(found, name), getattr(expected, name)) for name in NAMES)
        assert np.array_equal(found.attributes["price"], expected.attributes["price"])


def test_adding_an_event_moves_few_others_and_never_reads_all():
    first = fitted()
    known, moved, n = KnownUsers((first,)), 0, 300
    for seed in range(n):
        before = known
        known = added(known, later(first, {"user_id": [1000 + seed], "item_id": [1], "timestamp": [seed]}))
        moved += sum(layer.n_events for layer in known.layers if all(layer is not one for one in before.layers))
        assert all(big.n_events >= 2 * small.n_events for big, small in zip(known.layers, known.layers[1:], strict=False))
        known.of(Ids([1000, 5]))
    assert moved <= n * log2(2 * (first.n_events + n))
    lately = added(known, later(first, {"user_id": [5], "item_id": [1], "timestamp": [1]}))
    assert lately.first is known.first
    assert set(vars(known.first)) <= set(Dataset.__dataclass_fields__)  # nothing was worked out for all events
    assert "dataset" not in vars(known)


def test_adding_gives_another_value_and_leaves_the_first_as_it_was():
    first = fitted()
    one = added(KnownUsers((first,)), later(first, rows(1, [1, 2], 5)))
    before = one.of(Ids([1, 2, 77])).time.copy()
    for seed in (2, 3):
        other = added(one, later(first, rows(seed, [1, 77], 5)))
        assert other.knows(Ids([77])).all() and not one.knows(Ids([77])).any()
        assert np.array_equal(one.of(Ids([1, 2, 77])).time, before)


def test_users_who_are_trained_on_keep_their_places():
    first = fitted()
    known = KnownUsers((first,))
    for seed in range(1, 8):
        known = added(known, later(first, rows(seed, list(range(20, 60)), 200)))
    assert known.first is not first
    assert known.first.users.values[: first.n_users] == first.users.values


def test_nobody_is_known_at_first_and_ids_of_another_kind_never():
    first = fitted()
    nobody = KnownUsers((first.take(np.zeros(0, np.int64)),))
    events = later(first, rows(1, [1, 2], 5))
    assert nobody.of(Ids([1])).n_users == 0 and not nobody.knows(Ids([1])).any()
    same(added(nobody, events).dataset, events)
    text = rows(1, [1, 2], 5)
    text["user_id"] = [str(user) for user in text["user_id"]]
    strangers = later(first, text)
    joined, fresh = KnownUsers((first,)).joined(strangers.users, strangers)
    assert joined is fresh is strangers


def test_an_event_on_both_sides_is_there_once_and_users_without_events_bring_theirs():
    first = fitted()
    table = rows(0, list(range(30)), 400)
    again = later(first, {name: values[:3] for name, values in table.items()})
    new = later(first, {"user_id": [4], "item_id": [1], "timestamp": [5]})
    known = KnownUsers((first,))
    joined, fresh = known.joined(Ids([*again.users.values, 9]), again)
    assert fresh.n_events == 0
    same(joined, known.of(Ids([*again.users.values, 9])))
    joined, fresh = known.joined(new.users, new)
    assert fresh.n_events == 1 and joined.n_events == known.of(Ids([4])).n_events + 1


def test_one_dataset_lies_over_another():
    first = fitted()
    older, newer = first.take(np.array([2, 0, 5])), later(first, rows(1, [5, 70], 9))
    found = overlaid(older, newer)
    assert found.users.values == [2, 0, 5, 70]
    same(found, stacked([older.take(np.array([0, 1])), newer]))
    assert stacked([older.take(np.zeros(0, np.int64)), newer]) is newer
