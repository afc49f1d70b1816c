"""How a shop writes its files: what is kept of it, and from which folders it is read."""

from __future__ import annotations

import pytest

from llmrec.data.table_format import TableFormat
from llmrec.recommender.shop_format import format_of, loaded_format, saved_format
from llmrec.store import write_folder


def test_what_files_of_a_shop_share_is_kept_and_nothing_else():
    whole = TableFormat("gbk", ";", "'", ",", "dmy", (("Kd", "user_id"),), ("a",), 3, ("b",))
    assert loaded_format(saved_format(whole)) == TableFormat(decimal=",", date_order="dmy")
    assert loaded_format(saved_format(TableFormat(date_order="mdy"))) == TableFormat(date_order="mdy")
    assert saved_format(None) is saved_format(TableFormat(encoding="gbk", separator=";")) is loaded_format(None) is None


@pytest.mark.parametrize("inner", [".", "recommender"])
def test_it_is_read_from_the_folder_of_a_recommender_and_of_a_scene(tmp_path, inner):
    kept = {"table_format": saved_format(TableFormat(date_order="dmy"))}

    def scene(to):
        write_folder(to / "recommender", lambda _: None, "recommender", kept)

    if inner == ".":
        write_folder(tmp_path / "saved", lambda _: None, "recommender", kept)
    else:
        write_folder(tmp_path / "saved", scene, "scene", {})
    assert format_of(tmp_path / "saved") == TableFormat(date_order="dmy")


@pytest.mark.parametrize("meta", [{}, {"table_format": None}, {"table_format": "dmy"}])
def test_nothing_is_known_of_a_folder_that_says_none(tmp_path, meta):
    write_folder(tmp_path / "saved", lambda _: None, "recommender", meta)
    assert format_of(tmp_path / "saved") is None and format_of(tmp_path / "gone") is None


def test_values_that_are_none_of_a_format_are_left_out():
    assert loaded_format({"decimal": "'", "date_order": "dym"}) == TableFormat()
