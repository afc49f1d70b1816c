"""The recommender as it ships, on a made benchmark: what is measured is what `recommend` answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from benchmarks import shipped
from benchmarks.protocol import Benchmark, ByPart, Setting, first_known
from llmrec import Recommender, Settings
from llmrec.data.tasks import Tasks
from llmrec.encoder.weights import Weights
from llmrec.errors import DataError

TINY = """
layers: null
ranking_tasks: 40
train: {max_steps: 4, batch_size: 8, max_slots: 12, horizon: 1, known: [1, 4]}
outer: {episodes: 1}
counts_ranker: {hidden: 2, max_steps: 10}
blend: {hidden: 2, max_steps: 10}
sources: {text_k: 3, knn_k: 2, popular_k: 2}
"""


@pytest.fixture
def settings(tiny_folders, monkeypatch, tmp_path) -> str:
    monkeypatch.setattr(Weights, "packaged", staticmethod(lambda: Weights.folder(tiny_folders["bert"])))
    (tmp_path / "tiny.yaml").write_text(TINY)
    return str(tmp_path / "tiny.yaml")


@pytest.fixture
def benchmark(random_shop) -> Benchmark:
    asked = [first_known(random_shop, users, 2, 1, 1) for users in (np.arange(10, 15), np.arange(15, 20))]
    some = np.arange(random_shop.n_items) % 2 == 0
    settings = (
        Setting("all", *asked, "all"),
        Setting("new", *asked, "unseen"),
        Setting("even", *asked, "all", ByPart(some, ~some)),
    )
    return Benchmark("made", random_shop, np.arange(10), settings, ("all", "ndcg@10"))


def history(tasks: Tasks, task: int) -> pa.Table:
    data, rows = tasks.dataset, np.arange(tasks.start[task], tasks.split[task])
    columns = {"item_id": [data.catalogue.ids[i] for i in data.item[rows]], "timestamp": data.time[rows]}
    columns |= {"user_id": ["someone"] * len(rows), "basket_id": data.basket[rows]}
    columns |= {name: values[rows] for name, values in data.attributes.items() if name != "event_type"}
    if "event_type" in data.attributes:
        columns["event_type"] = [data.event_types[int(code)] for code in data.attributes["event_type"][rows]]
    return pa.table(columns)


@pytest.mark.parametrize("name", ["all", "new", "even"])
def test_the_scores_order_items_as_recommend_does(benchmark, settings, name):
    method = shipped.fit(benchmark, settings, 0, "test")
    assert method.name == "Recommender, tiny" and method.role == "ours" and set(method.by_setting) == {"all", "new", "even"}
    recommender = Recommender(settings=Settings.from_yaml(settings)).fit(benchmark.train.take(benchmark.users))
    setting, ids = benchmark.setting(name), benchmark.train.catalogue.ids
    tasks = setting.test
    scores, allowed = method.by_setting[name].scores(tasks), setting.allowed(tasks, "test")
    may = None if setting.among is None else [ids[i] for i in np.flatnonzero(setting.among.test)]
    for task in range(len(tasks)):
        answer = recommender.recommend(
            histories=history(tasks, task), k=3, filter_viewed=setting.rank == "unseen", items_to_recommend=may
        )
        mine = scores[task] if allowed is None else np.where(allowed[task], scores[task], -np.inf)
        assert [ids[i] for i in np.argsort(-mine, kind="stable")[:3]] == answer.column("item_id").to_pylist()


def test_it_is_fitted_on_the_training_users_of_its_part(benchmark, settings, random_shop):
    later = replace(benchmark, train_final=random_shop, users_final=np.arange(12))
    known = {
        part: shipped.fit(later, settings, 0, part).by_setting["all"].state.histories.users for part in ("validation", "test")
    }
    assert {part: len(users) for part, users in known.items()} == {"validation": 10, "test": 12}


def test_settings_are_a_preset_or_a_file(settings, tmp_path):
    assert shipped.settings_of("default") == ("default", Settings())
    assert shipped.settings_of("quick") == ("quick", Settings.quick())
    assert shipped.settings_of(settings)[1].train.max_steps == 4
    (tmp_path / "quick.yaml").write_text(TINY)
    with pytest.raises(DataError, match="name of a preset"):
        shipped.settings_of(str(tmp_path / "quick.yaml"))
    with pytest.raises(DataError, match="expected default, quick, best or the path of a YAML file, got 'fast'"):
        shipped.settings_of("fast")


def test_other_shops_are_refused(benchmark, settings):
    with pytest.raises(DataError, match="got other shops"):
        shipped.fit(replace(benchmark, shops=ByPart((), ())), settings, 0, "test")
