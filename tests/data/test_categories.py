"""Categories as sparse columns."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec.data.categories import one_hot
from llmrec.errors import DataError


def test_one_hot_of_all_it_takes():
    found = one_hot(["b|a", None, "", ["c", "a|a"], 7, np.True_, "b |  "], "|")
    assert found.toarray().tolist() == [  # 7, True, a, b, c
        [0, 0, 1, 1, 0],
        [0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],
        [0, 0, 1, 0, 1],
        [1, 0, 0, 0, 0],
        [0, 1, 0, 0, 0],
        [0, 0, 0, 1, 0],
    ]
    assert one_hot(["b|a"]).shape == (1, 1)


def test_a_quantity_is_no_category():
    with pytest.raises(DataError, match=r"price\[0\].*1.5.*ranges"):
        one_hot([1.5], name="price")
