"""First buyers of cold items, against loops over the events."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmrec import build
from llmrec.data.known import KnownUsers
from llmrec.data.tasks import full_histories
from llmrec.index.candidates import Candidates
from llmrec.ranking import first_buyers
from llmrec.ranking.first_buyers import (
    DECAY,
    HALF_LIFE,
    INPUTS,
    NO_SALES,
    SHRINK,
    ColdWeights,
    bought_by_the_same,
    nobody_yet,
    over_catalogue,
    with_events,
    without_users,
)

ITEMS, USERS, DAY = 12, 30, 86_400.0
COLD = np.arange(ITEMS) % 3 == 0


@pytest.fixture(scope="module", params=[0.0, 0.4], ids=["all taken", "some skipped"])
def events(request):
    """Weights of 1 and 2, an item in several baskets of a user, and baskets of several items; a share of the events has weight
    0, so that users skip items, take others, and some take an item before or after an event of weight 0 with it."""
    rng, rows = np.random.default_rng(0), []
    zero = np.random.default_rng(4)
    for user in range(USERS):
        for basket in range(int(rng.integers(1, 6))):
            for item in rng.integers(0, ITEMS, int(rng.integers(1, 4))):
                when = (100 + 3.0 * basket + user / 50) * DAY
                rows.append(
                    (f"u{user:02}", f"i{item:02}", when, f"b{basket}", (zero.random() >= request.param) * (1.0 + item % 2))
                )
    names = ("user_id", "item_id", "timestamp", "basket_id", "weight")
    table = {name: [row[column] for row in rows] for column, name in enumerate(names)}
    items = {"item_id": [f"i{item:02}" for item in range(ITEMS)], "title": [f"thing {item}" for item in range(ITEMS)]}
    return build(table, items)[0]


def observed(data, masks, known=None):
    """The events of some masks one after the other, as `observe` takes them."""
    stored = data.keep(np.zeros(data.n_events, bool))
    known = nobody_yet(COLD, 100 * DAY) if known is None else known
    held = KnownUsers((stored,))
    for mask in masks:
        later = data.keep(mask)
        later = later.take(np.flatnonzero(np.diff(later.start)))
        histories, fresh = held.joined(later.users, later)
        known = with_events(known, held.of(later.users), histories, fresh)
        held = held.with_histories(histories)
    return known


def table(known, counts="together") -> np.ndarray:
    found = np.zeros((ITEMS, ITEMS))
    row, column, value = getattr(known, counts).entries
    found[row, column] = value
    return found


def skips(data) -> tuple[np.ndarray, np.ndarray]:
    """By a loop: users who skipped each item, and the sums over them of their largest weights of the items that they took."""
    skipped, together = np.zeros(ITEMS), np.zeros((ITEMS, ITEMS))
    for user in range(data.n_users):
        most = {}
        for row in range(data.start[user], data.start[user + 1]):
            most[data.item[row]] = max(most.get(data.item[row], 0), 1.0 if data.counting is None else data.sample_weight[row])
        for item in [item for item, weight in most.items() if COLD[item] and weight == 0]:
            skipped[item] += 1
            for other, weight in most.items():
                together[other, item] += weight
    return skipped, together


def test_who_skipped_is_known_as_by_a_loop(events):
    known, (skipped, together) = observed(events, [np.ones(events.n_events, bool)]), skips(events)
    assert (events.counting is None) == (not skipped.any())
    np.testing.assert_array_equal(known.skipped, skipped)
    np.testing.assert_allclose(table(known, "skipped_together"), together, rtol=1e-6)


def test_a_user_who_takes_an_item_later_has_not_skipped_it(events):
    """Of every user the events of weight 0 come first; of those who skip nothing in the end, nothing is left."""
    weight = np.ones(events.n_events) if events.counting is None else events.sample_weight
    known = observed(events, [weight == 0, weight > 0])
    takers = [u for u in range(USERS) if not skips(events.take(np.array([u])))[0].any()]
    some = events.take(np.array(takers))
    worth = np.ones(some.n_events) if some.counting is None else some.sample_weight
    left = observed(some, [worth == 0, worth > 0])
    np.testing.assert_array_equal(known.skipped, skips(events)[0])
    assert not left.skipped.any() and not left.skipped_together.entries[0].size


def test_pairs_sales_and_recent_sales_are_those_of_a_loop(events):
    known = observed(events, [np.ones(events.n_events, bool)])
    weight, together, sold, recent = events.sample_weight, np.zeros((ITEMS, ITEMS)), np.zeros(ITEMS), np.zeros(ITEMS)
    for user in range(events.n_users):
        rows = range(events.start[user], events.start[user + 1])
        most = {}
        for row in rows:
            most[events.item[row]] = max(most.get(events.item[row], 0), weight[row])
        for one in most:
            for other in most:
                if one != other and COLD[other]:
                    together[one, other] += most[one] * most[other]
        for basket in set(events.basket[list(rows)].tolist()):
            mine = [row for row in rows if events.basket[row] == basket]
            for item in {events.item[row] for row in mine if COLD[events.item[row]]}:
                worth = max(weight[row] for row in mine if events.item[row] == item)
                sold[item] += worth
                recent[item] += worth * 2 ** ((events.time[mine[0]] - 100 * DAY) / HALF_LIFE)
    np.testing.assert_allclose(table(known), together, rtol=1e-6)
    np.testing.assert_allclose(known.sold, sold, rtol=1e-6)
    np.testing.assert_allclose(known.recent, recent, rtol=1e-6)
    assert known.latest == events.time.max() and not known.sold[~COLD].any()


def same(one, other) -> None:
    for counts in ("together", "skipped_together"):
        np.testing.assert_allclose(table(one, counts), table(other, counts), atol=1e-9)
    for name in ("sold", "recent", "latest", "skipped"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-9, atol=1e-12)


def test_batches_and_their_order_do_not_matter(events):
    """Baskets come whole, as `observe` has them: what comes later is a basket of its own."""
    part = np.random.default_rng(1).integers(0, 4, len(events.basket_start) - 1)
    part = np.repeat(part, np.diff(events.basket_start))
    once = observed(events, [np.ones(events.n_events, bool)])
    masks = [part == number for number in range(4)]
    same(observed(events, masks), once)
    same(observed(events, masks[::-1]), once)


def test_what_a_user_added_is_taken_off(events):
    gone = np.isin(events.user, [2, 5, 7])
    whole = observed(events, [np.ones(events.n_events, bool)])
    theirs = events.take(np.array([2, 5, 7]))
    same(replace(without_users(whole, theirs, theirs), latest=0.0), replace(observed(events, [~gone]), latest=0.0))


def test_inputs_are_those_of_a_loop_and_nothing_is_said_of_warm_items(events):
    known = observed(events, [events.time < 106 * DAY])
    tasks = full_histories(events, np.arange(events.n_users))
    popularity = np.arange(ITEMS, dtype=np.float32)
    start = np.arange(len(tasks) + 1) * ITEMS
    found = Candidates(start, np.tile(np.arange(ITEMS, dtype=np.int32), len(tasks)), np.zeros(start[-1], np.uint8))
    tfidf = np.random.default_rng(2).random(start[-1]).astype(np.float32)
    told = first_buyers.inputs(known, popularity, tasks, found, tfidf)
    together, expected = table(known), np.zeros((start[-1], len(INPUTS)))
    skipped, skipped_together = skips(events.keep(events.time < 106 * DAY))
    best, events = [], events.counted
    for row, (task, item) in enumerate(zip(found.task.tolist(), found.item.tolist(), strict=True)):
        if not COLD[item]:
            continue
        mine, last = range(events.start[task], events.start[task + 1]), events.basket[events.start[task + 1] - 1]
        pairs = {(int(events.item[e]), int(last - events.basket[e])) for e in mine}
        weights = {(past, back): DECAY**back / np.sqrt(max(popularity[past] + known.sold[past], 1)) for past, back in pairs}
        knn, skip_knn = (
            sum(weight * counts[past, item] for (past, _), weight in weights.items()) / np.sqrt(users + SHRINK)
            for counts, users in ((together, known.sold[item]), (skipped_together, skipped[item]))
        )
        text, knn_input = np.log1p(10 * np.expm1(tfidf[row])), np.log1p(10 * knn)
        now = known.recent[item] * 2 ** (-(known.latest - known.since) / HALF_LIFE)
        of_skips = np.log1p(skipped[item]), np.log1p(10 * skip_knn)
        expected[row] = 1, text, knn_input, text * knn_input, np.log1p(known.sold[item]), np.log(now + NO_SALES), *of_skips
        best += [(task, -knn, item)] if knn > 0 else []
    np.testing.assert_allclose(told, expected, rtol=1e-5, atol=1e-6)
    assert told.dtype == np.float32 and (told[:, 2] > 0).any() and (told[:, 7] > 0).any() == skipped.any()
    task, item = bought_by_the_same(known, popularity, tasks, 2)
    ranked = [[one[2] for one in sorted(best) if one[0] == t][:2] for t in range(len(tasks))]
    assert [item[task == t].tolist() for t in range(len(tasks))] == ranked
    assert not first_buyers.inputs(None, popularity, tasks, found, tfidf).any()


def test_over_another_catalogue_items_keep_their_buyers_and_new_ones_are_cold(events):
    known = observed(events, [np.ones(events.n_events, bool)])
    place = np.array([3, -1, *range(4, ITEMS), 0])
    found, there = over_catalogue(known, place), place >= 0
    assert found.cold.tolist() == [old < 0 or bool(COLD[old]) for old in place.tolist()]
    np.testing.assert_array_equal(found.sold, np.where(there, known.sold[place], 0))
    np.testing.assert_array_equal(found.recent, np.where(there, known.recent[place], 0))
    np.testing.assert_array_equal(found.skipped, np.where(there, known.skipped[place], 0))
    for counts in ("together", "skipped_together"):
        row, column, value = getattr(found, counts).entries
        moved = np.zeros((len(place), len(place)))
        moved[row, column] = value
        np.testing.assert_allclose(moved[np.ix_(there, there)], table(known, counts)[np.ix_(place[there], place[there])])
        assert not moved[~there].any() and not moved[:, ~there].any()
    larger = over_catalogue(known, np.append(np.arange(ITEMS), -1))
    assert larger.together is known.together and larger.cold[-1] and len(larger.sold) == len(larger.skipped) == ITEMS + 1
    assert larger.skipped_together is known.skipped_together


def test_it_is_the_same_out_of_its_arrays(events):
    known = observed(events, [np.ones(events.n_events, bool)])
    same(first_buyers.from_arrays(first_buyers.to_arrays(known)), known)


def test_scores_of_warm_items_stay_and_those_of_cold_ones_move():
    inputs = np.zeros((2, len(INPUTS)), np.float32)
    inputs[1] = 1, 2, 0, 0, 0, 3, 1, 2
    moved = ColdWeights(0.5, np.array([1.0, 2, 3, 4, 5, 6, -1, -2])).score(np.array([7.0, 8.0], np.float32), inputs)
    assert moved.tolist() == [7.0, 0.5 * 8 + 1 + 4 + 18 - 1 - 4] and moved.dtype == np.float32
