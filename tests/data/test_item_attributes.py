"""Columns of the catalogue as attributes of its items."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from llmrec.data.build import build
from llmrec.data.changes import appended, read_additions, read_values, updated
from llmrec.data.clean import Cleaning
from llmrec.data.item_attributes import over_items
from llmrec.errors import SchemaError

N = 24  # the last four are bought by nobody
ITEMS = {
    "item_id": [f"i{i:02}" for i in range(N)],
    "title": [f"thing {i}" for i in range(N)],
    "Category Name": [("tools", "toys")[i % 2] for i in range(20)] + ["late"] * 4,
    "price": [i + 0.5 for i in range(N)],
    "since": [None if i == 3 else 2000 + i % 2 for i in range(N)],
}
EVENTS = {"user_id": [f"u{i % 5}" for i in range(20)], "item_id": ITEMS["item_id"][:20], "timestamp": list(range(20))}


@pytest.fixture(scope="module")
def told():
    return build(EVENTS, ITEMS, item_attributes=["Category Name", "price", "since", "price"])


def test_they_are_learned_from_the_items_that_have_events(told):
    data, report = told
    found = data.catalogue.attributes
    assert found.encoding.names == ("category", "price", "since")  # the first under the library's name
    category, price, since = found.encoding.columns
    assert category.levels == ("tools", "toys") and since.levels == ("2000", "2001")
    assert price.mean == 10.0
    assert not found.known[20:, 0].any() and found.known[20:, 1:].all() and not found.known[3, 2]
    blocks = data.catalogue.blocks
    assert blocks.shape == (N, found.encoding.width) and (blocks[3, -3:] == [1, 1, 0]).all()
    assert "items: 20 of 20 items with events have attributes: category, price, since" in report.notes
    assert not any("not read" in note for note in report.notes)
    plain, said = build(EVENTS, ITEMS)
    assert plain.catalogue.attributes is None is plain.catalogue.blocks and any("'since' is not read" in n for n in said.notes)


def test_new_items_and_new_values_are_read_in_the_same_terms(told):
    known = told[0].catalogue
    table = {"item_id": ["n0", "n1"], "title": ["a", "b"], "category": ["toys", "games"], "price": [9.5, None]}
    new, report = read_additions(known, table, None, Cleaning())
    grown = appended(known, new)
    assert any("category 'games' was in too few rows" in note for note in report.notes)
    assert grown.attributes.known[N:].tolist() == [[True, True, False], [False, False, False]]
    assert np.array_equal(grown.attributes.codes[:N], known.attributes.codes, equal_nan=True)
    rows, values, _ = read_values(
        grown, {"item_id": ["n1", "i00"], "category": ["tools", None], "price": [0.5, 5.5]}, None, Cleaning()
    )
    changed = updated(grown, rows, values).attributes
    assert changed.codes[N + 1, 0] == 0 and changed.known[N + 1].tolist() == [True, True, False]
    assert changed.codes[0, 0] == known.attributes.codes[0, 0] and changed.codes[0, 1] == known.attributes.codes[5, 1]
    others = np.setdiff1d(np.arange(N + 2), rows)
    assert np.array_equal(changed.codes[others], grown.attributes.codes[others], equal_nan=True)
    with pytest.raises(SchemaError, match=r"items: .*'since'"):
        read_additions(known, {"item_id": ["n2"], "title": ["c"], "since": [[1, 2]]}, None, Cleaning())


def test_over_another_catalogue_known_items_keep_theirs(told):
    known, other = told[0].catalogue, build(EVENTS, ITEMS)[0].catalogue
    found = over_items(known, other, np.where(np.arange(N) == 2, -1, 0)).attributes
    assert np.array_equal(found.codes[2], known.attributes.codes[2]) and (found.codes[5] == known.attributes.codes[0]).all()
    assert over_items(other, known, np.arange(N)).attributes is None


def test_a_catalogue_made_of_events_has_attributes_too():
    events = {**EVENTS, "category": ["tools", "toys"] * 10, "price": [1.0, 2.0] * 10}
    data, _ = build(events, item_attributes=["category", "price"])
    assert data.catalogue.attributes.encoding.names == ("category", "price")
    assert pa.types.is_floating(data.catalogue.table.schema.field("price").type)
