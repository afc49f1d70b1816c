"""Laws of the tuned controls: the best on validation, fitted where they should be, and no look at test."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pytest

from benchmarks import controls
from benchmarks.controls import Family, FrozenText, OwnRepeats, families, position, reshrunk, sample, tune
from benchmarks.protocol import Benchmark, Setting, first_known
from llmrec.data.dataset import Dataset
from llmrec.data.tasks import Tasks, sample_windows
from llmrec.metrics.ranking import ndcg
from llmrec.models.item_item import fit_ease, fit_markov

NO_TEST = cast(Any, None)  # a test that is not there cannot be looked at


@dataclass(frozen=True)
class Fixed:
    """Puts one item first; knows on how many users it was fitted."""

    item: int
    users: int
    name: str = "fixed"

    def scores(self, tasks: Tasks) -> np.ndarray:
        found = np.zeros((len(tasks), tasks.dataset.n_items), np.float32)
        found[:, self.item] = 1
        return found


def fixed(*items: int) -> Family:
    def one(item: int) -> controls.Fit:
        return lambda dataset, users: {f"item {item}": Fixed(item, len(users)), "item 9": Fixed(9, len(users))}

    return Family("fixed", tuple(one(item) for item in items))


@pytest.fixture
def benchmark(shop) -> Benchmark:
    """After items 1 and 2 come 3 and 4 for everyone; 1 is bought again."""
    world = shop([[[1, 2], [1, 3], [4], [5]]] * 12, 10)
    first = first_known(world, np.arange(8, 12), 1, 1, 1)
    second = first_known(world, np.arange(8, 12), 2, 1, 1)
    settings = (Setting("a", first, NO_TEST, "all"), Setting("b", second, NO_TEST, "unseen"))
    return Benchmark("made", world, np.arange(8), settings, ("a", "ndcg@10"))


def test_each_setting_gets_what_is_best_there_and_test_is_not_looked_at(benchmark):
    method = tune(benchmark, fixed(0, 3, 4), final=True)
    assert method is not None
    assert {name: control.item for name, control in method.by_setting.items()} == {"a": 3, "b": 4}
    assert method.constants["a"].startswith("item 3 (validation 0.")
    assert method.role == "control"


def test_of_equals_the_first_is_taken(benchmark):
    method = tune(benchmark, fixed(7, 6), final=False)
    assert method is not None
    assert [control.item for control in method.by_setting.values()] == [7, 7]


def test_constants_come_from_train_and_the_fit_from_the_final_one(benchmark):
    later = replace(benchmark, train_final=benchmark.train, users_final=np.arange(11))
    for final, users in ((False, 8), (True, 11)):
        method = tune(later, fixed(0, 3, 4), final)
        assert method is not None
        assert {name: (c.item, c.users) for name, c in method.by_setting.items()} == {"a": (3, users), "b": (4, users)}


def test_what_needs_repeats_is_asked_only_where_they_are_ranked(benchmark):
    method = tune(benchmark, replace(fixed(3), repeats_only=True), final=False)
    assert method is not None
    assert set(method.by_setting) == {"a"}
    only_new = replace(benchmark, settings=benchmark.settings[1:])
    assert tune(only_new, replace(fixed(3), repeats_only=True), final=False) is None


def test_the_metric_is_the_one_of_the_measure(benchmark):
    method = tune(benchmark, fixed(3), final=False)
    assert method is not None
    tasks = benchmark.settings[0].validation
    found = ndcg(method.by_setting["a"].scores(tasks), tasks.relevant(), 10).mean()
    assert f"{found:.4f}" in method.constants["a"]


def test_every_family_runs_in_every_setting(benchmark):
    vectors = np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32)
    found = [tune(benchmark, family, final=False) for family in families(benchmark, lambda catalogue: vectors)]
    names = {method.name for method in found if method is not None}
    assert {"popularity", "popularity by position", "most frequent", "item kNN", "EASE", "windowed Markov"} <= names
    assert {"TF-IDF", "BM25", "frozen text", "recent popularity"} <= names
    for method in found:
        assert method is not None
        for name, control in method.by_setting.items():
            scores = control.scores(benchmark.setting(name).validation)
            assert scores.shape == (4, 10)
            assert scores.dtype == np.float32
    assert "frozen text" not in {family.name for family in families(benchmark)}


def test_markov_finds_what_always_comes_next(benchmark):
    (family,) = [family for family in families(benchmark) if family.name == "windowed Markov"]
    method = tune(benchmark, family, final=False)
    assert method is not None
    assert method.by_setting["b"].scores(benchmark.settings[1].validation).argmax(1).tolist() == [4] * 4


@pytest.mark.parametrize("wanted", [0.0, 0.5, 30.0])
def test_shrinking_anew_is_fitting_anew(random_shop, wanted):
    users = np.arange(15)
    ours = reshrunk(fit_markov(random_shop, users, 2, 3, shrink=1.0), 1.0, wanted)
    theirs = fit_markov(random_shop, users, 2, 3, shrink=wanted)
    tasks = first_known(random_shop, np.arange(15, 20), 2, 1, 0)
    np.testing.assert_allclose(ours.scores(tasks), theirs.scores(tasks), rtol=1e-6)
    np.testing.assert_allclose(ours.exit_rate, theirs.exit_rate)


def test_own_repeats_are_the_diagonal_of_ease(random_shop):
    users, tasks = np.arange(15), first_known(random_shop, np.arange(20), 2, 1, 0)
    ours = OwnRepeats(fit_ease(random_shop, users, 5.0, decay=0.5), 0.7, 0.5)
    theirs = fit_ease(random_shop, users, 5.0, decay=0.5, repeat=0.7)
    np.testing.assert_allclose(ours.scores(tasks), theirs.scores(tasks), rtol=1e-5, atol=1e-7)


def test_frozen_text_is_the_decayed_mean_of_the_last_texts(shop):
    world: Dataset = shop([[[0], [1], [2], [3]]], 5)
    vectors = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    tasks = first_known(world, np.arange(1), 3, 1, 1)
    found = FrozenText(vectors, decay=0.8, last=2).scores(tasks)
    np.testing.assert_allclose(found[0], vectors @ (vectors[2] + 0.8 * vectors[1]), rtol=1e-5)


def test_the_place_in_the_history_is_known_only_where_it_is_the_same(random_shop):
    assert position(first_known(random_shop, np.arange(20), 2, 3, 1)) == (2, 5)
    windows = sample_windows(random_shop, np.arange(20), (1, 2), 1, 50, np.random.default_rng(0))
    assert position(windows) is None


def test_a_large_validation_is_sampled_and_always_the_same(random_shop, monkeypatch):
    tasks = first_known(random_shop, np.arange(20), 1, 1, 1)
    setting = Setting("a", tasks, NO_TEST, "all")
    assert sample(setting) is tasks
    monkeypatch.setattr(controls, "SAMPLE", 7)
    one, again = sample(setting), sample(setting)
    assert len(one) == 7
    assert (np.diff(one.start) > 0).all()
    np.testing.assert_array_equal(one.start, again.start)
