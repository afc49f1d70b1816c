"""Tables in parts come to the file that one table would, and a file is whole or not there."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from llmrec.data import table_writer
from llmrec.data.table_writer import form_of, write_file
from llmrec.errors import ArtefactError, DataError

TABLE = pa.table({"user_id": list("abcde"), "score": [0.5, None, -1.0, 2.0, 3.25], "title": ["ä", '"', ",", "\n", ""]})
NOTHING = pa.table({"user_id": pa.array([], pa.int64())})
CUTS = [[5], [0, 2, 3], [1, 1, 0, 1, 2], [5, 0]]


def parts(cuts: list[int]) -> list[pa.Table]:
    starts = [sum(cuts[:place]) for place in range(len(cuts))]
    return [TABLE.slice(start, rows) if rows else NOTHING for start, rows in zip(starts, cuts, strict=True)]


@pytest.mark.parametrize("form", ["csv", "json", "jsonl"])
@pytest.mark.parametrize("cuts", CUTS)
def test_text_does_not_depend_on_how_the_table_is_cut(tmp_path, form, cuts):
    write_file(tmp_path / "x", parts(cuts), form)
    text = (tmp_path / "x").read_text(encoding="utf-8")
    if form == "csv":
        sink = pa.BufferOutputStream()
        pyarrow.csv.write_csv(TABLE, sink)
        assert text == sink.getvalue().to_pybytes().decode()
    elif form == "json":
        assert text == json.dumps(TABLE.to_pylist(), indent=1, ensure_ascii=False) + "\n"
    else:
        assert [json.loads(line) for line in text.splitlines()] == TABLE.to_pylist()


@pytest.mark.parametrize("cuts", CUTS)
def test_parquet_holds_the_table_in_row_groups_of_several_parts(tmp_path, monkeypatch, cuts):
    monkeypatch.setattr(table_writer, "ROW_GROUP", 2)
    write_file(tmp_path / "x", parts(cuts), "parquet")
    file = pyarrow.parquet.ParquetFile(tmp_path / "x")
    assert file.read() == TABLE
    rows = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
    assert all(count >= 2 for count in rows[:-1])


def test_a_table_without_rows_is_a_file_without_rows(tmp_path):
    for form, text in (("csv", '"user_id"\n'), ("json", "[]\n"), ("jsonl", "")):
        write_file(tmp_path / "x", [NOTHING, NOTHING], form)
        assert (tmp_path / "x").read_text() == text
    write_file(tmp_path / "x", [NOTHING], "parquet")
    assert pyarrow.parquet.read_table(tmp_path / "x") == NOTHING


def test_uuids_are_text_where_a_format_has_no_type_for_them(tmp_path):
    ids = [uuid.UUID(int=number) for number in (1, 2)]
    for form in ("csv", "json", "jsonl"):
        write_file(tmp_path / "x", [pa.table({"user_id": pa.array([one])}) for one in ids], form)
        assert all(str(one) in (tmp_path / "x").read_text() for one in ids)


@pytest.mark.parametrize("form", ["csv", "json", "jsonl", "parquet"])
def test_a_run_that_stops_leaves_the_older_file_and_nothing_else(tmp_path, form):
    (tmp_path / "x").write_text("older")

    def stopped():
        yield TABLE
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_file(tmp_path / "x", stopped(), form)
    assert [file.name for file in tmp_path.iterdir()] == ["x"] and (tmp_path / "x").read_text() == "older"


def test_the_form_is_that_of_the_ending():
    assert [form_of(name) for name in ("a.parquet", Path("b.CSV"), "c.json", "d.jsonl")] == ["parquet", "csv", "json", "jsonl"]
    for name in ("lists", "lists.xlsx"):
        with pytest.raises(DataError, match=r"expected a name that ends in \.parquet, \.csv, \.json, \.jsonl"):
            form_of(name)


def test_a_path_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ArtefactError, match="expected a path that can be written to"):
        write_file(tmp_path / "file" / "x.csv", [TABLE], "csv")
