"""The ratings study end to end on made films: one report, users who never see one another, validation without test states."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet
import pytest
from click.testing import CliRunner, Result

from llmrec.metrics.report import read_rows
from llmrec.progress import Stages
from studies.ratings import melu
from studies.ratings import study as ratings

SCRIPT = Path(__file__).resolve().parents[2] / "training" / "ratings_study.py"
OLD, NEWER, COLD = 90, 18, 22  # films of before 1996, of 1996, and of 1999
SETS = {"warm": (0, OLD + NEWER), "user_cold": (100, OLD), "item_cold": (0, COLD), "user_and_item_cold": (100, COLD)}


@pytest.fixture(scope="module")
def study():
    spec = importlib.util.spec_from_file_location("ratings_study", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def films() -> pa.Table:
    n = OLD + NEWER + COLD
    columns = {name: [f"{name} {row % 7}" for row in range(n)] for name in ("directors", "writers", "actors", "plot")}
    columns |= {"genres": [("Drama", "Comedy", "War")[row % 3] for row in range(n)], "mpaa": ["R"] * n}
    columns |= {"title": [f"Film {row}" for row in range(n)], "year": ["1990"] * OLD + ["1996"] * NEWER + ["1999"] * COLD}
    return pa.table({"item_id": list(range(n))} | columns)


def split(seed: int) -> pa.Table:
    rng = np.random.default_rng(seed)
    rows = []
    for state, (first, count) in SETS.items():
        start = OLD + NEWER if "item_cold" in state else 0
        for user in range(first, first + (40 if first == 0 else 12)):
            for item in start + np.flatnonzero(rng.random(count) < 0.8):
                level = 4 if item % 3 == 0 else 2.5
                rows.append((state, user, int(item), int(np.clip(round(level + rng.normal(0, 0.8)), 1, 5))))
    return pa.table(dict(zip(("state", "user_id", "item_id", "rating"), map(list, zip(*rows, strict=True)), strict=True)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("data")
    pyarrow.parquet.write_table(films(), place / melu.FILMS)
    pyarrow.parquet.write_table(split(0), place / melu.SPLIT)
    return place


@pytest.fixture(scope="module")
def call(study, folder):
    def run(*options: str) -> Result:
        done = CliRunner().invoke(study.main, ["--data", str(folder), "--no_text", *options])
        assert done.exit_code == 0, done.output
        return done

    return run


@pytest.fixture(scope="module")
def methods(folder):
    return ratings.raters(melu.load(folder), {}, None, Stages())


def test_the_report_has_every_cell_and_its_differences(call, tmp_path):
    output = tmp_path / "report.json"
    done = call("--seeds", "0,1", "--output", str(output))
    assert "test states; primary cell: mae in user_and_item_cold" in done.output
    rows = read_rows(output)
    value = {(row.setting, row.metric, row.method): row.value for row in rows if not row.versus}
    assert {row.setting for row in rows} == set(melu.STATES)
    assert {row.metric for row in rows} == set(melu.METRICS)
    differences = [row for row in rows if row.versus]
    assert {row.method for row in differences} == {ratings.OURS, ratings.OURS + ratings.HISTORY}
    for row in differences:
        mine, other = (value[row.setting, row.metric, name] for name in (row.method, row.versus))
        assert row.value == pytest.approx(mine - other, abs=1e-12)
    read_history = {row.setting for row in rows if row.method.endswith(ratings.HISTORY)}
    assert read_history == {"item_cold"}
    extra = json.loads(output.read_text())
    assert extra["primary"] == {"setting": "user_and_item_cold", "metric": "mae"}
    assert (extra["part"], extra["seeds"]) == ("test", [0, 1])
    for aim in extra["aims"]:
        state = aim["setting"]
        part = 1.0 if state == "user_cold" else 0.97
        assert aim["wanted"] == pytest.approx(part * value[state, "mae", aim["best control"]])
        assert not aim["best control"].startswith("llmrec")
        assert aim["reached"] == (value[state, "mae", "llmrec"] <= aim["wanted"])
    means = {name: value["user_and_item_cold", "mae, raw", name] for name in ("metadata kernel ridge", "global mean")}
    assert means["metadata kernel ridge"] < means["global mean"]  # genres tell the new films apart here


def test_validation_gives_the_same_figures_whatever_the_test_states_hold(call, folder, tmp_path):
    call("--seeds", "0", "--validation_only", "--output", str(tmp_path / "first.json"))
    warm = pyarrow.compute.equal(split(0).column("state"), "warm")
    other = split(7)
    changed = pa.concat_tables(
        [split(0).filter(warm), other.filter(pyarrow.compute.not_equal(other.column("state"), "warm")).slice(50)]
    )
    pyarrow.parquet.write_table(changed, folder / melu.SPLIT)
    try:
        call("--seeds", "0", "--validation_only", "--output", str(tmp_path / "second.json"))
    finally:
        pyarrow.parquet.write_table(split(0), folder / melu.SPLIT)
    first, second = (
        [replace(row, seconds=None) for row in read_rows(tmp_path / name)] for name in ("first.json", "second.json")
    )
    assert first == second
    assert json.loads((tmp_path / "first.json").read_text())["part"] == "validation"


def test_each_user_is_answered_alone(methods, folder):
    """Another company, with other ratings of the same new films, changes no prediction; `swapped` is the control that must."""
    asked = melu.episodes(melu.load(folder).states["user_and_item_cold"], 0)
    for method in methods:
        if "user_and_item_cold" not in method.by_state:
            continue
        answer = method.by_state["user_and_item_cold"]
        alone, together = answer(asked[:1]), answer(asked)[:1]
        assert np.array_equal(alone, together) != method.name.endswith("swapped support")


def test_no_method_reads_the_answers(methods, folder):
    asked = melu.episodes(melu.load(folder).states["item_cold"], 0)[:3]
    hidden = [replace(one, answer=np.full_like(one.answer, np.nan)) for one in asked]
    for method in methods:
        answer = method.by_state["item_cold"]
        np.testing.assert_array_equal(answer(asked), answer(hidden))


def test_files_that_are_not_there(study, tmp_path):
    done = CliRunner().invoke(study.main, ["--data", str(tmp_path), "--no_text"])
    assert done.exit_code == 1
    assert "movielens-1m.items.parquet: no such file" in done.output
    done = CliRunner().invoke(study.main, ["--seeds", "a"])
    assert "expected whole numbers such as 0,1,2, got 'a'" in done.output
