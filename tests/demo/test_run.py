"""The quick demonstration, for real: packaged weights, packaged data, every method, the report, the plot, the saved model."""

from __future__ import annotations

import json
from dataclasses import fields

import pandas as pd
import pytest

from llmrec.data.build import build
from llmrec.demo.plan import full
from llmrec.demo.run import asked, run_demo, split, tables
from llmrec.errors import DataError
from llmrec.metrics.report import Result, read_rows
from llmrec.recommender.recommender import Recommender

pytestmark = pytest.mark.slow  # the quick demonstration on real weights

METHODS = {"popularity", "most_frequent", "item_knn", "ease", "zero_steps", "llmrec"}


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    assert run_demo(out=folder, events=None, items=None, quick=True, seed=0, minutes=None) == 0
    return folder


def test_every_method_stands_in_every_setting(out):
    rows = [row for row in read_rows(out / "report.json") if not row.versus]
    assert {row.method for row in rows} == METHODS
    assert {row.method for row in rows if row.role == "ours"} == {"zero_steps", "llmrec"}
    assert {(row.benchmark, row.setting) for row in rows} == {("journey-cold", "known=1,all"), ("journey-cold", "known=1,new")}
    assert len(rows) == 2 * 3 * len(METHODS)


def test_the_report_holds_flat_rows_and_what_was_done(out):
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert all(set(row) == {field.name for field in fields(Result)} for row in report["results"])
    assert [stage["name"] for stage in report["stages"]][:2] == ["read and clean", "encode"]
    assert report["plan"]["quick"]
    assert 0 < report["candidate_recall"]["all"] <= 1


def test_the_primary_differences_are_those_of_the_means(out):
    rows = [row for row in read_rows(out / "report.json") if row.benchmark == "journey-cold" and row.metric == "ndcg@10"]
    mean = {(row.method, row.setting): row.value for row in rows if not row.versus}
    for row in rows:
        if row.versus:
            gap = mean[row.method, row.setting] - mean[row.versus, row.setting]
            assert row.value == pytest.approx(gap, abs=1e-9)


def test_the_plot_and_the_tables_are_there(out):
    assert (out / "methods.png").read_bytes()[:4] == b"\x89PNG"
    assert "| llmrec" in tables(read_rows(out / "report.json"))


def test_the_saved_model_has_a_gate_and_recommends(out):
    recommender = Recommender.from_pretrained(out / "model")
    assert isinstance(recommender.similar_items(recommender.state.catalogue.ids.values[:1]), pd.DataFrame)
    assert recommender.state.gate is not None
    item = recommender.state.catalogue.ids[0]
    history = {"user_id": ["new"], "item_id": [item], "timestamp": ["2017-03-01"]}
    answer = recommender.recommend(histories=history, k=5)
    assert len(answer) == 5


def test_too_few_users_are_refused_with_how_many_are_needed(tmp_path, capsys):
    """Before anything is trained. Enough users with too few baskets are as few."""
    items = pd.DataFrame({"item_id": [f"i{i}" for i in range(9)], "title": [f"thing {i}" for i in range(9)]})
    items.to_csv(tmp_path / "items.csv", index=False)
    for users, baskets, message in (
        (5, 8, "the demo needs at least 20 users with 4 baskets each, got 5 users, of whom 5 have as many"),
        (40, 3, "the demo needs at least 20 users with 4 baskets each, got 40 users, of whom 0 have as many"),
    ):
        rows = [(f"u{u}", f"i{(u + t) % 9}", f"2026-01-{t + 1:02}") for u in range(users) for t in range(baskets)]
        pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"]).to_csv(tmp_path / "events.csv", index=False)
        with pytest.raises(DataError, match=message):
            run_demo(tmp_path / "out", tmp_path / "events.csv", tmp_path / "items.csv", True, 0, None)
        assert "base" not in capsys.readouterr().err


def test_what_a_few_users_allow_is_what_is_tested():
    dataset = build(
        {
            "user_id": [f"u{u:02}" for u in range(20) for _ in range(5)],
            "item_id": [t for _ in range(20) for t in range(5)],
            "timestamp": [1e9 + t for _ in range(20) for t in range(5)],
        }
    )[0]
    validation, test = asked(dataset, split(dataset, None), full())
    assert list(validation) == list(test) == [1]  # three or five known baskets and three more are more than five
    assert (len(validation[1]), len(test[1])) == (2, 4)
