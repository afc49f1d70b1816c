"""Verdicts are written by the numbers: ahead, level and behind, and nothing else."""

from __future__ import annotations

import pytest

from llmrec.evaluation.verdict import beside, by_setting, gain, listed, standing, standings
from llmrec.metrics.bootstrap import Interval

AHEAD, LEVEL, BEHIND = Interval(0.02, 0.01, 0.03, 9), Interval(0.02, -0.01, 0.05, 9), Interval(-0.02, -0.03, -0.01, 9)


@pytest.mark.parametrize(
    ("gap", "word", "mark"),
    [
        (AHEAD, "ahead of", "▼ [-0.030, -0.010]"),
        (LEVEL, "level with", "= [-0.050, +0.010]"),
        (BEHIND, "behind", "▲ [+0.010, +0.030]"),
        (Interval(0.0, 0.0, 0.0, 9), "level with", "= [+0.000, +0.000]"),
    ],
)
def test_a_difference_counts_only_where_its_interval_excludes_zero(gap, word, mark):
    assert standing(gap) == word
    assert beside(gap) == mark


def test_each_method_is_named_once_by_its_standing():
    gaps = {"EASE": AHEAD, "item kNN": BEHIND, "popularity": AHEAD, "most frequent": LEVEL}
    assert standings(gaps) == "ahead of EASE and popularity, level with most frequent, and behind item kNN"
    assert standings({"EASE": BEHIND}) == "behind EASE"


def test_settings_with_the_same_verdict_are_told_together():
    gaps = {"1": {"EASE": AHEAD}, "3": {"EASE": LEVEL}, "5": {"EASE": AHEAD}}
    assert by_setting(gaps) == [("1 and 5", "ahead of EASE"), ("3", "level with EASE")]


def test_numbers_and_lists_in_words():
    assert gain(AHEAD) == "+0.020 [+0.010, +0.030]"
    assert listed(["a"]) == "a" and listed(["a", "b"]) == "a and b" and listed(["a", "b", "c"]) == "a, b and c"
