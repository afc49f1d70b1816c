from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from llmrec.data.values import numbers, repeated
from llmrec.errors import SchemaError


def test_repeated_rows_agree_with_a_set_of_tuples():
    rng = np.random.default_rng(0)
    n = 2000
    table = pa.table(
        {
            "a": rng.integers(0, 9, n),
            "b": pa.array(rng.choice(["x", "y", "z"], n)),
            "c": pa.array(rng.integers(0, 3, n).astype(float), mask=rng.random(n) < 0.3),
            "d": pa.array([[int(k)] for k in rng.integers(0, 3, n)]),
            "e": pa.array(rng.choice(["p", "q"], n)).dictionary_encode(),
        }
    )
    seen, expected = set(), []
    for row in table.to_pylist():
        key = tuple(map(str, row.values()))
        expected.append(key in seen)
        seen.add(key)
    assert repeated(table).tolist() == expected
    assert 0 < sum(expected) < n


def test_one_different_column_is_no_repetition():
    assert repeated(pa.table({"a": [1, 1], "b": ["x", "y"]})).tolist() == [False, False]
    assert repeated(pa.table({"a": [0.0, -0.0, None, None]})).tolist() == [False, True, False, True]
    assert repeated(pa.table({"a": pa.array([], pa.int64())})).tolist() == []


@pytest.mark.parametrize(
    ("values", "expected", "lost"),
    [
        (pa.array([1, None], pa.int8()), [1, np.nan], 0),
        (pa.array(["1.5", " 2 ", "", None, "n/a"]), [1.5, 2, np.nan, np.nan, np.nan], 1),
        (pa.array([True, False, None]), [1, 0, np.nan], 0),
        (pa.nulls(2), [np.nan, np.nan], 0),
        (pa.array(["", ""]), [np.nan, np.nan], 0),
        (pa.array(["3", "3"]).dictionary_encode(), [3, 3], 0),
    ],
)
def test_numbers(values, expected, lost):
    read, bad, example = numbers(pa.chunked_array([values]), "price", "events")
    np.testing.assert_array_equal(read, np.array(expected, np.float64))
    assert bad.sum() == lost
    assert example == ("n/a" if lost else None)


def test_text_without_any_number_is_refused():
    with pytest.raises(SchemaError, match="column 'price' should hold numbers, got text such as '£2'"):
        numbers(pa.chunked_array([["£2", None]]), "price", "items")
    with pytest.raises(SchemaError, match="column 'price' should hold numbers"):
        numbers(pa.chunked_array([[[1.0]]]), "price", "items")
