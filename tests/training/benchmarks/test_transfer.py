"""Laws of the protocol from shop to shop, and of the controls there; test_shipped.py has those of the recommender."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import transfer
from benchmarks.controls import families, tune
from benchmarks.protocol import Benchmark
from benchmarks.transfer import between
from llmrec.data.dataset import Dataset


@pytest.fixture
def made(shop) -> dict[str, Dataset]:
    """Four shops of 6 to 9 items."""
    rng = np.random.default_rng(0)
    return {
        name: shop([[[int(i)] for i in rng.permutation(items)[:5]] for _ in range(15)], items)
        for name, items in (("one", 6), ("two", 7), ("three", 8), ("four", 9))
    }


@pytest.fixture
def benchmark(made, monkeypatch) -> Benchmark:
    monkeypatch.setattr(transfer, "USERS", 10)
    return between(made, left_out="three", asked="four")


def test_the_last_item_is_asked_in_a_shop_that_nothing_is_known_of(benchmark, made):
    (setting,) = benchmark.settings
    for part, name, train in (("validation", "three", benchmark.train), ("test", "four", benchmark.final().train)):
        tasks, data = setting.asked(part), made[name]
        assert len(tasks) == 10 == len(set(tasks.user.tolist()))
        assert (
            tasks.dataset is data and (tasks.stop == data.start[tasks.user + 1]).all() and (tasks.stop - tasks.split == 1).all()
        )
        assert train.catalogue is data.catalogue and train.n_events == 0
    assert len(benchmark.users) == len(benchmark.final().users) == 0


def test_neither_the_shop_asked_nor_for_constants_the_one_left_out_is_trained_on(benchmark, made):
    assert benchmark.shops is not None
    assert [made[name] for name in ("one", "two")] == list(benchmark.shops.validation)
    assert [made[name] for name in ("one", "two", "three")] == list(benchmark.shops.test)


def test_the_reference_is_asked_the_same_and_trained_there_without_the_answers(benchmark):
    assert benchmark.reference is not None
    for part in ("validation", "test"):
        (fold,) = benchmark.reference.of(part).folds
        assert fold.settings[0].key("test") == benchmark.settings[0].key(part)
        assert fold.train.n_events == 15 * 3  # of five, the last two are asked for
    assert benchmark.reference.test.label == "trained on four"


def test_users_are_drawn_once_and_not_by_their_order(made, monkeypatch):
    monkeypatch.setattr(transfer, "USERS", 6)
    one, two = (between(made, "three", "four").settings[0].test for _ in range(2))
    np.testing.assert_array_equal(one.user, two.user)
    assert one.user.tolist() != list(range(6)) and (np.diff(one.user) > 0).all()


def test_controls_read_the_texts_of_the_shop_that_is_asked(benchmark):
    there = families(benchmark, lambda catalogue: np.eye(len(catalogue), 4, dtype=np.float32))
    assert [family.name for family in there] == ["TF-IDF", "BM25", "frozen text"]
    for family in there:
        for final in (False, True):
            method, part = tune(benchmark, family, final), "test" if final else "validation"
            tasks = benchmark.settings[0].asked(part)
            assert method is not None
            assert method.by_setting["last"].scores(tasks).shape == (10, tasks.dataset.n_items)
