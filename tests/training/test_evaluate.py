"""The script from end to end on made ratings: values are kept, add up, and become one report."""

from __future__ import annotations

import importlib.util
import json
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from click.testing import CliRunner, Result

from benchmarks import amazon, controls, movielens, opened
from benchmarks.files import Counts
from benchmarks.signals import OTHERS
from llmrec.data.dataset import EventWeights
from llmrec.encoder.weights import Weights
from llmrec.metrics.report import read_rows
from llmrec.recommender.recommender import Recommender
from llmrec.scenes.learning import LearnSettings, MixSettings

SCRIPT = Path(__file__).resolve().parents[2] / "training" / "evaluate.py"

TINY = """
layers: null
ranking_tasks: 40
train: {max_steps: 2, batch_size: 8, max_slots: 12, horizon: 1, known: [1, 4]}
outer: {episodes: 1}
counts_ranker: {max_steps: 5}
blend: {max_steps: 5}
"""


@pytest.fixture(scope="module")
def evaluate():
    spec = importlib.util.spec_from_file_location("evaluate", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def call(evaluate, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    item = [rng.permutation(130)[:120] for _ in range(40)]
    table = {"user_id": np.repeat(np.arange(40), 120), "item_id": np.concatenate(item), "rating": np.full(4800, 4)}
    table["timestamp"] = np.tile(np.arange(120), 40) + 978_300_000
    pyarrow.parquet.write_table(pa.table(table), tmp_path / movielens.EVENTS)
    items = {"item_id": list(range(130)), "title": [f"t{i}" for i in range(130)]}
    pyarrow.parquet.write_table(pa.table(items), tmp_path / movielens.ITEMS)
    monkeypatch.setattr(movielens, "PUBLISHED", Counts(40, 130, 4800))

    def run(*options: str) -> Result:
        fixed = ["--benchmark", "ml1m-cold", "--data", str(tmp_path), "--runs", str(tmp_path / "runs")]
        return CliRunner().invoke(evaluate.main, [*fixed, *options])

    return run


def test_controls_of_two_sessions_are_one_report(call, tmp_path):
    output = tmp_path / "report.json"
    first = call("--method", "controls", "--only", "popularity", "--output", str(output))
    assert first.exit_code == 0, first.output
    assert {row.method for row in read_rows(output)} == {"popularity"}
    second = call("--method", "controls", "--only", "popularity by position", "--only", "BM25", "--output", str(output))
    assert second.exit_code == 0, second.output
    rows = read_rows(output)
    assert {row.method for row in rows} == {"popularity", "popularity by position", "BM25"}
    assert {row.setting for row in rows} == {"known=5", "known=10", "known=20", "known=100"}
    extra = json.loads(output.read_text())
    assert extra["part"] == "test"
    assert extra["exploratory"]["known=10"] == "exploratory"
    again = call("--method", "none", "--output", str(output))
    assert again.exit_code == 0, again.output
    assert read_rows(output) == rows


def test_validation_only_leaves_no_figure_of_test(call, tmp_path):
    done = call("--method", "controls", "--only", "popularity", "--validation_only")
    assert done.exit_code == 0, done.output
    assert "validation users, ndcg@10; primary cell: known=10" in done.output
    assert [place.name for place in (tmp_path / "runs").iterdir()] == ["validation"]


@pytest.fixture
def shops(evaluate, tmp_path, monkeypatch, tiny_folders):
    """Five shops of 40 items, of which the later ones appear over time; the tiny transformer reads."""
    rng = np.random.default_rng(0)
    for name in amazon.PUBLISHED:
        user = np.sort(np.tile(np.arange(70), 8))
        day = np.concatenate([np.sort(rng.integers(0, 200, 8)) for _ in range(70)])
        item = np.array([rng.integers(max(0, 15 + at // 8 - 15), 15 + at // 8) for at in day])
        table = {"user_id": user, "item_id": item, "timestamp": 1_300_000_000 + 86_400 * day}
        pyarrow.parquet.write_table(pa.table(table), tmp_path / f"amazon2014-{name}.events.parquet")
        titles = {"item_id": list(range(40)), "title": [f"{'red' if i % 3 else 'blue'} mug {i}" for i in range(40)]}
        pyarrow.parquet.write_table(pa.table(titles), tmp_path / f"amazon2014-{name}.items.parquet")
        monkeypatch.setitem(amazon.PUBLISHED, name, Counts(70, len(set(item.tolist())), 560))
    monkeypatch.setattr(Weights, "packaged", staticmethod(lambda: Weights.folder(tiny_folders["bert"])))
    monkeypatch.setattr(evaluate, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(controls, "ALIKE", (1, 3))
    learn = LearnSettings(sizes=(8,), draws=1, queries=30, mix=MixSettings(steps=5))
    monkeypatch.setattr(opened, "fit", partial(opened.fit, settings=learn))
    (tmp_path / "tiny.yaml").write_text(TINY)

    def run(name: str, *options: str) -> Result:
        fixed = ["--benchmark", name, "--data", str(tmp_path), "--runs", str(tmp_path / "runs")]
        fixed += ["--settings", str(tmp_path / "tiny.yaml")]
        return CliRunner().invoke(evaluate.main, [*fixed, *options], catch_exceptions=False)

    return run


@pytest.mark.parametrize(
    ("name", "settings", "label", "expected"),
    [
        ("item-cold-beauty", {"cold", "all"}, "trained with them", {"popularity", "attribute kNN"}),
        ("transfer", {"last"}, "trained on electronic", {"item kNN, trained on electronic", "Scenes, opened"}),
    ],
)
def test_what_is_known_by_text_alone_is_one_report_with_its_references(shops, tmp_path, name, settings, label, expected):
    output = tmp_path / "report.json"
    done = shops(name, "--validation_only", "--output", str(output))
    assert done.exit_code == 0, done.output
    rows = read_rows(output)
    everywhere = {"TF-IDF", "BM25", "frozen text", "Recommender, tiny", f"Recommender, tiny, {label}"}
    assert {row.method for row in rows} == everywhere | expected
    assert {row.setting for row in rows} == settings
    assert {row.role for row in rows if "trained" in row.method} == {"reference"}
    assert {row.method for row in rows if row.versus} == {"Recommender, tiny"}
    report = json.loads(output.read_text())
    assert report["ours"] == "Recommender, tiny"
    # Transfer is held, in validation, against training on another shop than in its aims, which are for test.
    there = {row.method.removeprefix("Recommender, tiny") for row in rows} | {"best control"}
    judged = [aim["wanted"] is not None for aim in report["aims"] if aim["times"] in there]
    assert judged and all(judged) and len(judged) == len(report["aims"]) - (name == "transfer")
    again = shops(name, "--method", "none", "--validation_only", "--output", str(output))
    assert again.exit_code == 0 and read_rows(output) == rows


def test_attributes_of_items_are_for_the_recommender(call):
    assert "add --method recommender" in call("--method", "added", "--item_attributes", "brand").output


def test_mistakes_are_explained(call, tmp_path):
    assert "no control 'EASY'; there are popularity" in call("--method", "controls", "--only", "EASY").output
    assert "expected whole numbers" in call("--seeds", "one").output
    (tmp_path / movielens.EVENTS).unlink()
    gone = call("--method", "none")
    assert gone.exit_code == 1
    assert "no such file" in gone.output


@pytest.fixture
def rated(evaluate, call, tmp_path, monkeypatch, tiny_folders):
    """The made ratings of `call`, with some films liked and some not, and a method that is fitted in moments."""
    table = pyarrow.parquet.read_table(tmp_path / movielens.EVENTS)
    rating = np.random.default_rng(1).integers(1, 6, len(table))
    table = table.set_column(table.column_names.index("rating"), "rating", pa.array(rating))
    pyarrow.parquet.write_table(table, tmp_path / movielens.EVENTS)
    monkeypatch.setattr(Weights, "packaged", staticmethod(lambda: Weights.folder(tiny_folders["bert"])))
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path / "cache"))
    (tmp_path / "tiny.yaml").write_text(TINY)
    return lambda *options: call("--benchmark", "ml1m-liked", *options)


def test_ratings_read_hidden_and_counted_stand_side_by_side(rated, tmp_path, monkeypatch):
    output, fitted, fit = tmp_path / "liked.json", [], Recommender.fit

    def recorded(self, data, *args, **options):
        fitted.append(("rating" in data.attributes, data.event_types, data.event_weights))
        return fit(self, data, *args, **options)

    monkeypatch.setattr(Recommender, "fit", recorded)
    for ratings in ("read", "hidden", "counted"):
        there = "--settings", str(tmp_path / "tiny.yaml"), "--output", str(output)
        done = rated("--method", "recommender", "--ratings", ratings, *there)
        assert done.exit_code == 0, done.output
    for ratings in ("read", "counted"):
        done = rated("--method", "controls", "--only", "EASE", "--ratings", ratings, "--output", str(output))
        assert done.exit_code == 0, done.output
    variants = {f"Recommender, tiny{said}" for said in ("", ", no ratings", ", liked counts more")}
    rows = read_rows(output)
    assert {row.method for row in rows} == variants | {"EASE", "EASE, liked counts more"}
    ease = [[row.value for row in rows if row.method == name] for name in ("EASE", "EASE, liked counts more")]
    assert ease[0] != ease[1]
    # What was fitted, not what came of it: two steps of a tiny model need not change a rank.
    read, hidden, counted = fitted
    assert read == (True, (), EventWeights())
    assert hidden == (False, (), EventWeights())
    assert counted == (True, ("liked", "other"), EventWeights((1.0, OTHERS)))
    report = json.loads(output.read_text())
    assert report["ours"] == "Recommender, tiny"
    assert report["aims"][0]["times"] == ", no ratings" and report["aims"][0]["wanted"] is not None
