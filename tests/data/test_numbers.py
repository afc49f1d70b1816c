"""Numbers are checked by name where they come in."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec.data.numbers import check_number, check_seed, check_whole
from llmrec.errors import DataError


def test_whole_numbers():
    for value in (0, 3, np.int64(2)):
        check_whole("steps", value, 0)
    for value, message in (
        (-1, "steps is -1; expected at least 0"),
        (2.0, "steps is 2.0; expected a whole number"),
        (True, "whole"),
    ):
        with pytest.raises(DataError, match=message):
            check_whole("steps", value, 0)


def test_numbers_in_a_range():
    for value in (0, 0.5, np.float32(0.25)):
        check_number("share", value, 0, 1)
    for value in (-0.1, 1, float("nan"), "0.5", None, True):
        with pytest.raises(DataError, match=r"share is .*; expected a number from 0, below 1$"):
            check_number("share", value, 0, 1)
    check_number("share", 1, 0, most=1)
    with pytest.raises(DataError, match=r"rate is 0; expected a number above 0$"):
        check_number("rate", 0, 0, above=True)
    with pytest.raises(DataError, match="rate is inf"):
        check_number("rate", float("inf"), 0)


def test_seeds():
    check_seed(np.int64(7))
    for seed in (None, -1, 1.5, "0", False):
        with pytest.raises(DataError, match="seed is .*; expected a whole number from 0 on"):
            check_seed(seed)
