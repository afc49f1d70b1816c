from __future__ import annotations

import uuid

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from llmrec.data.frames import coded, id_column, to_arrow, to_native
from llmrec.data.tables import opened
from llmrec.errors import DataError, SchemaError

ROWS = {"user_id": ["a", "b", "a"], "item_id": [3, 1, 2], "price": [1.5, None, 2.0]}


def sources(folder):
    arrow = pa.table(ROWS)
    pyarrow.parquet.write_table(arrow, folder / "t.parquet")
    pd.DataFrame(ROWS).to_csv(folder / "t.csv", index=False)
    yield arrow
    yield pd.DataFrame(ROWS)
    yield ROWS
    yield [dict(zip(ROWS, row, strict=True)) for row in zip(*ROWS.values(), strict=True)]
    yield folder / "t.parquet"
    yield str(folder / "t.csv")


def test_every_kind_of_table_gives_the_same_rows(tmp_path):
    for source in sources(tmp_path):
        assert opened(source, "events", list).to_pylist() == pa.table(ROWS).to_pylist(), type(source)


def test_the_row_labels_of_a_pandas_frame_are_no_column(tmp_path):
    frame = pd.DataFrame(ROWS).iloc[[2, 0]]
    assert to_arrow(frame, "events").column_names == list(ROWS)
    frame.to_parquet(tmp_path / "t.parquet")
    assert opened(tmp_path / "t.parquet", "events", list).column_names == list(ROWS)


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"i": [1, 2], "f": [1.5, np.nan], "s": ["a", None], "b": [True, False]}),
        pd.DataFrame({"t": pd.to_datetime(["2020-01-01", None]), "z": pd.date_range("2020", periods=2, tz="Asia/Tokyo")}),
        pd.DataFrame({"c": pd.Categorical(["a", "b"]), "n": pd.array([1, None], "Int64"), "o": np.array(["a", None], object)}),
        pd.DataFrame({"user_id": [1, 2], "x": [3, 4]}).set_index("user_id"),
        pd.DataFrame({"x": [3, 4, 5]})[[True, False, True]],
        pd.DataFrame({0: [1], 1: [2]}),
        pd.DataFrame({"x": np.array([], np.int64)}),
    ],
    ids=["plain", "times", "others", "index", "filtered", "numbers as names", "empty"],
)
def test_a_pandas_frame_is_read_as_pyarrow_reads_it(frame):
    whole = pa.Table.from_pandas(frame)
    labels = [name for name in whole.column_names if name.startswith("__index")]
    assert to_arrow(frame, "events").equals(whole.drop_columns(labels).replace_schema_metadata(None), check_metadata=True)


def test_answers_come_in_the_type_that_was_asked_with(tmp_path):
    answer = pa.table({"score": [0.5]})
    kinds = [type(to_native(answer, source)) for source in sources(tmp_path)]
    assert kinds == [pa.Table] + 5 * [pd.DataFrame]
    assert to_native(answer, ROWS)["score"].tolist() == [0.5]


def test_whole_numbers_beside_missing_ones_stay_whole():
    back = to_native(pa.table({"because_item_id": [2**60 + 1, None]}), ROWS)
    assert back["because_item_id"].tolist() == [2**60 + 1, None]


def test_polars_in_polars_out():
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame(ROWS)
    assert to_arrow(frame, "events").to_pylist() == pa.table(ROWS).to_pylist()
    assert to_arrow(frame.lazy(), "events").to_pylist() == pa.table(ROWS).to_pylist()
    assert isinstance(to_native(pa.table(ROWS), frame), polars.DataFrame)


def test_hugging_face_datasets_are_read_through_their_selection_and_come_back():
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset.from_dict(ROWS).select([2, 0])
    assert to_arrow(data, "events").column("item_id").to_pylist() == [2, 3]
    back = to_native(pa.table(ROWS), data)
    assert isinstance(back, datasets.Dataset)
    assert back["item_id"][:] == ROWS["item_id"]


def test_uuids_survive_the_way_in_and_out():
    ids = [uuid.UUID(int=5), uuid.UUID(int=2), None]
    table = to_arrow(pd.DataFrame({"item_id": ids, "n": [1, 2, 3]}), "items")
    assert table.column("item_id").to_pylist() == ids
    assert table.column_names == ["item_id", "n"]
    code, values = coded(table.column("item_id"))
    assert code.tolist() == [1, 0, -1]
    assert values == [uuid.UUID(int=2), uuid.UUID(int=5)]


def test_mixed_types_name_the_column():
    with pytest.raises(SchemaError, match="column 'item_id' mixes int and str"):
        to_arrow(pd.DataFrame({"user_id": [1, 2], "item_id": [1, "a"]}, dtype=object), "events")
    with pytest.raises(SchemaError, match="column 'item_id' mixes int and str"):
        to_arrow({"item_id": [1, "a"]}, "events")


def test_what_is_no_table_is_refused(tmp_path):
    with pytest.raises(SchemaError, match="events is a int"):
        to_arrow(5, "events")
    with pytest.raises(SchemaError, match="not all dicts"):
        to_arrow([1, 2], "events")
    with pytest.raises(SchemaError, match="events is an empty list, expected at least one row"):
        to_arrow([], "events")
    for one in ("cup", b"cup", 7, {"a": 1}, None):
        with pytest.raises(SchemaError, match="items: column 'item_id' is one value, .* rows as a list of dicts"):
            to_arrow({"item_id": one, "title": ["mug"]}, "items")
    with pytest.raises(SchemaError, match="differ in length"):
        to_arrow({"a": [1], "b": [1, 2]}, "events")
    with pytest.raises(DataError, match="there is no file"):
        opened(tmp_path / "none.csv", "events", list)
    (tmp_path / "t.xlsx").write_bytes(b"PK\x03\x04x")
    with pytest.raises(DataError, match="an Excel workbook: unpack it, or save the sheet as CSV UTF-8"):
        opened(tmp_path / "t.xlsx", "events", list)
    (tmp_path / "t.parquet").write_bytes(b"not parquet")
    with pytest.raises(DataError, match="not a readable"):
        opened(tmp_path / "t.parquet", "events", list)


SPACE, SIGNS = "white space around taken off", "unseen signs around taken off"


@pytest.mark.parametrize(
    ("values", "expected", "repaired"),
    [
        (pa.array([17850.0, None, 3.0]), [17850, None, 3], {"floats to int": 2}),
        (pa.array([1.0, float("nan")]), [1, None], {"floats to int": 1}),
        (pa.array([1, 2], pa.int32()), [1, 2], {}),
        (pa.array(["a", "", None]), ["a", None, None], {"empty": 1}),
        (pa.array(["007", "7"]), ["007", "7"], {}),
        (pa.array([" 7", "i1 ", "i1 ", "\u00a0x\ufeff", "a b"]), ["7", "i1", "i1", "x", "a b"], {SPACE: 3, SIGNS: 1}),
        (pa.array(["e\u0301", "\u00e9", " "]), ["\u00e9", "\u00e9", None], {"to Unicode's form NFC": 1, "empty": 1}),
        (pa.array(["a", "b", "a"]).dictionary_encode(), ["a", "b", "a"], {}),
        (pa.nulls(2), [None, None], {}),
    ],
)
def test_ids_keep_their_type(values, expected, repaired):
    column, count = id_column(pa.chunked_array([values]), "user_id", "events")
    assert column.to_pylist() == expected
    assert count == repaired


@pytest.mark.parametrize(
    "values", [pa.array([1.5]), pa.array([float("inf")]), pa.array([True]), pa.array([2**64 - 1], pa.uint64())]
)
def test_what_cannot_be_an_id_is_refused(values):
    with pytest.raises(SchemaError, match="column 'user_id' holds ids"):
        id_column(pa.chunked_array([values]), "user_id", "events")


def test_codes_are_ascending_and_ignore_chunks_and_unused_categories():
    chunks = pa.chunked_array([["b", "a"], ["c", None, "a"]])
    code, values = coded(chunks)
    assert values == ["a", "b", "c"]
    assert code.tolist() == [1, 0, 2, -1, 0]
    unused = pa.chunked_array([pa.DictionaryArray.from_arrays(np.array([1, 1]), pa.array(["x", "y"]))])
    assert coded(unused)[1] == ["y"]
    assert coded(pa.chunked_array([], pa.string()))[1] == []


@pytest.mark.parametrize("few", [0, 1000])
def test_whole_numbers_are_coded_alike_in_tables_long_and_short(monkeypatch, few):
    monkeypatch.setattr("llmrec.data.frames.FEW", few)
    code, values = coded(pa.chunked_array([[7, -2], [7, 2**62]]))
    assert (code.dtype, code.tolist(), values) == (np.int64, [1, 0, 1, 2], [-2, 7, 2**62]) and type(values[0]) is int
    assert coded(pa.chunked_array([[7, None, -2]]))[0].tolist() == [1, -1, 0]
    assert coded(pa.chunked_array([], pa.int64()))[1] == []
