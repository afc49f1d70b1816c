"""The explanation study: what it reports of a saved recommender agrees with `explain`."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from shops import make_tables

from llmrec import Recommender, Weights

SCRIPT = runpy.run_path(str(Path(__file__).resolve().parents[2] / "training" / "explanation_study.py"))
USERS = 12


@pytest.fixture(scope="module")
def folder(tiny_folders, tiny_settings, tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMREC_CACHE", str(place / "cache"))
        events, items = make_tables(0, habits=True, users=40)
        Recommender(Weights.folder(tiny_folders["bert"]), tiny_settings).fit(events, items).save_pretrained(
            place / "shop", histories=True
        )
    return place / "shop"


@pytest.fixture(scope="module")
def report(folder: Path) -> dict:
    output = folder.parent / "explanations.json"
    options = ["--model", f"made={folder}", "--users", str(USERS), "--checked", "4", "--output", str(output)]
    assert CliRunner().invoke(SCRIPT["main"], options, catch_exceptions=False).exit_code == 0
    return json.loads(output.read_text(encoding="utf-8"))


def test_no_choice_is_ahead_of_the_item_named_first(report):
    drops = {row["method"]: row for row in report["results"] if (row["setting"], row["metric"]) == ("score", "drop")}
    assert set(drops) == set(SCRIPT["CHOICES"])
    named = drops.pop(SCRIPT["NAMED"])
    assert named["n"] == USERS and all(row["value"] <= named["value"] for row in drops.values())
    assert drops[SCRIPT["RANDOM"]]["value"] < named["value"]


def test_the_mean_drop_is_that_of_explain(report, folder):
    recommender = Recommender.from_pretrained(folder)
    tasks = SCRIPT["drawn"](recommender.state, USERS, np.random.default_rng(0))
    found = recommender.explain(tasks.dataset.users.take(tasks.user).values, k=1)
    named = next(row for row in report["results"] if row["method"] == SCRIPT["NAMED"] and row["metric"] == "drop")
    np.testing.assert_allclose(np.mean(found["contribution"]), named["value"], atol=1e-4)


def test_ranks_and_half_prompts_are_of_the_first_users_alone(report):
    users = {(row["setting"], row["metric"]): row["n"] for row in report["results"]}
    assert users["rank", "no longer first"] == users["half", "drop"] == 4


def test_a_model_without_a_name_is_refused(folder):
    done = CliRunner().invoke(SCRIPT["main"], ["--model", str(folder)])
    assert done.exit_code == 2 and "NAME=FOLDER" in done.output


def test_a_model_saved_without_histories_is_refused_with_the_remedy(folder):
    Recommender.from_pretrained(folder).save_pretrained(folder.parent / "bare")
    done = CliRunner().invoke(SCRIPT["main"], ["--model", f"bare={folder.parent / 'bare'}"])
    assert done.exit_code == 1 and "histories=True" in done.output
