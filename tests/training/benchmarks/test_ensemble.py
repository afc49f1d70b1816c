"""Several bases under one ranker: their mean, and what comes out on a made benchmark."""

from __future__ import annotations

import io

import numpy as np
import pytest

from benchmarks import ensemble, ours
from benchmarks.ensemble import Member, TableReading, mean_of, members
from benchmarks.protocol import Benchmark, Setting, first_known
from benchmarks.recipes import Fit, Recipe
from llmrec.encoder.train import TrainSettings
from llmrec.encoder.weights import Weights
from llmrec.errors import DataError
from llmrec.index.candidates import Sources
from llmrec.progress import Stages
from llmrec.ranking.ranker import RankerSettings
from llmrec.recommender.settings import Settings

QUICK = RankerSettings(hidden=2, max_steps=10)
RECIPE = Recipe(
    Settings(
        layers=None,
        train=TrainSettings(
            max_steps=3, batch_size=8, max_slots=12, horizon=1, known=(1, 4), learning_rate=3e-4, dropout=0.0, ema_decay=0.0
        ),
        counts_ranker=QUICK,
        blend=QUICK,
        blend_features=(),
        sources=Sources(text_k=3, knn_k=2, popular_k=2),
        ranking_tasks=40,
    ),
    blend_tasks=50,
)


@pytest.fixture
def benchmark(random_shop, tiny_folders, monkeypatch) -> Benchmark:
    monkeypatch.setattr(Weights, "packaged", staticmethod(lambda: Weights.folder(tiny_folders["bert"])))
    monkeypatch.setattr(ensemble, "recipe", lambda name, kind: RECIPE)
    asked = [first_known(random_shop, users, 1, 1, 1) for users in (np.arange(10, 15), np.arange(15, 20))]
    settings = Setting("all", *asked, "all"), Setting("new", *asked, "unseen")
    return Benchmark("made", random_shop, np.arange(10), settings, ("all", "ndcg@10"))


def readers(scores: list[np.ndarray]):
    return [lambda tasks, one=one, place=place: TableReading(np.full((2, 3), place), one) for place, one in enumerate(scores)]


def test_the_mean_is_that_of_log_chances_whatever_is_added_to_all_scores_and_in_whatever_order():
    rng = np.random.default_rng(0)
    scores = [rng.normal(size=(2, 5)).astype(np.float32) for _ in range(3)]
    mean = mean_of(readers(scores))(None)
    found = mean.table()
    chances = np.mean([np.log(np.exp(one) / np.exp(one).sum(1, keepdims=True)) for one in scores], 0)
    np.testing.assert_allclose(found, chances, rtol=1e-5)
    assert (mean.vectors == 0).all() and found.dtype == np.float32
    moved = [one + 7 * place for place, one in enumerate(scores)]
    pairs = np.array([1, 0, 1]), np.array([4, 2, 0])
    np.testing.assert_array_equal(mean.scores(*pairs), found[pairs])
    np.testing.assert_allclose(mean_of(readers(moved[::-1]))(None).table(), found, rtol=1e-4)


def test_an_ensemble_takes_the_bases_that_are_there_and_ranks_by_all_of_them(benchmark, tmp_path):
    for member in members("pretrained-0,small-1"):
        ours.fit(benchmark, RECIPE, Fit(member.kind, member.seed, False, tmp_path / str(member)), Stages(io.StringIO()))
    stamps = {place: place.stat().st_mtime_ns for place in tmp_path.glob("*/early/checkpoint")}
    how = Fit("pretrained", 0, True, tmp_path)
    method = ensemble.fit(benchmark, members("pretrained-0,small-1"), how, Stages(io.StringIO()))
    assert {place: place.stat().st_mtime_ns for place in stamps} == stamps and len(stamps) == 2
    assert (method.name, method.role) == ("llmrec, 2 bases at once", "ours")
    assert method.constants["new"] == "pretrained-0 and small-1"
    tasks = benchmark.settings[0].test
    scores = method.by_setting["all"].scores(tasks)
    assert scores.shape == (len(tasks), 10) and np.isfinite(scores).all()
    swapped = ensemble.fit(benchmark, members("small-1,pretrained-0"), how, Stages(io.StringIO()))
    plain = [one.by_setting["all"].trained.read(tasks).table() for one in (method, swapped)]
    np.testing.assert_allclose(*plain, rtol=1e-4, atol=1e-5)


def test_members_are_named_by_body_and_seed():
    assert members("pretrained-0, small-12") == (Member("pretrained", 0), Member("small", 12))
    assert str(Member("random", 3)) == "random-3"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("small-0", "members: expected at least two bases that differ, got 'small-0'"),
        ("small-0,small-0", "members: expected at least two bases that differ"),
        ("small", "members: expected a kind of body and a seed such as small-0, got 'small'"),
        ("large-0,small-0", "body: expected one of pretrained, random, small, got 'large'"),
    ],
)
def test_members_that_cannot_be_are_named(text, said):
    with pytest.raises(DataError, match=said):
        members(text)
