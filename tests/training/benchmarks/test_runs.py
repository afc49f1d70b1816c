"""Laws of what is kept of a run: it comes back as it was, and never beside tasks that it was not measured on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.protocol import Benchmark, Setting, first_known
from benchmarks.runs import Run, load_run, load_runs, save_run
from llmrec.errors import ArtefactError


@pytest.fixture
def benchmark(random_shop) -> Benchmark:
    tasks = [first_known(random_shop, users, 2, 3, 1) for users in (np.arange(10), np.arange(10, 20))]
    return Benchmark("made", random_shop, np.arange(3), (Setting("known=2,all", tasks[0], tasks[1], "all"),), ("x", "auc"))


def made(benchmark: Benchmark, seed: int | None = None, method: str = "item kNN", value: float = 0.5) -> Run:
    values = {"known=2,all": {"ndcg@10": np.array([value, np.nan, 1 / 3]), "auc": np.zeros(3)}}
    key = benchmark.settings[0].key("test")
    said = {"known=2,all": "decay 1"}
    return Run("made", method, "control", seed, "test", values, {"known=2,all": key}, {"known=2,all": 1.5}, said)


@pytest.mark.parametrize("seed", [None, 0, 3])
def test_a_run_comes_back_as_it_was(tmp_path, benchmark, seed):
    run = made(benchmark, seed)
    back = load_run(save_run(tmp_path, run))
    for metric, values in run.values["known=2,all"].items():
        np.testing.assert_array_equal(back.values["known=2,all"][metric], values)
    assert replace(back, values={}) == replace(run, values={})


def test_runs_add_up_and_the_same_one_is_replaced(tmp_path, benchmark):
    for run in (made(benchmark, 1), made(benchmark, 0), made(benchmark, None, "a"), made(benchmark, 0, value=0.25)):
        save_run(tmp_path, run)
    found = load_runs(tmp_path, benchmark, "test")
    assert [(run.method, run.seed) for run in found] == [("a", None), ("item kNN", 0), ("item kNN", 1)]
    assert found[1].values["known=2,all"]["ndcg@10"][0] == 0.25
    assert load_runs(tmp_path, benchmark, "validation") == []


def test_a_run_on_other_tasks_is_refused(tmp_path, benchmark):
    save_run(tmp_path, made(benchmark))
    setting = benchmark.settings[0]
    for other in (
        replace(benchmark, name="other"),
        replace(benchmark, settings=(replace(setting, name="known=3,all"),)),
        replace(benchmark, settings=(replace(setting, rank="unseen"),)),
        replace(benchmark, settings=(replace(setting, test=setting.validation),)),
    ):
        with pytest.raises(ArtefactError, match="protocol changed since"):
            load_runs(tmp_path, other, "test")
    assert len(load_runs(tmp_path, benchmark, "test")) == 1


def test_two_names_that_would_share_a_folder_are_told_apart(tmp_path, benchmark):
    save_run(tmp_path, made(benchmark, method="item kNN"))
    with pytest.raises(ArtefactError, match="'item-kNN', got one of 'item kNN'"):
        save_run(tmp_path, made(benchmark, method="item-kNN"))
