"""The lines about a language model's cost say for each ratio whether its aim is reached, and give what was measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pages import costs
from tables import _missed


@pytest.mark.parametrize(("ratio", "verdict"), [(5.0, "reached"), (4.9, "missed")])
def test_a_ratio_below_the_aim_is_called_missed(tmp_path: Path, ratio: float, verdict: str):
    told = {"candidates": 20, "tokens of a prefix": 200.0, "users": 3}
    told["processor time over packed"] = {"single": ratio, "batched": 1.5}
    (tmp_path / "packed.json").write_text(json.dumps(told), encoding="utf-8")
    assert f"one candidate at a time takes {ratio:.1f} times as long (aim 5: {verdict})" in costs.lines(tmp_path)


def test_each_kind_of_adapter_has_a_row(tmp_path: Path):
    cost = {"numbers": 576, "bytes": 2304, "rate": 0.3, "adapt_s": 1.25, "score_s": 0.0456}
    told = {"support": 64, "new": "tea", "steps": 3, "dtype": "bfloat16", "costs": {"linear head": cost}}
    (tmp_path / "parts.json").write_text(json.dumps(told), encoding="utf-8")
    assert "| linear head | 576 | 2 KB | 1.2 s | 46 ms | 0.3 |" in costs.lines(tmp_path)


def test_a_users_own_choices_are_told_in_milliseconds(tmp_path: Path):
    told = {"support": 8, "steps": 3, "dtype": "bfloat16", "milliseconds a user": {"LoRA, read": 1307.2, "score": 650.4}}
    (tmp_path / "user-steps.json").write_text(json.dumps(told), encoding="utf-8")
    assert "milliseconds a user in batches: LoRA, read 1,307; score 650." in costs.lines(tmp_path)


@pytest.mark.parametrize(("users", "timed"), [(8, None), (64, 8), (64, 64)])
def test_a_loop_that_was_timed_on_some_users_is_told_as_such(tmp_path: Path, users: int, timed: int | None):
    told = {"users": users, "choices": 2, "steps": 3, "times as long as the library": {"loop of PEFT": 5.4}}
    told |= {"largest difference": 3e-7} | ({} if timed is None else {"users of the loop": timed})
    (tmp_path / "language_adapters.json").write_text(json.dumps(told), encoding="utf-8")
    said = costs.lines(tmp_path)
    assert f"LoRA of {users} users" in said and ("64 users were asked for" in said) == (users < 64)
    assert ("A loop's time is linear in users; timed on 8 of 64" in said) == (timed == 8)


def test_an_aim_that_only_the_mean_reaches_is_told_as_such():
    aim = {"setting": "16 users", "metric": "ndcg@10", "value": 0.32, "wanted": 0.31}
    assert _missed(aim, "ndcg@10").endswith("0.3200 of 0.3100 (ahead in the mean alone)")
    assert _missed({**aim, "value": 0.30}, "ndcg@10").endswith("0.3000 of 0.3100")
    error = {**aim, "metric": "mae"}  # less is better: this is no lead
    assert _missed(error, "ndcg@10").endswith("mae 0.3200 of 0.3100")
