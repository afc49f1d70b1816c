"""Laws of the protocol for new items, on a made shop where items appear over time."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import controls
from benchmarks.controls import families, tune
from benchmarks.item_cold import asked_for_new_items, first_cold
from benchmarks.protocol import Benchmark
from llmrec.data.build import build
from llmrec.data.clean import Cleaning
from llmrec.data.dataset import Dataset

DAYS, ITEMS = 100, 60
WORDS = ("red", "blue", "green", "mug", "lamp", "rope")


@pytest.fixture(scope="module")
def whole() -> Dataset:
    """150 users with 4 to 12 events over 100 days; every third day brings an item, and mostly what is new is taken."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(150):
        days = np.sort(rng.integers(0, DAYS, rng.integers(4, 13)))
        for day in days:
            there = 30 + int(day * 0.3)
            rows.append((f"u{user:03}", f"i{max(0, there - 1 - int(rng.exponential(8))):02}", 1.3e9 + 86_400.0 * day))
    names = ("user_id", "item_id", "timestamp")
    events = {name: [row[column] for row in rows] for column, name in enumerate(names)}
    titles = [f"{WORDS[i % 3]} {WORDS[3 + i % 2]} {i}" for i in range(ITEMS)]
    items = {"item_id": [f"i{i:02}" for i in range(ITEMS)], "title": titles}
    return build(events, items, cleaning=Cleaning(drop_duplicates=False, outlier_spread=None))[0]


@pytest.fixture(scope="module")
def benchmark(whole) -> Benchmark:
    return asked_for_new_items(whole, "item-cold-made")


def events(dataset: Dataset) -> set[tuple]:
    """(user, item, time) of all events, by names."""
    users = np.array(dataset.users.values)[dataset.user]
    return set(zip(users.tolist(), dataset.item.tolist(), dataset.time.tolist(), strict=True))


def parts(benchmark: Benchmark):
    """(part, training set, moment of the cut) of both parts."""
    for part, train in (("validation", benchmark.train), ("test", benchmark.final().train)):
        yield part, train, train.time.max()


def test_the_query_is_the_first_event_of_an_item_that_was_not_there_before_the_cut(benchmark):
    for part, train, last in parts(benchmark):
        for setting in benchmark.settings:
            tasks = setting.asked(part)
            data, among = tasks.dataset, benchmark.setting("cold").only(part)
            assert among is not None and len(tasks) > 5
            first = {item: data.time[data.item == item].min() for item in range(ITEMS) if (data.item == item).any()}
            assert {item for item, time in first.items() if time > last} == set(np.flatnonzero(among).tolist())
            assert not np.isin(train.item, np.flatnonzero(among)).any()
            for t in range(len(tasks)):
                (wanted,), support = data.item[tasks.query(t)], data.item[tasks.support(t)]
                assert among[wanted] and not among[support].any()
                assert tasks.start[t] == data.start[tasks.user[t]] and data.time[tasks.start[t]] <= last
                assert data.time[tasks.support(t)].max() <= data.time[tasks.split[t]]


def test_everyone_who_was_there_and_took_a_new_item_is_asked(whole):
    tasks = first_cold(whole, 1.3e9 + 86_400.0 * 70)
    born = np.array([whole.time[whole.item == i].min() if (whole.item == i).any() else np.inf for i in range(whole.n_items)])
    expected = [
        user
        for user in range(whole.n_users)
        for mine in [slice(whole.start[user], whole.start[user + 1])]
        if whole.time[mine][0] < 1.3e9 + 86_400.0 * 70 and (born[whole.item[mine]] >= 1.3e9 + 86_400.0 * 70).any()
    ]
    assert tasks.user.tolist() == expected


def test_validation_knows_nothing_that_came_after_the_later_cut(benchmark):
    (_, early, _), (_, late, last) = parts(benchmark)
    assert benchmark.settings[0].validation.dataset.time.max() <= last
    assert events(early) < events(late)


def test_a_setting_of_new_items_ranks_no_other_and_the_keys_differ(benchmark):
    cold, every = benchmark.setting("cold"), benchmark.setting("all")
    for part in ("validation", "test"):
        tasks = cold.asked(part)
        allowed, among, seen = cold.allowed(tasks, part), cold.only(part), every.allowed(tasks, part)
        assert allowed is not None and seen is not None and among is not None
        np.testing.assert_array_equal(allowed, among & seen)
        assert [items.tolist() for items in cold.relevant(tasks, part)] == [[i] for i in tasks.dataset.item[tasks.split]]
        assert every.only(part) is None and cold.key(part) != every.key(part)
    assert (cold.only("validation") != cold.only("test")).any()


def test_a_blend_for_all_items_is_learned_from_what_everyone_took_next(benchmark):
    learn = benchmark.setting("all").learn
    assert learn is not None and benchmark.setting("cold").learn is None
    data, among = learn.dataset, benchmark.setting("cold").only("validation")
    assert (learn.stop == learn.split + 1).all() and among is not None
    assert (data.time[learn.split] > benchmark.train.time.max()).all()
    assert 0 < among[data.item[learn.split]].mean() < 1  # some end in a new item, others do not


def test_the_reference_is_trained_on_the_others_and_never_on_an_answer(benchmark):
    assert benchmark.reference is not None
    for part, train, last in parts(benchmark):
        folds, asked = benchmark.reference.of(part).folds, []
        among = benchmark.setting("cold").only(part)
        for fold in folds:
            known = events((fold.final() if part == "test" else fold).train)
            assert events(train) < known
            assert any(among[item] for _, item, _ in known)
            learn = fold.setting("all").learn
            for tasks in [fold.setting(name).asked(part) for name in ("cold", "all")] + (
                [learn] if part == "validation" else []
            ):
                data, users = tasks.dataset, np.array(tasks.dataset.users.values)[tasks.user]
                stop = data.start[tasks.user + 1]
                for t, user in enumerate(users):
                    later = {(user, int(data.item[e]), float(data.time[e])) for e in range(tasks.split[t], stop[t])}
                    assert not later & known
            asked += fold.setting("cold").asked(part).split.tolist()
            others = {event for event in events(fold.setting("cold").asked(part).dataset) if event[2] > last} & known
            assert others  # what strangers did later is what makes it a reference
        assert sorted(asked) == benchmark.setting("cold").asked(part).split.tolist()


def test_controls_are_those_that_can_know_new_items(benchmark, monkeypatch):
    monkeypatch.setattr(controls, "ALIKE", (1, 3))
    vectors = np.random.default_rng(1).normal(size=(len(benchmark.train.catalogue), 4)).astype(np.float32)
    there = families(benchmark, lambda catalogue: vectors)
    assert [family.name for family in there] == ["popularity", "TF-IDF", "BM25", "frozen text", "attribute kNN"]
    for family in there:
        for final in (False, True):
            method = tune(benchmark, family, final)
            assert method is not None and set(method.by_setting) == {"cold", "all"}
    carried = tune(benchmark, there[-1], final=True)
    tasks = benchmark.setting("cold").test
    assert (
        carried is not None and (carried.by_setting["cold"].scores(tasks)[:, benchmark.setting("cold").only("test")] > 0).any()
    )


def test_constants_of_all_are_chosen_where_the_blend_is_learned(benchmark):
    assert controls.sample(benchmark.setting("all")) is benchmark.setting("all").learn
    assert controls.sample(benchmark.setting("cold")) is benchmark.setting("cold").validation
