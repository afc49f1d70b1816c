"""Docstrings as the pages of the reference show them: fields as definitions, code as code, and nothing read as a mark."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

FILE = Path(__file__).resolve().parents[2] / "docs" / "docstrings.py"


@pytest.fixture(scope="module")
def converted():
    spec = importlib.util.spec_from_file_location("docstrings", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.converted


def test_fields_become_definitions_and_sentences_behind_them_stay_text(converted):
    lines = ["Adds.", "", "one, two: numbers,", "    both whole. three: a text.", "Returns a sum. Raises DataError."]
    assert converted(lines, ["one", "two", "three"]) == [
        *("Adds.", ""),
        *("``one``, ``two``", "    numbers,", "    both whole.", ""),
        *("``three``", "    a text.", ""),
        *("Returns a sum. Raises :py:exc:`~llmrec.errors.DataError`.", ""),
    ]


def test_a_field_may_end_the_line_before_its_text(converted):
    assert converted(["one: a. two:", "    b."], ["one", "two"]) == ["``one``", "    a.", "", "``two``", "    b.", ""]


def test_a_name_that_is_no_field_begins_none(converted):
    assert converted(["note: of nothing"], ["one"]) == ["note: of nothing", ""]


def test_code_tables_and_lists_keep_their_form(converted):
    assert converted(["As in", "", "    x = y * 2", "      z"], []) == [
        *("As in", ""),
        *(".. code-block:: text", "", "   x = y * 2", "     z", ""),
    ]
    table = converted(["| a | b |", "|---|---|", "| `c` | d |"], [])
    assert table == [".. list-table::", "   :header-rows: 1", "", "   * - a", "     - b", "   * - ``c``", "     - d", ""]
    assert converted(["1. one", "   more", "2. two"], []) == ["1. one", "   more", "2. two", ""]
    assert converted([">>> f(1)  # doctest: +SKIP"], []) == [".. code-block:: python", "", "   f(1)", ""]


def test_signs_that_are_marks_elsewhere_are_read_as_they_stand(converted):
    assert converted(["2 * 3 | x_ and `a*b` of `Recommender`"], []) == [
        "2 \\* 3 \\| x\\_ and ``a*b`` of :py:class:`~llmrec.Recommender`",
        "",
    ]
