"""Tables by their address on the Hugging Face hub, with a server on this machine in its place."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from huggingface_hub import constants

from llmrec.data.build import build, read_catalogue
from llmrec.data.changes import read_additions
from llmrec.data.clean import Cleaning
from llmrec.data.frames import empty_frame
from llmrec.data.places import placed, untyped
from llmrec.data.reading import read
from llmrec.data.user_tables import is_table
from llmrec.errors import DataError, MissingExtraError
from llmrec.hub import is_address

ROWS = {"user_id": ["ann", "bob"], "item_id": ["007", "7"], "timestamp": ["2026-01-01", "2026-01-02"]}
ITEMS = b"item_id,title\n007,red mug\n7,blue mug\n8,a lamp\n"
SHOP = "hf://datasets/me/shop"


def csv(rows: dict[str, list[str]] = ROWS) -> bytes:
    return pd.DataFrame(rows).to_csv(index=False).encode()


def parquet(rows: dict[str, list[str]] = ROWS) -> bytes:
    file = io.BytesIO()
    pyarrow.parquet.write_table(pa.table(rows), file)
    return file.getvalue()


def arrow(rows: dict[str, list[str]] = ROWS) -> bytes:
    file, table = io.BytesIO(), pa.table(rows)
    with pa.ipc.new_stream(file, table.schema) as sink:
        sink.write_table(table)
    return file.getvalue()


def jsonl(rows: dict[str, list[str]] = ROWS) -> bytes:
    return pd.DataFrame(rows).to_json(orient="records", lines=True).encode()


# ---------------------------------------------------------------------------------------- one file


@pytest.mark.parametrize(("name", "data"), [("e.csv", csv()), ("deep/er/e.parquet", parquet()), ("e.jsonl", jsonl())])
def test_a_file_of_a_data_set_is_read_as_a_file_of_this_machine(hub, tmp_path, name, data):
    hub.put("datasets/me/shop", {name: data})
    here = tmp_path / Path(name).name
    here.write_bytes(data)
    for source in (f"{SHOP}/{name}", Path(f"{SHOP}/{name}")):  # a Path loses one of the strokes
        assert read(source).table.equals(read(here).table)
        assert untyped(placed(source, "events")) == untyped(placed(here, "events")) == name.endswith(".csv")
        assert build(source)[0].users.values == ["ann", "bob"]
        assert build(source)[0].catalogue.ids.values == ["007", "7"]


def test_a_revision_is_read(hub):
    hub.put("datasets/me/shop", {"e.csv": csv(ROWS | {"user_id": ["old", "old"]})})
    old = hub.branches["datasets/me/shop"]["main"]
    hub.put("datasets/me/shop", {"e.csv": csv()})
    hub.put("datasets/me/shop", {"e.csv": csv(ROWS | {"user_id": ["next", "next"]})}, "next")
    for revision, user in (("", "ann"), (f"@{old}", "old"), ("@next", "next"), ("@main", "ann")):
        assert read(f"{SHOP}{revision}/e.csv").table["user_id"][0].as_py() == user


def test_every_table_may_come_from_the_hub(hub):
    hub.put("datasets/me/shop", {"e.csv": csv(), "items.csv": ITEMS})
    dataset, _ = build(f"{SHOP}/e.csv", f"{SHOP}/items.csv")
    assert dataset.n_events == 2 and dataset.n_items == 3
    assert read_catalogue(f"{SHOP}/items.csv")[0].ids.values == dataset.catalogue.ids.values
    hub.put("datasets/me/more", {"items.csv": b"item_id,title\n009,a rope\n"})
    added, _ = read_additions(dataset.catalogue, "hf://datasets/me/more/items.csv", None, Cleaning())
    assert added.ids.values == ["009"]
    assert is_table(SHOP) and not is_table("ann")


def test_messages_name_the_address_and_not_the_cache(hub, tmp_path):
    hub.put(
        "datasets/me/shop",
        {"bad.csv": b"user_id,item_id,timestamp\na,b,03/04/2026\n", "no.parquet": b"?", "zip.csv": b"PK\3\4"},
    )
    for name in ("bad.csv", "no.parquet", "zip.csv"):
        with pytest.raises(DataError, match=f"events: '{SHOP}/{name}'") as error:
            read(f"{SHOP}/{name}")
        assert name == "no.parquet" or str(tmp_path) not in str(error.value)  # Arrow names the file of the cache too
    with pytest.raises(DataError, match=rf"llmrec.data.reading.read\('{SHOP}/zip.csv', 'events'"):
        build(f"{SHOP}/zip.csv")
    hub.put("datasets/me/shop", {"e.csv": csv()})
    assert f"events: {SHOP}/e.csv is read with encoding utf-8" in read(f"{SHOP}/e.csv").notes[0]


def test_a_file_needs_no_more_than_the_hub(hub, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    hub.put("datasets/me/shop", {"e.csv": csv()})
    assert len(read(f"{SHOP}/e.csv").table) == 2
    with pytest.raises(MissingExtraError, match=r"pip install 'llmrec\[datasets\]', or give one file of it"):
        read(SHOP)
    assert isinstance(empty_frame("datasets"), pa.Table)


# ---------------------------------------------------------------------------------------- a whole data set


@pytest.mark.parametrize(
    "files",
    [
        {"e.csv": csv()},
        {"data/train-00000-of-00001.parquet": parquet(), "README.md": b"# A shop"},
        {"train.jsonl": jsonl()},
        {
            "data/train-00000-of-00002.parquet": parquet({name: values[:1] for name, values in ROWS.items()}),
            "data/train-00001-of-00002.parquet": parquet({name: values[1:] for name, values in ROWS.items()}),
        },
        {"data-00000-of-00001.arrow": arrow()},
    ],
)
def test_a_data_set_of_one_split_is_a_table(data_hub, files):
    data_hub.put("datasets/me/shop", files)
    assert read(SHOP).table.select(["user_id", "item_id"]).to_pydict() == {name: ROWS[name] for name in ("user_id", "item_id")}
    assert build(SHOP)[0].catalogue.ids.values == ["007", "7"]
    assert untyped(placed(SHOP, "events")) == ("e.csv" in files)


def test_of_several_splits_one_is_named(data_hub):
    later = ROWS | {"user_id": ["cid", "dan"]}
    data_hub.put("datasets/me/shop", {"train.parquet": parquet(), "test.parquet": parquet(later)})
    with pytest.raises(
        DataError, match=rf"with the splits 'train', 'test', expected one table; name a split.*'{SHOP}\?split=train'"
    ):
        read(SHOP)
    assert read(f"{SHOP}?split=test").table["user_id"].to_pylist() == ["cid", "dan"]
    assert read(f"{SHOP}@main?split=train").table["user_id"].to_pylist() == ["ann", "bob"]
    with pytest.raises(DataError, match="no split 'dev', expected one of 'train', 'test'"):
        read(f"{SHOP}?split=dev")


def test_of_several_subsets_one_is_named(data_hub):
    card = "---\nconfigs:\n- config_name: events\n  data_files: e.csv\n- config_name: items\n  data_files: items.csv\n---\n"
    data_hub.put("datasets/me/shop", {"e.csv": csv(), "items.csv": ITEMS, "README.md": card.encode()})
    dataset, _ = build(f"{SHOP}?name=events", f"{SHOP}?name=items&split=train")
    assert dataset.n_events == 2 and dataset.n_items == 3
    for query, came in (("", "no name"), ("?name=users", "'users'")):
        with pytest.raises(
            DataError, match=rf"subsets 'events', 'items', expected the name of one, got {came}; say .*name=events"
        ):
            read(SHOP + query)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"e.csv": csv(), "items.csv": ITEMS}, f"2 files, which may not be one table.*{SHOP}/e.csv, {SHOP}/items.csv"),
        ({"e.parquet": parquet(), "i.parquet": parquet({"item_id": ["7"], "title": ["mug"]})}, "files of different tables"),
        ({"shop.py": b"raise SystemExit('run')", "e.csv": csv()}, f"scripts are no longer supported.*as in {SHOP}/e.csv"),
        ({"README.md": b"# Nothing"}, "cannot tell which tables the data set holds"),
        ({"cat/1.png": b"?"}, "holds 'cat/1.png', expected a table"),
    ],
)
def test_what_is_no_table_is_told_with_the_files_there(data_hub, files, said):
    data_hub.put("datasets/me/shop", files)
    with pytest.raises(DataError, match=f"events: '{SHOP}'.*{said}"):
        read(SHOP)


def test_a_library_that_would_run_code_is_refused(data_hub, monkeypatch):
    import datasets

    data_hub.put("datasets/me/shop", {"e.csv": csv()})
    monkeypatch.setattr(datasets, "__version__", "3.6.0")
    with pytest.raises(MissingExtraError, match="datasets 3.6.0 runs code of data sets, expected 4 or newer"):
        read(SHOP)


# ---------------------------------------------------------------------------------------- what is not there


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("hf://datasets/me/none", "no data set of that name on the Hugging Face hub.*check the name.*hf auth login"),
        ("hf://datasets/me/none/e.csv", "no data set of that name on the Hugging Face hub"),
        (f"{SHOP}@v9", "no revision 'v9'"),
        (f"{SHOP}@v9/e.csv", "no revision 'v9'"),
        (f"{SHOP}/gone.csv", f"got no file of that name; give one, as in {SHOP}/data/e.csv"),
        (f"{SHOP}/data", f"got a folder; give one, as in {SHOP}/data/e.csv"),
        ("hf://datasets/squad", "expected an address such as hf://datasets/owner/name"),
        ("hf://me/shop", "got that of a model"),
        (f"{SHOP}/e.csv?split=train", "a file or a split, got both"),
        (f"{SHOP}?splits=train", r"expected \?split=train or \?name=SUBSET&split=train"),
        (f"{SHOP}?split=", r"expected \?split=train"),
        (f"{SHOP}?split=a&split=b", r"expected \?split=train"),
    ],
)
def test_what_is_not_there_is_told_with_a_remedy(hub, source, said):
    hub.put("datasets/me/shop", {"data/e.csv": csv()})
    with pytest.raises(DataError, match=said) as error:
        build(source)
    assert str(error.value).startswith(f"events: {source!r}")


def test_access_is_asked_for(hub, monkeypatch):
    hub.put("datasets/me/shop", {"e.csv": csv()})
    hub.private["datasets/me/shop"], hub.token = True, "right"
    for source in (SHOP, f"{SHOP}/e.csv"):
        with pytest.raises(DataError, match="for a private one log in with `hf auth login`, or set HF_TOKEN"):
            read(source)
    monkeypatch.setenv("HF_TOKEN", "right")
    assert len(read(f"{SHOP}/e.csv").table) == 2
    hub.put("datasets/me/asked", {"e.csv": csv()})
    hub.gated.add("datasets/me/asked")
    for source in ("hf://datasets/me/asked", "hf://datasets/me/asked/e.csv"):
        with pytest.raises(DataError, match="data set on the hub is restricted: ask for access on its page"):
            read(source)


def test_without_a_connection_the_cache_is_taken_or_the_remedy_said(hub, monkeypatch):
    hub.put("datasets/me/shop", {"e.csv": csv(), "other.csv": csv()})
    read(f"{SHOP}/e.csv")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert len(read(f"{SHOP}/e.csv").table) == 2
    for source in (SHOP, f"{SHOP}/other.csv"):
        with pytest.raises(DataError, match="hub cannot be reached.*HF_HUB_OFFLINE, or give the path of a file"):
            read(source)


def test_no_address_asks_nobody(hub, tmp_path):
    for source in ("gone.csv", "hf:", "hf://", str(tmp_path / "hf:" / "x.csv"), "https://huggingface.co/datasets/me/shop"):
        assert not is_address(source)
        with pytest.raises(DataError, match="there is no file"):
            read(source)
    assert hub.asked == []
