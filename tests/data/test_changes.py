"""Changes to a catalogue: values of a table and of a CSV file, where all is text, go together."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from llmrec.data.changes import appended, updated
from llmrec.data.dataset import Catalogue
from llmrec.data.ids import Ids
from llmrec.errors import SchemaError

MIXED = [  # what the catalogue has, what comes, and what the catalogue has then
    (["True", "False"], [False], ["False", "False"]),  # in the catalogue's own words
    (["YES", "YES"], [False], ["false", "YES"]),
    (["1", None], [True], ["1", None]),
    (["0", "1"], [None], ["0", "1"]),
    ([True, None], ["no"], [False, None]),
    (["12", "3"], [0], ["0", "3"]),
    (["1.5", "3"], [8.0], ["8", "3"]),
    ([12, 3], ["0"], [0.0, 3.0]),
    ([1.0, 1.0], [False], [0.0, 1.0]),
    ([True, None], [0], [False, None]),
]
APART = [
    ([True, False], [3], "is int64, but bool in the catalogue"),
    (["ja", "nein"], [False], "is bool, but string in the catalogue"),
    ([True, False], ["ja"], "is string, but bool in the catalogue"),
    (["007", "12"], [7], "is int64, but string in the catalogue"),
    ([7, 12], ["007"], "is string, but int64 in the catalogue"),
    (["1,5", "2,5"], [2.5], "is double, but string in the catalogue"),
    (["many", "few"], [3], "is int64, but string in the catalogue"),
]


def catalogue(ids: list[str], values: list[object]) -> Catalogue:
    return Catalogue(Ids(ids), pa.table({"item_id": ids, "mark": values}))


@pytest.mark.parametrize(("old", "new", "expected"), MIXED)
def test_flags_and_numbers_of_a_table_go_with_those_of_a_csv_file(old, new, expected):
    known, values = catalogue(["a", "b"], old), pa.table({"mark": new})
    assert updated(known, np.array([0]), values).table.column("mark").to_pylist() == expected
    grown = appended(known, catalogue(["c"], new)).table.column("mark").to_pylist()
    assert grown[:2] == old and (grown[2] == expected[0] or new[0] is None)


@pytest.mark.parametrize(("old", "new", "said"), APART)
def test_what_may_mean_something_else_is_refused(old, new, said):
    with pytest.raises(SchemaError, match=f"column 'mark' {said}; expected one type"):
        updated(catalogue(["a", "b"], old), np.array([0]), pa.table({"mark": new}))
