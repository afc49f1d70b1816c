"""The recommender as it ships, on a made benchmark: what is measured is what `recommend` answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from benchmarks import shipped, transfer
from benchmarks.protocol import Benchmark, ByPart, Setting, first_known
from llmrec import Recommender, Settings
from llmrec.data.tasks import Tasks
from llmrec.errors import DataError


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
    (tmp_path / "quick.yaml").write_text("ranking_tasks: 40")
    with pytest.raises(DataError, match="name of a preset"):
        shipped.settings_of(str(tmp_path / "quick.yaml"))
    with pytest.raises(DataError, match="expected default, quick, best or the path of a YAML file, got 'fast'"):
        shipped.settings_of("fast")


@pytest.fixture
def transferred(shop, monkeypatch) -> Benchmark:
    """Two shops to train on for validation and three for test, and another that is asked about."""
    rng = np.random.default_rng(0)
    sizes = (("one", 6), ("two", 7), ("three", 8), ("four", 9))
    made = {name: shop([[[int(i)] for i in rng.permutation(n)[:5]] for _ in range(15)], n) for name, n in sizes}
    monkeypatch.setattr(transfer, "USERS", 10)
    return transfer.between(made, left_out="three", asked="four")


@pytest.mark.parametrize(("part", "first"), [("validation", 13), ("test", 21)])
def test_a_shop_that_was_not_trained_on_is_ranked_as_recommend_does_beside_the_others(transferred, settings, part, first):
    method = shipped.fit(transferred, settings, 0, part)
    found = method.by_setting["last"]
    (setting,), state = transferred.settings, found.fitted.state
    tasks, n = setting.asked(part), setting.asked(part).dataset.n_items
    assert state.histories.n_users == 15 * (2 if part == "validation" else 3)
    assert len(state.catalogue) == first + n and state.histories.item.max() < first
    assert not state.model.trained[first:].any()
    recommender = Recommender(settings=state.settings)
    recommender._state = state  # as `fit` left it
    ids = [f"{found.shops.catalogue.ids[i]}" for i in range(first, first + n)]
    scores = np.where(setting.allowed(tasks, part), found.scores(tasks), -np.inf)
    for task in range(3):
        table = history(tasks, task)
        there = [f"{ids[0].split('/')[0]}/{item}" for item in table.column("item_id").to_pylist()]
        table = table.set_column(table.schema.get_field_index("item_id"), "item_id", pa.array(there))
        answer = recommender.recommend(histories=table, k=3, items_to_recommend=ids)
        assert [ids[i] for i in np.argsort(-scores[task], kind="stable")[:3]] == answer.column("item_id").to_pylist()


def test_a_fit_that_was_given_minutes_and_a_folder_leaves_checkpoints_and_says_the_minutes(benchmark, settings, tmp_path):
    method = shipped.fit(benchmark, settings, 0, "test", 5.0, tmp_path / "kept")
    assert method.name == "Recommender, tiny, 5 min" and (tmp_path / "kept" / "base" / "checkpoint").is_dir()
