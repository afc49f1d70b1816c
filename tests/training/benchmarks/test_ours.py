"""Our method on a made benchmark: what comes out, what it is fitted on, and that it goes on where it was."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import ours
from benchmarks.protocol import Benchmark, ByPart, Setting, first_known
from benchmarks.recipes import Fit, Kind, Recipe, recipe
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
        train=TrainSettings(
            max_steps=4, batch_size=8, max_slots=12, horizon=1, known=(1, 4), learning_rate=3e-4, dropout=0.0, ema_decay=0.0
        ),
        counts_ranker=RankerSettings(hidden=2, max_steps=10),
        blend=RankerSettings(hidden=2, max_steps=10),
        blend_features=(),
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


def fit(benchmark: Benchmark, folder: Path, seed: int = 0, final: bool = False, kind: Kind = "pretrained") -> dict:
    methods = ours.fit(benchmark, RECIPE, Fit(kind, seed, final, folder), Stages(io.StringIO()))
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


def test_a_blend_is_learned_from_all_settings_that_rank_alike(benchmark):
    rng, (new, every) = np.random.default_rng(0), ours.ranked_alike(benchmark)
    assert [[setting.name for setting in alike] for alike in (new, every)] == [["new", "later"], ["all"]]
    assert len(ours.blend_tasks(every, 100, rng)) == len(benchmark.setting("all").validation)
    both = len(benchmark.setting("new").validation) + len(benchmark.setting("later").validation)
    assert len(ours.blend_tasks(new, 100, rng)) == both
    assert len(ours.blend_tasks(new, 3, rng)) == 3
    instead = replace(every[0], learn=benchmark.setting("later").validation)
    np.testing.assert_array_equal(ours.blend_tasks([instead], 100, rng).split, benchmark.setting("later").validation.split)


@pytest.fixture
def arrivals(benchmark) -> Benchmark:
    """Items 0, 1 and 2 are new to those who train: ranked alone on validation, with item 3 on test; and among all."""
    data = benchmark.train
    part = data.keep((data.item > 2) | (data.user >= 10)).take(np.arange(10))
    fresh, (one, _, later) = np.arange(10), benchmark.settings
    few = replace(one, name="few", rank="unseen", among=ByPart(fresh < 3, fresh < 4))
    return replace(benchmark, train=part, settings=(few, replace(one, name="all", rank="unseen", learn=later.validation)))


def test_among_new_items_candidates_are_new_and_the_two_have_blends_of_their_own(arrivals, tmp_path):
    for final, limit in ((False, 3), (True, 4)):
        chain = fit(arrivals, tmp_path, final=final)["llmrec"].by_setting
        few, every = chain["few"], chain["all"]
        assert few.rankers.counts is every.rankers.counts and few.rankers.blend is not every.rankers.blend
        assert np.flatnonzero(few.among).tolist() == list(range(limit)) and every.among is None
        tasks = arrivals.setting("few").test
        scores, alone = few.scores(tasks), few.trained.read(tasks).table()
        outside = np.arange(10) >= limit  # in the order of the transformer, which ranks what is no candidate
        np.testing.assert_array_equal(scores[:, outside].argsort(1), alone[:, outside].argsort(1))


def test_new_items_together_get_the_chance_that_they_had(arrivals, tmp_path):
    early = fit(arrivals, tmp_path)["llmrec"].by_setting["all"]
    tasks, new = arrivals.setting("all").learn, np.arange(10) < 3
    scores = early.trained.read(tasks).table().astype(np.float64)
    allowed = arrivals.setting("all").allowed(tasks)
    chance = np.where(allowed, np.exp(scores), 0.0)
    share = (chance[:, new].sum(1) / chance.sum(1)).mean()
    assert share == pytest.approx(new[tasks.dataset.item[tasks.split]].mean(), abs=1e-3)


def test_what_is_called_llmrec_is_the_body_of_the_benchmark():
    assert (
        ours.named("pretrained", "beauty")
        == ours.named("small", "item-cold-beauty")
        == ours.named("small", "transfer")
        == "llmrec"
    )
    assert ours.named("small", "beauty") == "llmrec, 2 layers of 128"
    assert ours.named("pretrained", "transfer") == "llmrec, 3 layers of MiniLM"


def test_every_benchmark_has_a_recipe_that_its_prompts_fit_into():
    for name in (
        "ml1m-cold",
        "ml1m-taste",
        "journey-cold",
        "journey-cold-products",
        "beauty",
        "beauty-time",
        "book",
        "item-cold-beauty",
        "transfer",
    ):
        for kind in ("pretrained", "random", "small"):
            assert recipe(name, ours.kind(kind)).settings.train.max_slots < 500
