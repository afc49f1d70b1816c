"""Laws of the protocol from shop to shop, and of the method that is asked about a shop it never saw."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import shops, transfer
from benchmarks.controls import families, tune
from benchmarks.measure import measure
from benchmarks.protocol import Benchmark
from benchmarks.recipes import Fit, Recipe
from benchmarks.transfer import between
from llmrec.data.dataset import Dataset
from llmrec.encoder.train import TrainSettings
from llmrec.encoder.weights import Weights
from llmrec.progress import Stages
from llmrec.recommender.settings import Settings

RECIPE = Recipe(
    Settings(
        layers=None,
        train=TrainSettings(
            max_steps=4, batch_size=8, max_slots=12, horizon=1, known=(1, 4), learning_rate=3e-4, dropout=0.0, ema_decay=0.5
        ),
        blend_features=(),
    )
)


@pytest.fixture(autouse=True)
def _tiny(tiny_folders, monkeypatch):
    monkeypatch.setattr(Weights, "packaged", staticmethod(lambda: Weights.folder(tiny_folders["bert"])))


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


def fit(benchmark: Benchmark, folder, final: bool = False, seed: int = 0) -> dict:
    methods = shops.fit(benchmark, RECIPE, Fit("small", seed, final, folder), Stages(io.StringIO()))
    return {method.name: method for method in methods}


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


def test_the_method_scores_both_shops_and_reads_no_query(benchmark, tmp_path):
    for final in (False, True):
        methods = fit(benchmark, tmp_path, final)
        assert set(methods) == {"llmrec", "llmrec, transformer alone"}
        tasks = benchmark.settings[0].asked("test" if final else "validation")
        for method in methods.values():
            scores = method.by_setting["last"].scores(tasks)
            assert scores.shape == (10, tasks.dataset.n_items) and scores.dtype == np.float32 and np.isfinite(scores).all()
            np.testing.assert_allclose(method.by_setting["last"].scores(replace(tasks, stop=tasks.split)), scores, atol=1e-4)


def test_the_weight_of_words_is_the_best_on_the_shop_left_out_and_kept(benchmark, tmp_path):
    early, late = fit(benchmark, tmp_path)["llmrec"], fit(benchmark, tmp_path, final=True)["llmrec"]
    control, setting = early.by_setting["last"], benchmark.settings[0]
    found = {
        weight: measure(replace(control, weight=weight), setting, setting.validation, ("ndcg@10",))["ndcg@10"].mean()
        for weight in shops.WEIGHTS
    }
    assert found[control.weight] == max(found.values())
    assert late.by_setting["last"].weight == control.weight


def test_a_run_that_is_killed_goes_on_to_the_same_scores(benchmark, tmp_path, monkeypatch):
    whole = fit(benchmark, tmp_path / "whole")["llmrec, transformer alone"].by_setting["last"]
    monkeypatch.setattr(shops, "SAVE_EVERY", 2)
    real, steps = shops.advance_together, []

    def killed(*arguments):
        if len(steps) == 3:
            raise KeyboardInterrupt
        steps.append(1)
        return real(*arguments)

    monkeypatch.setattr(shops, "advance_together", killed)
    with pytest.raises(KeyboardInterrupt):
        fit(benchmark, tmp_path / "killed")
    steps.clear()
    again = fit(benchmark, tmp_path / "killed")["llmrec, transformer alone"].by_setting["last"]
    assert len(steps) == 2
    tasks = benchmark.settings[0].validation
    np.testing.assert_array_equal(again.scores(tasks), whole.scores(tasks))


def test_another_training_shop_gives_other_scores_and_the_shop_asked_gives_its_texts_only(benchmark, made, tmp_path):
    assert benchmark.shops is not None
    alone = "llmrec, transformer alone"
    tasks, one = benchmark.settings[0].validation, fit(benchmark, tmp_path / "one")[alone].by_setting["last"]
    fewer = replace(benchmark, shops=replace(benchmark.shops, validation=benchmark.shops.validation[:1]))
    other = fit(fewer, tmp_path / "two")[alone].by_setting["last"]
    assert np.abs(one.scores(tasks) - other.scores(tasks)).max() > 1e-4
    busy = replace(benchmark, train=made["three"], users=np.arange(15))  # its events are there, and are not looked at
    same = fit(busy, tmp_path / "three")[alone].by_setting["last"]
    np.testing.assert_array_equal(same.scores(tasks), one.scores(tasks))


def test_controls_read_the_texts_of_the_shop_that_is_asked(benchmark):
    there = families(benchmark, lambda catalogue: np.eye(len(catalogue), 4, dtype=np.float32))
    assert [family.name for family in there] == ["TF-IDF", "BM25", "frozen text"]
    for family in there:
        for final in (False, True):
            method, part = tune(benchmark, family, final), "test" if final else "validation"
            tasks = benchmark.settings[0].asked(part)
            assert method is not None
            assert method.by_setting["last"].scores(tasks).shape == (10, tasks.dataset.n_items)
