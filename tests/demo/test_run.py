"""The quick demonstration, for real: packaged weights, packaged data, every act, the report, the figure, the saved model."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import fields

import pandas as pd
import pytest

from llmrec.data.build import build
from llmrec.demo import run
from llmrec.demo.act import LINE
from llmrec.demo.act_trips import asked, split
from llmrec.demo.plan import full
from llmrec.demo.run import last_lines, run_demo
from llmrec.errors import DataError, MissingExtraError
from llmrec.metrics.report import Result, read_rows
from llmrec.recommender.recommender import Recommender

pytestmark = pytest.mark.slow  # the quick demonstration on real weights

METHODS = {"popularity", "most_frequent", "item_knn", "ease", "zero_steps", "llmrec"}
LINES = 60  # on the screen, at most


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """The folder, and what was printed."""
    folder, printed = tmp_path_factory.mktemp("demo"), io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert run_demo(out=folder, events=None, items=None, quick=True, seed=0, minutes=None) == 0
    return folder, printed.getvalue()


@pytest.fixture(scope="module")
def out(played):
    return played[0]


def test_all_acts_are_on_one_screen_and_the_last_line_is_to_be_typed(played):
    lines = played[1].splitlines()
    assert len(lines) <= LINES and max(map(len, lines)) <= LINE + len(str(played[0]))
    assert [line.split(".")[0] for line in lines if line.startswith("Act ")] == ["Act 0", "Act 1", "Act 2", "Act 3"]
    assert "llmrec demo --events events.csv --items items.csv" in played[1]
    assert lines[-1].strip().startswith(">>> from llmrec import Recommender")


def test_every_method_stands_in_every_setting(out):
    rows = [row for row in read_rows(out / "report.json") if not row.versus and row.benchmark == "journey-cold"]
    assert {row.method for row in rows} == METHODS
    assert {row.method for row in rows if row.role == "ours"} == {"zero_steps", "llmrec"}
    assert {row.setting for row in rows} == {"known=1,all", "known=1,new"}
    assert len(rows) == 2 * 3 * len(METHODS)


def test_the_report_holds_flat_rows_of_every_act_and_what_was_done(out):
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert all(set(row) == {field.name for field in fields(Result)} for row in report["results"])
    assert {row["benchmark"] for row in report["results"]} == {
        "films-clicks",
        "journey-cold",
        "journey-department",
        "films-steps",
        "films-likes",
    }
    assert [stage["name"] for stage in report["stages"]] == ["act 0", "act 1", "act 2", "act 3"]
    assert list(report["acts"]) == ["films", "trips", "department", "steps"]
    assert report["plan"]["quick"] and any(line.startswith("base: ") for line in report["log"])
    assert 0 < report["candidate_recall"]["all"] <= 1
    assert report["story"]["before"] and report["milliseconds_per_adapted_user"]["alone"] > 0


def test_the_primary_differences_are_those_of_the_means(out):
    rows = [row for row in read_rows(out / "report.json") if row.benchmark == "journey-cold" and row.metric == "ndcg@10"]
    mean = {(row.method, row.setting): row.value for row in rows if not row.versus}
    for row in rows:
        if row.versus:
            gap = mean[row.method, row.setting] - mean[row.versus, row.setting]
            assert row.value == pytest.approx(gap, abs=1e-9)


def test_the_figure_is_there(out):
    assert (out / "acts.png").read_bytes()[:4] == b"\x89PNG"


def test_without_the_films_one_line_says_how_to_install_them(monkeypatch, capsys):
    def missing():
        raise MissingExtraError("MovieLens-100K is not installed; its files come with: pip install ...")

    monkeypatch.setattr(run, "load_films", missing)
    assert run._films() is None
    assert capsys.readouterr().out.startswith("Acts 0 and 3 are left out. MovieLens-100K is not installed")


def test_shortened_training_is_told(tmp_path):
    assert last_lines(tmp_path, 1.0, True)[0].startswith("Training was shortened")
    assert not any(line.startswith("Training was") for line in last_lines(tmp_path, 1.0, False))


def test_your_own_files_play_act_1_and_say_why_not_act_3(tmp_path, tiny_plan, monkeypatch, capsys):
    monkeypatch.setattr(run, "quick_plan", lambda: tiny_plan)
    items = pd.DataFrame({"item_id": [f"i{i}" for i in range(9)], "title": [f"red mug {i}" for i in range(9)]})
    items.to_csv(tmp_path / "items.csv", index=False)
    rows = [(f"u{u}", f"i{(u + t * t) % 9}", f"2026-01-{t + 1:02}") for u in range(40) for t in range(8)]
    pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"]).to_csv(tmp_path / "events.csv", index=False)
    assert run_demo(tmp_path / "out", tmp_path / "events.csv", tmp_path / "items.csv", True, 0, None) == 0
    said = capsys.readouterr().out
    assert said.startswith("Act 1. Your data: new users after 1 basket\n")
    assert "Act 3 is left out: it needs 40 users with 120 events or more." in said
    assert {row.benchmark for row in read_rows(tmp_path / "out" / "report.json")} == {"own-cold"}
    assert len(said.splitlines()) < LINES


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
        (5, 8, "the demo needs at least 20 users with 4 baskets each, got 5 users, of whom 5 have that many"),
        (40, 3, "the demo needs at least 20 users with 4 baskets each, got 40 users, of whom 0 have that many"),
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
