"""Our method on a made benchmark: what comes out, what it is fitted on, and that it goes on where it was."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from llmrec.benchmarks import ours
from llmrec.benchmarks.protocol import Benchmark, Setting, first_known
from llmrec.benchmarks.recipes import Recipe, recipe
from llmrec.encoder.train import TrainSettings
from llmrec.encoder.weights import Weights
from llmrec.errors import DataError
from llmrec.index.candidates import Sources
from llmrec.progress import Stages
from llmrec.ranking.ranker import RankerSettings
from llmrec.recommender.settings import Settings

RECIPE = Recipe(
    Settings(
        layers=None,
        train=TrainSettings(steps=4, batch=8, most=12, horizon=1, known=(1, 4)),
        counts_ranker=RankerSettings(hidden=2, steps=10),
        blend=RankerSettings(hidden=2, steps=10),
        sources=Sources(text_k=3, knn_k=2, popular_k=2),
        ranking_tasks=40,
    ),
    blend_tasks=50,
)


@pytest.fixture(autouse=True)
def _tiny(tiny_folders, monkeypatch):
    monkeypatch.setattr(Weights, "packaged", staticmethod(lambda: Weights.folder(tiny_folders["bert"])))


@pytest.fixture
def benchmark(random_shop) -> Benchmark:
    one, two = (
        [first_known(random_shop, users, known, 1, 1) for users in (np.arange(10, 15), np.arange(15, 20))] for known in (1, 2)
    )
    settings = (Setting("all", *one, "all"), Setting("new", *one, "unseen"), Setting("later", *two, "unseen"))
    return Benchmark("made", random_shop, np.arange(10), settings, ("all", "ndcg@10"))


def fit(benchmark: Benchmark, folder: Path, seed: int = 0, final: bool = False, kind: ours.Kind = "pretrained") -> dict:
    methods = ours.fit(benchmark, RECIPE, seed, final, Stages(io.StringIO()), folder, None, kind)
    return {method.name: method for method in methods}


def test_the_chain_and_its_parts_alone_score_every_setting(benchmark, tmp_path):
    methods = fit(benchmark, tmp_path)
    assert set(methods) == {"llmrec", "llmrec, transformer alone", "llmrec, counts alone"}
    for method in methods.values():
        assert method.role == "ours" and set(method.by_setting) == {"all", "new", "later"}
        for name, control in method.by_setting.items():
            tasks = benchmark.setting(name).test
            scores = control.scores(tasks)
            assert scores.shape == (len(tasks), 10) and scores.dtype == np.float32 and np.isfinite(scores).all()


def test_a_run_that_is_done_is_not_trained_again_and_scores_alike(benchmark, tmp_path):
    first = fit(benchmark, tmp_path)
    stamp = (tmp_path / "early" / "checkpoint").stat().st_mtime_ns
    second = fit(benchmark, tmp_path)
    assert (tmp_path / "early" / "checkpoint").stat().st_mtime_ns == stamp
    for name, method in first.items():
        for setting, control in method.by_setting.items():
            tasks = benchmark.setting(setting).test
            np.testing.assert_array_equal(control.scores(tasks), second[name].by_setting[setting].scores(tasks))


def test_no_score_changes_with_the_query_or_with_other_tasks(benchmark, tmp_path):
    chain = fit(benchmark, tmp_path)["llmrec"].by_setting["new"]
    tasks = benchmark.setting("new").test
    whole = chain.scores(tasks)
    for t in range(len(tasks)):
        alone = tasks.take(np.array([t]))
        blind = replace(alone, stop=alone.split)
        np.testing.assert_allclose(chain.scores(blind)[0], whole[t], rtol=1e-3, atol=1e-3)


def test_test_tasks_teach_nothing(benchmark, tmp_path):
    other = replace(benchmark, settings=tuple(replace(s, test=s.validation) for s in benchmark.settings))
    one, two = fit(benchmark, tmp_path / "one"), fit(other, tmp_path / "two")
    tasks = benchmark.setting("all").validation
    for name, method in one.items():
        np.testing.assert_array_equal(
            method.by_setting["all"].scores(tasks), two[name].by_setting["all"].scores(tasks), err_msg=name
        )


def test_what_is_measured_on_test_is_trained_on_the_final_part_and_blended_on_the_early_one(benchmark, tmp_path):
    moved = replace(benchmark, train_final=benchmark.train, users_final=np.arange(13))
    early, late = fit(moved, tmp_path), fit(moved, tmp_path, final=True)
    assert (tmp_path / "early" / "checkpoint").is_dir() and (tmp_path / "final" / "checkpoint").is_dir()
    mine, yours = (methods["llmrec"].by_setting["all"] for methods in (early, late))
    assert mine.trained.retrieval.counts.baskets < yours.trained.retrieval.counts.baskets
    for part in ("counts", "blend"):
        for name, weight in getattr(mine.rankers, part).weights.items():
            np.testing.assert_array_equal(weight, getattr(yours.rankers, part).weights[name])


def test_only_where_all_items_are_ranked_repeats_are_candidates(benchmark, tmp_path):
    methods = fit(benchmark, tmp_path)["llmrec"].by_setting
    assert methods["all"].trained.retrieval.sources.repeats
    assert not methods["new"].trained.retrieval.sources.repeats and not methods["later"].trained.retrieval.sources.repeats


def test_other_bodies_have_names_of_their_own(benchmark, tmp_path):
    for kind, name in (("random", "llmrec, random weights"), ("small", "llmrec, 2 layers of 128")):
        assert set(fit(benchmark, tmp_path / kind, kind=ours.kind(kind))) == {name, f"{name}, transformer alone"}
    with pytest.raises(DataError, match="body: expected one of pretrained, random, small, got 'large'"):
        ours.kind("large")


def test_validation_tasks_are_those_of_the_settings_that_rank_alike(benchmark):
    rng = np.random.default_rng(0)
    assert len(ours.validation_tasks(benchmark, True, 100, rng)) == len(benchmark.setting("all").validation)
    both = len(benchmark.setting("new").validation) + len(benchmark.setting("later").validation)
    assert len(ours.validation_tasks(benchmark, False, 100, rng)) == both
    assert len(ours.validation_tasks(benchmark, False, 3, rng)) == 3


def test_every_benchmark_has_a_recipe_that_its_prompts_fit_into():
    for name in ("ml1m-cold", "ml1m-taste", "journey-cold", "journey-cold-products", "beauty", "beauty-time", "book"):
        for kind in ("pretrained", "random", "small"):
            assert recipe(name, ours.kind(kind)).settings.train.most < 500
