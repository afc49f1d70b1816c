from __future__ import annotations

import gzip
import json
import uuid

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmrec.data.build import build, events_for
from llmrec.data.files import MISSING, csv_ids, read_plain
from llmrec.errors import DataError, SchemaError

HEADER = "user_id,item_id,timestamp,title\n"


@pytest.fixture
def write(tmp_path):
    def write(content: str | bytes, name: str = "shop.csv", encoding: str = "utf-8"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
        return path

    return write


def events(*ids: str) -> str:
    """A CSV file of one user a row, in which user and item have the id given."""
    return HEADER + "".join(f"{name},{name},2024-01-{day:02d} 10:00:00,t\n" for day, name in enumerate(ids, 1))


def refused(path, *said: str, items=None, error: type = DataError) -> str:
    with pytest.raises(error) as caught:
        build(path, items)
    message = str(caught.value)
    assert all(part in message for part in (repr(str(path)), *said)), message
    return message


# ---------------------------------------------------------------------------------------- ids


@pytest.mark.parametrize(
    "ids",
    [
        ["007", "7"],
        ["0108775015", "108775015"],
        ["00", "0"],
        ["+7", "7"],
        ["-0", "0"],
        ["1e5", "100000"],
        ["1E5", "100000.0"],
        ["12.0", "12"],
        ["12.50", "12.5"],
        ["1_000", "1000"],
        ["0x10", "16"],
        ["12345678901234567890", "12345678901234567891"],
        ["9223372036854775808", "9223372036854775809", "1"],
        ["true", "True"],
        ["2024-01-01", "2024-01-02"],
        ["12:30", "12:31"],
        ["inf", "1"],
        ["١٢", "12"],
        [str(uuid.UUID(int=7)), str(uuid.UUID(int=8))],
    ],
)
@pytest.mark.parametrize("quoted", [False, True])
def test_ids_of_a_csv_file_keep_their_text_where_a_number_would_not(write, ids, quoted):
    path = write(events(*[f'"{name}"' for name in ids] if quoted else ids))
    dataset, _ = build(path)
    assert dataset.users.values == sorted(ids)
    assert dataset.catalogue.ids.values == sorted(ids)
    assert dataset.n_events == len(ids)


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["7", "12", "0"], [0, 7, 12]),
        (["-3", "3"], [-3, 3]),
        ([" 7", "12 "], [7, 12]),
        (["9223372036854775807", "1"], [1, 2**63 - 1]),
        (["7.0", "12.0"], [7, 12]),  # as pandas writes integers of a column with missing values
        (["b", " a", "c "], ["a", "b", "c"]),
    ],
)
def test_plain_integers_of_a_csv_file_are_ints(write, ids, expected):
    dataset, _ = build(write(events(*ids)))
    assert dataset.users.values == expected == dataset.catalogue.ids.values


@pytest.mark.parametrize("mark", MISSING)
@pytest.mark.parametrize("known", [["7", "8"], ["007", "008"], ["ann", "bob"], ["7.0", "8.0"]])
def test_a_missing_id_of_a_csv_file_is_dropped_and_counted(write, mark, known):
    dataset, report = build(write(events(*known * 3, mark)))
    assert dataset.n_users == dataset.n_items == 2 and dataset.n_events == 6
    step = next(step for step in report.steps if step.name == "missing values")
    assert step.rows_dropped == 1 and step.detail == "user_id: 1; item_id: 1"


def test_the_words_of_missing_values_stay_ids_in_typed_tables_and_are_told(write):
    table = {"user_id": ["NA", "nan", "None", "-", "x"], "item_id": list("abcde"), "timestamp": np.arange(5) + 1.7e9}
    dataset, report = build(table)
    assert dataset.users.values == sorted(table["user_id"])
    assert "user_id: 4 are texts such as 'NA', kept as ids" in report.steps[0].detail


def test_only_ids_are_read_as_text(write):
    table = read_plain(write("user_id,item_id,timestamp,price,colour\n01,02,03,04,red\n"), "events", list)
    assert table.schema.types == [pa.large_string()] * 2 + [pa.int64()] * 2 + [pa.string()]


def test_columns_that_are_named_otherwise_are_ids_too(write):
    path = write("Kunde,ArticleId,Date,InvoiceNo\n007,01,2024-01-01,001\n7,1,2024-01-01,1\n7,01,2024-01-01,001\n")
    dataset, _ = build(path, columns={"Kunde": "user_id"})
    assert dataset.users.values == ["007", "7"] and dataset.catalogue.ids.values == ["01", "1"]
    assert dataset.n_baskets.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("in_events", "in_items", "matched"),
    [
        (["0108775015", "12"], ["0108775015", "12"], ["0108775015", "12"]),
        (["0108775015", "12"], [108775015, 12], [108775015, 12]),  # the catalogue has lost its zeros
        (["007", "7", "12"], [7, 12], [7, 12]),  # "007" may be another item than 7
        (["12", "13"], ["012", "13"], ["012", "13"]),
        (["12", "13", "7"], ["007", "07", "12", "13"], ["12", "13"]),  # 7 may be either
        (["12", "x"], [12, 13], [12]),
    ],
)
@pytest.mark.parametrize("items_from", ["csv", "table"])
@pytest.mark.filterwarnings("ignore::llmrec.errors.DataLossWarning")
def test_events_and_items_meet_whatever_their_ids_were_read_as(write, in_events, in_items, matched, items_from):
    events_path = write(events(*in_events))
    items = {"item_id": in_items, "title": [f"thing {name}" for name in in_items]}
    if items_from == "csv":
        pd.DataFrame(items).to_csv(path := events_path.with_name("items.csv"), index=False)
        items = path
    dataset, report = build(events_path, items)
    assert {dataset.catalogue.ids[index] for index in dataset.item} == set(matched)
    again, _ = events_for(dataset.catalogue, events_path)
    assert again.item.tolist() == dataset.item.tolist()
    step = next(step for step in report.steps if step.name == "not in the catalogue")
    assert step.rows_dropped == len(in_events) - len(matched)
    if in_events[0] == "0108775015" and matched[0] != "0108775015":
        assert "1 id matched without leading zeros, such as '0108775015' is 108775015" in step.detail


def test_typed_events_meet_a_csv_catalogue_with_leading_zeros(write):
    items = write("item_id,title\n0108775015,red\n12,blue\n", "items.csv")
    dataset, _ = build({"user_id": [1, 1], "item_id": [108775015, 12], "timestamp": [1, 2]}, items)
    assert dataset.catalogue.ids.values == ["0108775015", "12"] and dataset.item.tolist() == [0, 1]


def test_csv_ids_alone():
    assert csv_ids(pa.chunked_array([pa.array(["1", "2", None], pa.large_string())])).type == pa.int64()
    assert csv_ids(pa.chunked_array([pa.array(["NA", ""], pa.large_string())])).null_count == 2


# ---------------------------------------------------------------------------------------- separators, rows, encodings


@pytest.mark.parametrize("separator", [";", "\t", "|", "^", ":", " ", "\x01"])
@pytest.mark.parametrize("tail", ["1,5", "15", "a, b"])
def test_another_separator_is_read_and_told(write, separator, tail):
    name, tail = "colour" if tail == "a, b" else "price", tail.replace(" ", "") if separator == " " else tail
    rows = [["user_id", "item_id", "timestamp", name], *[["u", "a", f"202401{day}", tail] for day in (10, 11, 12)]]
    dataset, report = build(write("\n".join(separator.join(row) for row in rows)))
    assert dataset.n_events == 3 and f"separator {separator!r}" in report.notes[0]
    assert name != "price" or dataset.attributes["price"][0] == float(tail.replace(",", "."))


def test_another_separator_in_quoted_names_and_in_items(write):
    path = write('"user_id";"item_id";"timestamp";"price, EUR"\n"u";"a";"2024-01-01";"1,5"\n')
    items = write("item_id;title\na;red, blue\n", "items.csv")
    assert build(path, items)[0].catalogue.column("title") == ["red, blue"]
    refused(write("1::1193::5::978300760\n1::661::3::978302109\n"), "line 1: holds values such as '1'", "--names")
    assert build(write("sep=;\nuser_id;item_id;timestamp\n1;2;3\n"))[0].n_events == 1


@pytest.mark.parametrize("names", ['"user_id",item_id,timestamp,a|b|c|d|e', "user_id,item_id,timestamp,my title: long; short"])
def test_commas_are_not_taken_for_something_else(write, names):
    assert build(write(f"{names}\n1,2,2024-01-01,x\n"))[0].n_events == 1


@pytest.mark.parametrize(
    ("rows", "line", "found", "left"),
    [
        (["u,a,2024-01-01,red", "u,b,2024-01-02,red,blue", "u,c,2024-01-03,x"], 3, 5, 2),
        (['u,a,2024-01-01,"two\nlines, quoted"', "u,b,2024-01-02,x,"], 4, 5, 1),
        ([f"u{k},a,2024-01-01,x" for k in range(70_000)] + ["u,a,2024-01-01,x,y,z"], 70_002, 6, 70_000),
    ],
)
def test_one_ragged_row_is_left_out_and_told_by_its_line(write, rows, line, found, left):
    dataset, report = build(write(HEADER + "\n".join(rows) + "\n"))
    assert dataset.n_events == left
    assert f"line {line:,}: {found} fields, expected 4" in " ".join(report.notes)


@pytest.mark.parametrize(
    ("rows", "line", "found"), [(["u,a,2024-01-01"], 1, 3), (["u,a,2024-01-01,x", "", "u,b", "u", "u,a,2024-01-02,x"], 4, 2)]
)
def test_ragged_rows_are_named_by_the_line_of_the_first(write, rows, line, found):
    refused(write(HEADER + "\n".join(rows) + "\n"), f"line {line}", f"{found} fields")


@pytest.mark.parametrize("column", ["first", "last"])
def test_a_quote_that_is_never_closed_does_not_swallow_the_file(write, column):
    rows = {"first": '"u,a,2024-01-01,red\nu,b,2024-01-02,x\n', "last": 'u,a,2024-01-01,"red\nu,b,2024-01-02,x\n'}
    dataset, report = build(write(HEADER + "u,a,2024-01-03,x\n" + rows[column]))
    assert dataset.n_events == 2 and 'line 3: a quote " that is never closed' in " ".join(report.notes)


def test_quotes_and_lines_within_texts_are_read(write):
    rows = [f'u{k},i{k},2024-01-01,"red, ""{k}""\nof two lines"' for k in range(40_000)] + ['u,i,2024-01-01,12" disk']
    dataset, _ = build(write("\ufeff" + HEADER + "\r\n".join(rows) + "\n\n"))
    assert dataset.n_events == 40_001
    assert dataset.catalogue.column("title")[0] == '12" disk' and dataset.catalogue.column("title")[-1].startswith('red, "')


@pytest.mark.parametrize(
    ("text", "encoding", "named"),
    [
        ("Größe", "latin-1", "latin-1"),
        ("café crème, naïve", "latin-1", "latin-1"),
        ("Preis 5 €", "cp1252", "cp1252"),
        ("这是一个很好的商品很多人都想要这个产品大家都说好", "gbk", "gbk"),
        ("Größe", "utf-16", "utf-16"),
        ("Größe", "utf-16-le", "utf-16-le"),
        ("Größe", "utf-16-be", "utf-16-be"),
        ("Größe", "utf-32", "utf-32"),
    ],
)
@pytest.mark.parametrize("separator", [",", ";"])
def test_another_encoding_is_read_and_told(write, text, encoding, named, separator):
    value = {"user_id": "u", "item_id": "a", "timestamp": "2024-01-01", "title": f'"{text}"'}
    path = write("\n".join(separator.join(part) for part in (value.keys(), value.values())) + "\n", encoding=encoding)
    dataset, report = build(path)
    assert dataset.catalogue.column("title") == [text] and f"encoding {named}" in report.notes[0]


@pytest.mark.parametrize(
    ("text", "encoding"), [("Красная кружка", "cp1251"), ("赤いマグカップです", "shift_jis"), ("빨간 머그컵입니다", "euc_kr")]
)
@pytest.mark.parametrize("place", ["title", "user_id", "item_id"])
def test_an_encoding_that_is_not_certain_is_asked_for(write, text, encoding, place):
    value = {"user_id": "u", "item_id": "a", "timestamp": "2024-01-01", "title": "t", place: f'"{text}"'}
    path = write("\n".join(",".join(part) for part in (value.keys(), value.values())) + "\n", encoding=encoding)
    refused(path, "not in UTF-8", f"{text!r} in {encoding}", "--encoding")


def test_an_encoding_that_fails_late(write):
    path = write(events(*["a"] * 9).encode() + b"u,a,2024-01-01,Gr\xf6\xdfe\n" + b"u,a,2024-01-01,t\n" * 90_000)
    dataset, _ = build(path)
    assert dataset.n_events == 9 + 2


@pytest.mark.parametrize("name", ["a.tsv", "a.txt", "a.tsv.gz", "a.inter", "a.xyz"])
def test_text_with_another_ending_is_read(write, name):
    text = events("a", "b", "007").replace(",", "\t").encode()
    dataset, _ = build(write(gzip.compress(text) if name.endswith("gz") else text, name))
    assert dataset.users.values == ["007", "a", "b"]


def test_json_lines_are_read(write):
    rows = [{"user_id": 1, "item_id": "a", "timestamp": 1.7e9}, {"user_id": 2, "item_id": "b", "timestamp": 1.7e9}]
    dataset, _ = build(write("\n".join(map(json.dumps, rows)), "a.jsonl"))
    assert dataset.users.values == [1, 2]
    large = json.dumps([row | {"user_id": 10**20 + row["user_id"]} for row in rows])  # beyond 64 bits
    assert build(write(large, "b.json"))[0].users.values == [f"{10**20 + 1}", f"{10**20 + 2}"]


def test_parquet_in_a_folder_and_saved_datasets_are_read(tmp_path):
    table = pa.table({"user_id": ["a", "b"], "item_id": [7, 8], "timestamp": [1.7e9, 1.7e9 + 1]})
    (tmp_path / "spark").mkdir()
    for part in (0, 1):
        pq.write_table(table.slice(part, 1), tmp_path / "spark" / f"part-{part}.parquet")
    data = datasets.Dataset(table)
    data.select([1, 0]).save_to_disk(tmp_path / "saved")
    datasets.DatasetDict(train=data).save_to_disk(tmp_path / "one")
    datasets.DatasetDict(train=data, test=data).save_to_disk(tmp_path / "two")
    for name in ("spark", "saved", "one", "two/test"):
        dataset, _ = build(tmp_path / name)
        assert dataset.users.values == ["a", "b"] and dataset.catalogue.ids.values == [7, 8]
    refused(tmp_path / "two", "splits 'train', 'test'", "two/train")
    pq.write_table(
        table.drop_columns("user_id").append_column("title", [["mug", "tent"]]), tmp_path / "spark" / "items.parquet"
    )
    refused(tmp_path / "spark", "files of different tables, such as 'items.parquet' and 'part-0.parquet'")
    for number, (name, content) in enumerate((("dataset_dict", "{"), ("dataset_dict", '{"splits": 7}'), ("state", "[]"))):
        (tmp_path / f"broken{number}").mkdir()
        (tmp_path / f"broken{number}" / f"{name}.json").write_text(content)
        refused(tmp_path / f"broken{number}", "cannot be read as Parquet files or a saved dataset")


def test_datasets_of_splits():
    data = datasets.Dataset.from_dict({"user_id": ["a"], "item_id": [7], "timestamp": [1.7e9]})
    assert build(datasets.DatasetDict(train=data))[0].n_events == 1
    with pytest.raises(SchemaError, match=r"splits 'train', 'test', expected one table; pass one, such as dataset\['train'\]"):
        build(datasets.DatasetDict(train=data, test=data))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"PK\x03\x04rest", "Excel"),
        (b"\xd0\xcf\x11\xe0rest", "Excel"),
        (b"\x1f\x8brest", "cannot be unpacked"),
        (b"PAR1rest", "Parquet"),
    ],
)
def test_csv_files_that_are_something_else(write, content, said):
    refused(write(content), said)


def test_folders_addresses_and_broken_parquet_files(tmp_path, write):
    (tmp_path / "parts.parquet").mkdir()
    refused(tmp_path / "parts.parquet", "is a folder without Parquet files")
    with pytest.raises(DataError, match="download the file first"):
        build("https://example.org/events.csv")
    refused(write(b"PAR1" + b"\0" * 50 + b"PAR1", "x.parquet"), "not a readable .parquet file")


def test_columns_of_a_spreadsheet_without_a_name_and_rows_without_a_value(write):
    dataset, report = build(
        write("user_id,item_id,timestamp,,\n1,2,2024-01-01,,\n3,2,2024-01-01,,\n" + "4,2,2024-01-01,,\n" * 5 + ",,,,\n")
    )
    assert dataset.users.values == [1, 3, 4]
    assert not any("''" in note for note in report.notes)


def test_frames_with_two_equal_columns_and_numbers_beyond_int64():
    frame = pd.DataFrame([[1, 2, 3, 4]], columns=["user_id", "item_id", "timestamp", "item_id"])
    with pytest.raises(SchemaError, match="events has several columns named 'item_id'"):
        build(frame)
    for value in (2**63, 2**64, 10**30):
        with pytest.raises(SchemaError, match=r"column 'user_id' holds .* above 2\*\*63 - 1; convert them to str"):
            build({"user_id": [value], "item_id": [1], "timestamp": [1]})
