"""Laws of a shop that is opened as a scene: what other shops teach carries over, and nothing of its own events is looked at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import opened
from benchmarks.measure import measure
from benchmarks.protocol import Benchmark, Part
from benchmarks.transfer import between
from llmrec.data.build import build
from llmrec.data.dataset import Dataset
from llmrec.encoder.weights import Weights
from llmrec.scenes.learning import LearnSettings, MixSettings

SETTINGS = LearnSettings(sizes=(8,), draws=2, queries=60, mix=MixSettings(bends=0, steps=40))
KINDS = 6


@pytest.fixture(autouse=True)
def _tiny(tiny_folders, monkeypatch, tmp_path):
    monkeypatch.setattr(Weights, "packaged", staticmethod(lambda: Weights.folder(tiny_folders["bert"])))
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path / "cache"))


def shop(seed: int) -> Dataset:
    """80 customers, each of whom keeps to one kind of thing; every shop has kinds of its own, told by a word of the title."""
    rng = np.random.default_rng(seed)
    rows: dict[str, list] = {"user_id": [], "item_id": [], "timestamp": []}
    for user in range(80):
        for visit, place in enumerate(rng.permutation(8)[:4]):
            rows["user_id"].append(f"u{user}")
            rows["item_id"].append(f"i{8 * (user % KINDS) + place:02d}")
            rows["timestamp"].append(1.3e9 + 1e5 * visit + user)
    titles = [f"kind{seed}x{item // 8} thing{seed}x{item}" for item in range(8 * KINDS)]
    return build(rows, {"item_id": [f"i{item:02d}" for item in range(8 * KINDS)], "title": titles})[0]


@pytest.fixture(scope="module")
def benchmark_of() -> Callable[..., Benchmark]:
    made = {name: shop(seed) for seed, name in enumerate(("one", "two", "three", "four"))}
    return lambda **other: between(made | other, left_out="three", asked="four")


def fit(benchmark: Benchmark, part: Part, seed: int = 0):
    return opened.fit(benchmark, part, seed, SETTINGS)


@pytest.mark.parametrize("part", ["validation", "test"])
def test_that_people_keep_to_a_kind_carries_over_to_a_shop_of_other_kinds(benchmark_of, part):
    benchmark = benchmark_of()
    (setting,) = benchmark.settings
    method, tasks = fit(benchmark, part), setting.asked(part)
    assert method.name == "Scenes, opened" and method.role == "ours"
    scores = method.by_setting["last"].scores(tasks)
    assert scores.shape == (len(tasks), 8 * KINDS) and scores.dtype == np.float32
    # Five unseen things of the kind among 45 unseen ones: the right one is among the first five.
    found = measure(method.by_setting["last"], setting, tasks, ("hit@5",), part=part)["hit@5"]
    assert found.mean() > 0.9
    np.testing.assert_array_equal(method.by_setting["last"].scores(replace(tasks, stop=tasks.split)), scores)


def test_neither_the_events_of_the_shop_asked_nor_for_validation_those_of_the_one_left_out_are_looked_at(benchmark_of):
    benchmark = benchmark_of()
    tasks = benchmark.settings[0].test
    one = fit(benchmark, "test").by_setting["last"].scores(tasks)
    busy = replace(benchmark, train_final=tasks.dataset, users_final=np.arange(80))  # its events are there
    np.testing.assert_array_equal(fit(busy, "test").by_setting["last"].scores(tasks), one)
    assert benchmark.shops is not None
    other = replace(benchmark, shops=replace(benchmark.shops, test=benchmark.shops.test[:2]))
    assert np.abs(fit(other, "test").by_setting["last"].scores(tasks) - one).max() > 1e-4
    asked = benchmark.settings[0].validation
    before = fit(benchmark, "validation").by_setting["last"].scores(asked)
    np.testing.assert_array_equal(fit(other, "validation").by_setting["last"].scores(asked), before)
