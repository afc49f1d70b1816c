"""Rows go to disk and come back the same; what a report must not hold is refused and leaves the old report alone."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, fields, replace

import numpy as np
import pytest

from llmrec.errors import ArtefactError, DataError
from llmrec.metrics.report import Result, read_rows, table, write_report

OURS = Result("movies", "llmrec", "ours", "5 known", "ndcg@10", 0.25, 0.2, 0.3, "", 100, 0, 1.5)
COUNT = replace(OURS, method="popularity", role="control", value=0.125, low=0.1, high=0.15, seed=None)
PAPER = replace(OURS, method="a paper", role="reference", value=0.2, low=None, high=None, seed=None, seconds=None)


def test_a_row_has_these_fields_and_no_other():
    names = ["benchmark", "method", "role", "setting", "metric", "value", "low", "high", "versus", "n", "seed", "seconds"]
    assert [field.name for field in fields(Result)] == names


def test_written_and_read_it_is_the_same(tmp_path):
    path = tmp_path / "new" / "report.json"
    write_report(path, [OURS, COUNT, PAPER], {"machine": "two cores", "commit": "abc"})
    assert read_rows(path) == [OURS, COUNT, PAPER]
    raw = json.loads(path.read_text(encoding="utf-8"))
    assert raw["machine"] == "two cores"
    assert raw["results"][0] == asdict(OURS)


def test_numpy_numbers_become_plain_ones(tmp_path):
    row = replace(OURS, value=np.float32(0.25), n=np.int64(100), seed=np.int32(0))
    write_report(tmp_path / "r.json", [row], {})
    assert read_rows(tmp_path / "r.json") == [OURS]


WRONG = [
    ({"value": float("nan")}, "value: expected a finite number"),
    ({"value": None}, "value"),
    ({"high": float("inf")}, "high: expected a finite number"),
    ({"seconds": float("nan")}, "seconds"),
    ({"low": 0.4}, "low <= high"),
    ({"low": None}, "or both None"),
    ({"role": "theirs"}, "role: expected one of ours, control, reference"),
    ({"method": ""}, "method: expected text"),
    ({"versus": None}, "versus: expected text"),
    ({"n": 1.5}, "n: expected a whole number"),
    ({"n": True}, "n: expected a whole number"),
    ({"seed": "0"}, "seed: expected a whole number"),
    ({"value": "0.3"}, "value: expected a finite number"),
]


@pytest.mark.parametrize(("change", "says"), WRONG)
def test_a_wrong_row_is_refused_by_place_and_field_and_the_old_report_stays(tmp_path, change, says):
    path = tmp_path / "r.json"
    write_report(path, [OURS], {})
    before = path.read_bytes()
    with pytest.raises(DataError, match=r"results\[1\].*" + says):
        write_report(path, [OURS, replace(OURS, **change)], {})
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["r.json"]


@pytest.mark.parametrize("extra", [{"results": []}, {"x": float("nan")}, {"x": np.zeros(2)}])
def test_an_extra_that_json_cannot_hold_is_refused(tmp_path, extra):
    with pytest.raises(DataError, match="extra"):
        write_report(tmp_path / "r.json", [OURS], extra)
    assert os.listdir(tmp_path) == []


def test_a_crash_before_the_rename_leaves_the_old_report_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "r.json"
    write_report(path, [OURS], {})

    def crash(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        write_report(path, [COUNT], {})
    monkeypatch.undo()
    assert read_rows(path) == [OURS]
    assert os.listdir(tmp_path) == ["r.json"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "expected a JSON report"),
        ("[]", "list `results`"),
        ('{"rows": []}', "list `results`"),
        ('{"results": [3]}', r"results\[0\]: missing"),
        (json.dumps({"results": [asdict(OURS) | {"note": ""}]}), "unknown \\['note'\\]"),
        (json.dumps({"results": [{k: v for k, v in asdict(OURS).items() if k != "n"}]}), "missing \\['n'\\]"),
        (json.dumps({"results": [asdict(OURS) | {"value": float("nan")}]}), "NaN"),
        (json.dumps({"results": [asdict(OURS) | {"role": "theirs"}]}), "role"),
    ],
)
def test_a_file_that_is_no_report_is_named(tmp_path, text, says):
    path = tmp_path / "r.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ArtefactError, match=says) as caught:
        read_rows(path)
    assert "r.json" in str(caught.value)


def test_no_file(tmp_path):
    with pytest.raises(ArtefactError, match="no report there"):
        read_rows(tmp_path / "r.json")


def test_the_table_puts_methods_down_settings_across_the_best_in_bold_and_marks_differences():
    later = [replace(row, setting="20 known", value=row.value / 2, low=None, high=None) for row in (OURS, COUNT)]
    better = replace(OURS, method="llmrec", value=0.125, low=0.1, high=0.2, versus="popularity")
    unclear = replace(better, setting="20 known", low=-0.1)
    elsewhere = [replace(OURS, benchmark="books"), replace(OURS, metric="auc"), replace(better, versus="a paper")]
    rows = [OURS, COUNT, PAPER, *later, better, unclear, *elsewhere]
    assert table(rows, "movies", "ndcg@10", versus="popularity", digits=2) == "\n".join(
        [
            "| method     | 5 known                 | 20 known   |",
            "|------------|-------------------------|------------|",
            "| llmrec     | **0.25** [0.20, 0.30] ▲ | **0.12** = |",
            "| popularity | 0.12 [0.10, 0.15]       | 0.06       |",
            "| a paper    | 0.20                    |            |",
        ]
    )


def test_where_lower_is_better_bold_and_marks_turn_round():
    better = replace(COUNT, value=-0.1, low=-0.2, high=-0.05, versus="llmrec")
    shown = table([OURS, COUNT, better], "movies", "ndcg@10", versus="llmrec", digits=1, higher_is_better=False)
    assert "**0.1** [0.1, 0.1] ▲" in shown
    assert "**0.2**" not in shown


def test_a_bar_in_a_name_does_not_break_the_table():
    assert "a\\|b" in table([replace(OURS, method="a|b")], "movies", "ndcg@10")


def test_two_rows_for_one_cell_and_no_row_at_all():
    with pytest.raises(DataError, match="two rows for method 'llmrec'"):
        table([OURS, replace(OURS, seed=1)], "movies", "ndcg@10")
    with pytest.raises(DataError, match="'movies' with 'ndcg@10'"):
        table([OURS], "movies", "recall@10")
