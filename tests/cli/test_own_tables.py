"""`llmrec check`, `fit` and `recommend`: from an export in any dress to lists, without code."""

from __future__ import annotations

import json
import logging
import shlex
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
from click.testing import CliRunner, Result

from llmrec import Recommender
from llmrec.cli import checking, main
from llmrec.cli.recommending import known_ids
from llmrec.cli.tables import aligned, form_of, put
from llmrec.data.ids import Ids
from llmrec.data.table_format import TableFormat
from llmrec.errors import DataLossWarning
from llmrec.recommender.shop_format import format_of
from llmrec.screen import Screen

GERMAN = dict(
    zip(
        ("user_id", "item_id", "basket_id", "timestamp", "price", "quantity", "title", "country"),
        ("Kundennr", "Artikelnr", "Rechnungsnr", "Datum", "Preis", "Menge", "Bezeichnung", "Land"),
        strict=True,
    )
)
CHINESE = dict(zip(GERMAN, ("客户编号", "商品编号", "订单号", "下单时间", "单价", "数量", "商品名称", "国家"), strict=True))
ENGLISH = dict(
    zip(
        GERMAN,
        ("CustomerID", "StockCode", "InvoiceNo", "InvoiceDate", "UnitPrice", "Quantity", "Description", "Country"),
        strict=True,
    )
)


def retail(users: int = 60, items: int = 30) -> pd.DataFrame:
    """A made table in the form of Online Retail: each customer buys in one of three groups of items, in six baskets."""
    rng, rows = np.random.default_rng(0), []
    for user in range(users):
        for basket in range(6):
            day = pd.Timestamp("2011-01-03 09:15") + pd.Timedelta(days=int(rng.integers(300)), minutes=int(rng.integers(500)))
            for item in rng.choice(items // 3, 2, replace=False) * 3 + user % 3:
                rows.append((12_000 + user, f"{item:05d}", f"{540_000 + user * 10 + basket}", day, item / 4 + 0.95, 1, item))
    frame = pd.DataFrame(rows, columns=[*list(GERMAN)[:6], "title"])
    frame.loc[::97, "quantity"] = -1
    frame["user_id"] = frame["user_id"].astype(object).where(frame.index % 50 != 7)
    return frame.assign(country="UK")


DRESSES = {
    "german": (GERMAN, "Größe {} für Äpfel", "latin-1", "%d.%m.%Y %H:%M", {"sep": ";", "decimal": ","}),
    "chinese": (CHINESE, "红色的大茶杯{}号", "gbk", "%Y年%m月%d日 %H:%M", {}),
    "tabs": (ENGLISH, "MUG, NO. {}", "utf-8", "%m/%d/%Y %I:%M %p", {"sep": "\t"}),
}
BROKEN = 200


def export(path: Path, dress: str) -> None:
    """The made table as a shop exports it, with a row that is broken."""
    names, title, encoding, dates, options = DRESSES[dress]
    frame = retail()
    frame["title"] = frame["title"].map(title.format)
    text = frame.rename(columns=names).to_csv(index=False, date_format=dates, **options)
    lines = text.split("\n")
    lines[BROKEN - 1] += f"{options.get('sep', ',')}x"
    path.write_bytes("\n".join(lines).encode(encoding))


def run(*words: str | Path, code: int = 0) -> Result:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, (result.output, result.exception)
    return result


@pytest.mark.parametrize("dress", DRESSES)
def test_check_shows_what_it_found_and_the_command_to_train_with(tmp_path, dress):
    path = tmp_path / "export.txt"
    export(path, dress)
    shown = run("check", path).stdout
    for theirs, ours in ((theirs, ours) for ours, theirs in DRESSES[dress][0].items() if ours != "country"):
        assert f"{theirs} -> {ours}" in shown
    for words in (f"line {BROKEN}: 9 fields, expected 8", "not read", "missing values", "Left: ", DRESSES[dress][2]):
        assert words in shown
    assert "2011-" in shown and "12000" in shown  # the first rows, as they were read
    command = run("check", path, "--quiet").stdout.strip()
    assert shown.endswith(f"  {command}\n") and shlex.split(command)[:3] == ["llmrec", "fit", str(path)]
    facts = json.loads(run("check", path, "--json").stdout)
    assert facts["command"] == command and facts["events"]["broken"][0]["line"] == BROKEN
    assert facts["events"]["format"]["encoding"] == DRESSES[dress][2] and facts["left"]["users"] == 60


def test_what_check_shows_fits_a_terminal_but_for_what_is_to_be_typed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    export(Path("export.txt"), "german")
    whole = run("check", "export.txt").stdout
    monkeypatch.setattr(checking, "screen_of", lambda stream: Screen(80))
    lines = run("check", "export.txt").stdout.splitlines()
    assert max(map(len, lines[:-1])) <= 80 < max(map(len, whole.splitlines())) and lines[-1] == whole.splitlines()[-1]
    words = " ".join(lines).split()
    assert {word for word in whole.split() if word not in words} == {"Äpfel", "detail"}  # ends of titles; the head of details


@pytest.mark.slow
@pytest.mark.parametrize("dress", DRESSES)
def test_from_an_export_to_lists_in_two_commands(tmp_path, monkeypatch, dress):
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path / "cache"))
    path, shop = tmp_path / "export.txt", tmp_path / "shop"
    export(path, dress)
    how = {"german": "--seed=1", "chinese": "--json", "tabs": "--quiet"}[dress]
    few = tmp_path / "few.yaml"  # one dress is trained as people try it, the others as briefly as can be
    few.write_text(
        "train: {max_steps: 3, batch_size: 8, max_slots: 16, known: [1, 4]}\nouter: {episodes: 2}\nranking_tasks: 50\n"
    )
    settings = "quick" if dress == "german" else few
    fitted = run("fit", path, "--out", shop, "--settings", settings, how)
    assert ("--settings quick hardly trains" in fitted.stderr) is (dress == "german")
    trained = fitted.stdout
    if dress != "tabs":
        assert f"line {BROKEN}: 9 fields, expected 8" in " ".join(trained.split())
    facts = json.loads(trained) if dress == "chinese" else {"command": trained.strip().splitlines()[-1], "users": 60}
    command = shlex.split(facts["command"])
    assert facts["users"] == 60
    assert command[:4] == ["llmrec", "recommend", str(shop), "--users"]
    written = {"german": TableFormat(decimal=",", date_order="dmy"), "chinese": TableFormat(decimal=".")}
    assert format_of(shop) == written.get(dress, TableFormat(decimal=".", date_order="mdy"))
    listed = run(*command[1:]).stdout
    title = DRESSES[dress][1].split("{}")[0]
    assert title in listed and len(listed.splitlines()) == 11

    csv = run("recommend", shop, "--users", "12001,12002,12001", "--k", 3, "--format", "csv").stdout.splitlines()
    trec = run("recommend", shop, "--users", "12001,12002", "--k", 3, "--format", "trec").stdout.splitlines()
    assert [line.split()[2] for line in trec] == [line.split(",")[1].strip('"') for line in csv[1:]]
    assert csv[0] == '"user_id","item_id","score","rank","source","steps"' and len(csv) == 7 and csv[1].startswith("12001,")
    out = tmp_path / "new folder" / "lists.parquet"
    run("recommend", shop, "--histories", path, "--on-bad-rows", "skip", "--k", 2, "--format", "parquet", "--out", out)
    table = pyarrow.parquet.read_table(out)
    assert len(table) == 2 * 60 and set(table.column("user_id").to_pylist()) == set(range(12_000, 12_060))
    rows = json.loads(run("recommend", shop, "--users", "12001", "--format", "json", "--titles").stdout)
    assert rows[0]["rank"] == 1 and rows[0]["title"].startswith(title)
    told = json.loads(run("recommend", shop, "--users", "12001", "--format", "json", "--titles", "--explain").stdout)
    assert [{name: row[name] for name in rows[0]} for row in told] == rows
    assert all(row["title"] in row["sentence"] and {"because_item_id", "sentence"} < set(row) for row in told)
    shown = run("recommend", shop, "--users", "12001", "--k", 2, "--explain").stdout.splitlines()
    assert [line.endswith(row["sentence"]) for line, row in zip(shown[1:], told, strict=False)] == [True, True]
    explained = run("recommend", shop, "--histories", path, "--on-bad-rows", "skip", "--k", 2, "--explain", "--format", "csv")
    assert explained.stdout.splitlines()[0].endswith('"because_item_id","sentence"')
    assert (
        "holds 'ann', but the known ids are numbers, such as 12000"
        in run("recommend", shop, "--users", "12000,ann", code=2).stderr
    )
    assert "--users is empty, expected ids separated by commas" in run("recommend", shop, "--users", " , ", code=2).stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["check", "gone.csv"], "does not exist"),
        (["check", "https://example.org/a.csv"], "no file 'https://example.org/a.csv'; of addresses on the web only hf://"),
        (["check", "FILE", "--decimal", "x"], "decimal is 'x', expected comma or point"),
        (["check", "FILE", "--columns", "Kdnr=user_id"], "Did you mean 'Kundennr'?"),
        (["check", "FILE", "--on-bad-rows", "error"], f"line {BROKEN}: 9 fields"),
        (["fit", "FILE"], "--out"),
        (["fit", "FILE", "--out", "FILE"], "is a file"),
        (["fit", "FILE", "--out", "FOLDER"], "expected nothing, an empty folder or an older save"),
        (
            ["fit", "FILE", "--out", "new", "--settings", "gone.yaml"],
            "--settings is 'gone.yaml': expected quick, default, best, or the path of a YAML file",
        ),
        (["recommend", "FOLDER", "--users", "1"], "expected a saved folder"),
        (["recommend", "FOLDER"], "give either --users"),
        (["recommend", "FOLDER", "--users", "1", "--format", "parquet"], "--out lists.parquet"),
        (["recommend", "FOLDER", "--users", "1", "--format", "json", "--out", "x.parquet"], "--format json and --out"),
        (
            ["recommend", "FOLDER", "--users", "1", "--out", "x.xlsx"],
            "expected a name that ends in .txt, .csv, .json, .parquet",
        ),
        (["recommend", "FOLDER", "--users", "1", "--out", "lists"], "or another with --format"),
        (["recommend", "FOLDER", "--users", "1", "--out", "FILE/x.csv"], "expected a path that can be written to"),
        (["fit", "FILE", "--out", "FILE/shop"], "expected a path that can be written to"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(tmp_path, words, said):
    path, folder = tmp_path / "export.csv", tmp_path / "folder"
    export(path, "german")
    folder.mkdir()
    (folder / "notes.txt").touch()
    given = [word.replace("FILE", str(path)).replace("FOLDER", str(folder)) for word in words]
    result = run(*given, code=2)
    assert said in " ".join(result.stderr.split()) and "Traceback" not in result.output
    assert not (tmp_path / "new").exists()


def test_an_ambiguous_date_is_asked_for_and_never_guessed(tmp_path):
    path = tmp_path / "export.csv"
    path.write_text("Kunde;Artikel;Datum\n" + "".join(f"{user};A{user % 3};03/04/2026\n" for user in range(9)))
    assert "--date-format dmy or mdy" in run("check", path, code=2).stderr
    for order, day in (("dmy", "2026-04-03"), ("mm/dd/yyyy", "2026-03-04")):
        shown = run("check", path, "--date-format", order).output
        assert day in shown and f"--date-format {order}" in shown


def test_items_of_another_format_and_items_that_stand_twice(tmp_path):
    events, items = tmp_path / "orders.csv", tmp_path / "Artikel liste.csv"
    events.write_text("user_id,item_id,timestamp\n" + "".join(f"u{row % 3},{row % 2},2026-04-0{1 + row}\n" for row in range(6)))
    items.write_bytes("Artikelnr;Titel;Preis\n0;Größe;1,5\n1;Tür;2\n1;Tor;2\n".encode("latin-1"))
    assert "--on-duplicate first" in run("check", events, items, code=2).stderr
    shown = run("check", events, items, "--on-duplicate", "first").output
    assert "Größe" in shown and f"--items '{items}'" in shown and shown.rstrip().endswith("--on-duplicate first")
    assert "6 events of 3 users with 2 items. Training learns from the 3 users with 2 baskets or more" in shown


def test_rows_that_are_many_are_shown_and_named_in_the_command(tmp_path):
    path = tmp_path / "export.csv"
    path.write_text("user_id,item_id,timestamp\n" + "u,a,2026-04-01\nbroken\n" * 7)
    shown = run("check", path).output
    assert "line 3: 1 field, expected 3: 'broken'" in shown and "and 2 more" in shown and "--on-bad-rows skip" in shown
    assert "--on-bad-rows skip" in run("fit", path, "--out", tmp_path / "shop", code=2).stderr


def test_a_table_on_the_screen_is_aligned_in_chinese_too():
    import pyarrow as pa

    text = aligned(pa.table({"item": ["茶杯", "a"], "price": [1.5, None], "n": [10, 2]}))
    assert text.splitlines() == ["item  price   n", "茶杯   1.50  10", "a             2"]
    gaps = aligned(pa.table({"held": [float("nan"), 0.5], "error": [float("inf"), 1.0]}))
    assert gaps.splitlines() == ["held  error", "        inf", " 0.5      1"]


def test_the_number_of_users_to_learn_from_is_that_of_training(tmp_path):
    path = tmp_path / "export.csv"
    path.write_text("user_id,item_id,timestamp\n" + "".join(f"u{row % 9},i{row % 4},{1.7e9 + row}\n" for row in range(9 * 25)))
    with path.open("a") as file:
        file.write("short,i0,1700000900\nshort,i1,1700000901\nlong,i0,1700000902\nlong,i0,1700000903\nlong,i0,1700000904\n")
    # a median of 25 baskets makes two of them the next ones, so that three are needed
    assert "the 10 users with 3 baskets or more" in run("check", path).stdout


def test_few_users_are_told_that_most_frequent_is_as_good(tmp_path):
    path = tmp_path / "export.csv"
    for users, said in ((199, True), (200, False)):
        path.write_text("user_id,item_id,timestamp\n" + "".join(f"u{user},i,2026-04-01\n" for user in range(users)))
        assert ("below a few hundred users" in run("check", path, "--quiet").stderr) is said


def test_notes_of_columns_name_the_option_and_not_python(tmp_path):
    events, items = tmp_path / "orders.csv", tmp_path / "products.csv"
    events.write_text("user_id,item_id,timestamp,Land\n" + "".join(f"u{row},i,2026-04-01 0{row}:00,DE\n" for row in range(5)))
    items.write_text("item_id,title,Land,categry\ni,cup,DE,mugs\n")
    for shown in (run("check", events, items), run("check", events, items, "--json")):
        text = " ".join(shown.stdout.replace('\\"', '"').split())
        assert '--columns "ITS NAME=basket_id"' in text and '--item-columns "categry=category"' in text
        assert "columns={" not in text


def test_a_folder_for_checkpoints_that_is_refused_names_the_option(tmp_path):
    path = tmp_path / "export.csv"
    export(path, "german")
    (tmp_path / "manifest.json").touch()
    said = run("fit", path, "--out", tmp_path / "new", "--checkpoints", tmp_path, code=2).stderr
    assert "got something saved; give another folder for --checkpoints" in said


def test_lists_in_a_file_are_of_its_ending_and_keep_their_titles(tmp_path):
    import pyarrow as pa

    title = "a very long title that no screen would show in one column"
    table = pa.table({"item_id": ["a"], "title": [title]})
    for name, read in (("x.csv", Path.read_text), ("x.json", Path.read_text), ("x.txt", Path.read_text)):
        put(table, form_of(None, tmp_path / name), tmp_path / name)
        assert title in read(tmp_path / name)
    assert json.loads((tmp_path / "x.json").read_text()) == table.to_pylist() and "," in (tmp_path / "x.csv").read_text()
    put(table, form_of("parquet", tmp_path / "new" / "x.out"), tmp_path / "new" / "x.out")
    assert pyarrow.parquet.read_table(tmp_path / "new" / "x.out") == table
    assert title in aligned(table) and title not in aligned(table, Screen(40)) and "…" in aligned(table, Screen(40))


class Answering:
    """A recommender that tells its logger of a small loss and warns of a large one, as the real one does."""

    def recommend(self, users, k, histories, titles, rules, context, adapter):
        logging.getLogger("llmrec").info("1 of 9 rows were left out")
        warnings.warn("3 of 9 rows were left out", DataLossWarning, stacklevel=2)
        return {"user_id": histories.column("user_id").to_pylist()}


def test_every_event_of_histories_that_is_lost_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(Recommender, "from_pretrained", lambda folder, ranker: Answering())
    (tmp_path / "manifest.json").write_text('{"kind": "recommender"}')
    path = tmp_path / "clicks.csv"
    path.write_text("Kunde;Artikel;Datum;Preis\na;1;13.04.2026;1,50\na;2;14.04.2026;2,50;more\nb;2;never;2,50\n")
    result = run("recommend", tmp_path, "--histories", path)
    lines = result.stderr.splitlines()
    assert lines[0].startswith("Warning: 1 of 3 rows of events were left out in the step 'broken rows' (line 3: 5 fields")
    assert lines[1] == "Warning: events: Datum: 1 is not a date or time, such as 'never', line 4"
    assert lines[2] == "Note: events: Preis: 2 written with a decimal comma"
    assert lines[3:] == ["Note: 1 of 9 rows were left out", "Warning: 3 of 9 rows were left out"]
    assert result.stdout.split() == ["user_id", "a", "b"]


def test_an_id_that_is_asked_twice_is_answered_once():
    assert known_ids("2, 1,2", Ids([1, 2])) == [2, 1] and known_ids("a,a", Ids(["a"])) == ["a"]


def test_a_folder_of_parquet_is_a_table_of_a_command_too(tmp_path):
    parts = tmp_path / "parts"
    parts.mkdir()
    for part in range(2):
        retail()[part::2].to_parquet(parts / f"{part}.parquet")
    assert run("check", parts, "--quiet").stdout.split()[:3] == ["llmrec", "fit", str(parts)]
    (tmp_path / "notes").mkdir()
    said = run("check", tmp_path / "notes", code=2).stderr
    assert "is a folder without Parquet files or a saved dataset" in said and len(said.splitlines()) == 1


def test_check_counts_returns_as_fit_with_the_same_settings_does(tmp_path):
    rows = [
        f"u{user},i{item},2026-0{1 + item}-1{user},buy,1,{53600 + 10 * user + item}" for user in range(4) for item in range(3)
    ]
    rows += [f"u{user},i{user % 3},2026-07-1{user},return,-1,C{53700 + user}" for user in range(4)]
    orders, settings = tmp_path / "orders.csv", tmp_path / "settings.yaml"
    orders.write_text("\n".join(["user_id,item_id,timestamp,event_type,quantity,basket_id", *rows, ""]))
    settings.write_text("signed: {positive: [buy], negative: [return]}\n")
    left = [json.loads(run("check", orders, "--json", *how).stdout)["left"]["events"] for how in ((), ("--settings", settings))]
    assert left == [12, 16]
    command = shlex.split(run("check", orders, "--settings", settings, "--quiet").stdout)
    assert command[command.index("--settings") + 1] == str(settings)
    assert "--settings" not in run("check", orders, "--quiet").stdout
    settings.write_text("signed: {positive: [buy], negative: [refund]}\n")
    assert "event type 'refund' is not in the events" in run("check", orders, "--settings", settings, code=2).stderr
    assert "expected quick, default, best" in run("check", orders, "--settings", "fast", code=2).stderr
