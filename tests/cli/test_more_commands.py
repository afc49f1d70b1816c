"""`llmrec adapt`, `open`, `export`, and `fit` with users, context and scenes: from files to what `recommend` answers by."""

from __future__ import annotations

import json
import shlex
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from shops import SETTINGS, make_tables

from llmrec import Recommender, SceneRecommender, Scenes, Weights
from llmrec.cli import main
from llmrec.cli.opening import comparison_text, new_value
from llmrec.cli.recommending import context_of
from llmrec.data.ids import Ids
from llmrec.data.reading import read
from llmrec.recommender.user_adapter import UserAdapter
from llmrec.scenes import api
from llmrec.store import write_folder

FEW = """
train: {max_steps: 3, batch_size: 8, max_slots: 16, known: [1, 4], horizon: 1}
outer: {episodes: 2}
lora: {inner_steps: 2}
counts_ranker: {hidden: 4, max_steps: 5}
blend: {hidden: 2, max_steps: 5}
ranking_tasks: 50
user_encoder: pretrained
layers: 2
"""


def run(*words: object, code: int = 0) -> Result:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def exports(folder: Path) -> None:
    """Orders, products and people of a shop with three departments, two of which are known, with the columns in German."""
    orders, products = [], []
    for seed, name in enumerate(("Brot", "Obst", "Neu")):
        bought, sold = (pd.DataFrame(table) for table in make_tables(seed, True, 90))
        orders.append(bought.assign(item_id=name + bought["item_id"], timestamp=bought["timestamp"] + 1000 * seed, group=name))
        products.append(sold.assign(item_id=name + sold["item_id"], Warengruppe=name))
    events = pd.concat(orders, ignore_index=True)
    events["timestamp"] = pd.to_datetime(events["timestamp"], unit="s").dt.strftime("%d.%m.%Y %H:%M")
    events["Kanal"] = np.where(events.index % 2, "App", "Laden")
    events = events.rename(columns={"user_id": "Kundennr", "item_id": "Artikelnr", "timestamp": "Datum"})
    items = pd.concat(products, ignore_index=True).rename(columns={"item_id": "Artikelnr", "title": "Bezeichnung"})
    new, how = events["group"] == "Neu", {"sep": ";", "index": False}
    events = events.drop(columns="group")
    events[~new].to_csv(folder / "orders.csv", **how)
    events[events["Kundennr"] < 20].to_csv(folder / "first.csv", **how)
    events[events["Kundennr"] < 3].to_csv(folder / "clicks.csv", **how)
    items[items["Warengruppe"] != "Neu"].to_csv(folder / "products.csv", **how)
    items.to_csv(folder / "new_products.csv", **how)
    people = pd.DataFrame({"Kundennr": range(95), "Alter": np.where(np.arange(95) % 3, "18-30", "51+")})
    people.to_csv(folder / "people.csv", **how)
    people[people["Kundennr"] >= 90].to_csv(folder / "newcomers.csv", **how)
    (folder / "few.yaml").write_text(FEW)


@pytest.fixture(scope="module")
def place(tiny_folders, tmp_path_factory):
    """A folder with the exports and a shop that was fitted on them, by the command."""
    folder = tmp_path_factory.mktemp("place")
    exports(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMREC_CACHE", str(folder / "cache"))
        patch.setattr(Weights, "packaged", staticmethod(lambda: Weights.folder(tiny_folders["bert"])))
        patch.setattr(api, "LearnSettings", lambda parts: SETTINGS if not parts else None)
        patch.chdir(folder)
        files = ("orders.csv", "--items", "products.csv", "--users", "people.csv", "--context", "Kanal, hour")
        files += ("--item-attributes", "Warengruppe")
        fitted = run("fit", *files, "--scene", "Warengruppe", "--settings", "few.yaml", "--out", "shop", "--json")
        assert json.loads(fitted.stdout)["users"] == 90
        yield folder


@pytest.mark.slow
def test_the_shop_knows_users_context_and_scenes(place):
    shop = Recommender.from_pretrained("shop")
    assert shop.state.people.encoding.names == ("Alter",) and len(shop.state.people.users) == 95
    assert shop.state.known.first.context.names == ("Kanal", "hour")
    assert shop.state.catalogue.attributes.encoding.names == ("category",)
    assert json.loads(Path("shop/report.json").read_text())["data"]["item_attributes"] == ["category"]
    known = Scenes.from_pretrained("shop").known
    assert known.names == ("Brot", "Obst") and known.column == "category"
    rows = json.loads(run("recommend", "shop", "--attributes", "newcomers.csv", "--k", 3, "--format", "json").stdout)
    assert [row["user_id"] for row in rows[::3]] == [90, 91, 92, 93, 94]
    assert {row["source"] for row in rows} == {"attributes (no history)"}
    asked = ("recommend", "shop", "--users", "1,2", "--format", "json")
    with_context = run(*asked, "--context", "Kanal=App", "--context", "hour=10").stdout
    expected = shop.recommend([1, 2], context={"Kanal": "App", "hour": 10})
    assert [row["score"] for row in json.loads(with_context)] == pytest.approx(expected.column("score").to_pylist())
    assert with_context != run(*asked).stdout
    assert "'Geraet' was not fitted" in run(*asked, "--context", "Geraet=x", code=2).stderr
    both = run("recommend", "shop", "--histories", "clicks.csv", "--attributes", "people.csv", "--k", 2, "--format", "json")
    assert [row["user_id"] for row in json.loads(both.stdout)] == [0, 0, 1, 1, 2, 2]


@pytest.mark.slow
def test_an_adapter_is_written_and_answers_as_so_many_steps_do(place):
    shop = Recommender.from_pretrained("shop")
    said = run("adapt", "shop", "--user", 7, "--steps", 2, "--out", "adapter").stdout
    assert "2 steps of LoRA, on 12 events of user 7" in said and "PeftModel.from_pretrained" in said
    assert UserAdapter.from_pretrained("adapter", shop).choice.steps == 2
    command = run("adapt", "shop", "--user", 7, "--steps", 2, "--out", "adapter", "--quiet").stdout.strip()
    listed = json.loads(run(*shlex.split(command)[1:], "--format", "json").stdout)
    expected = shop.recommend([7], steps=2)
    assert [row["item_id"] for row in listed] == expected.column("item_id").to_pylist()
    assert [row["score"] for row in listed] == pytest.approx(expected.column("score").to_pylist())
    facts = json.loads(run("adapt", "shop", "--user", 1, "--histories", "clicks.csv", "--out", "adapter", "--json").stdout)
    assert facts["events"] == 12 and facts["adapter"] == "lora"
    clicks = pd.read_csv("clicks.csv", sep=";", dtype=str)
    clicks.loc[0, "Kundennr"] = None  # the first event is nobody's
    clicks.to_csv("nameless.csv", sep=";", index=False)
    assert "of user 1" in run("adapt", "shop", "--user", 1, "--histories", "nameless.csv", "--out", "adapter").stdout
    for user, said in (("eve", "--user holds 'eve', but the known ids are numbers"), ("999", "user 999 has no event")):
        assert said in run("adapt", "shop", "--user", user, "--out", "other", code=2).stderr
    assert not Path("other").exists()
    assert 'got "recommender"' in run("adapt", "shop", "--user", 7, "--out", "shop", code=2).stderr
    assert 'expected "user adapter"' in run("recommend", "shop", "--users", 1, "--adapter", "shop", code=2).stderr


@pytest.mark.slow
def test_a_scene_is_opened_compared_and_asked(place):
    files = ("--items", "new_products.csv", "--events", "first.csv", "--out", "scene")
    said = run("open", "shop", *files, "--no-comparison").stdout
    scene = SceneRecommender.from_pretrained("scene")
    assert f"60 items, {scene.customers} first customer" in said and f"adapted by: {scene.name}" in said
    assert "zero steps" in said and "nats per event" in said and "NDCG@10" not in said
    facts = json.loads(run("open", "shop", *files, "--json").stdout)
    assert facts["scene"] == "Neu" and facts["chosen"] == scene.name
    assert [row["method"] for row in facts["comparison"]] == ["adapted", "zero steps", "popularity"]
    assert facts["comparison"][0]["customers"] == 20 and facts["selection"][0]["design"] == "zero steps"
    assert shlex.split(facts["command"])[1:3] == ["recommend", "scene"] and facts["command"] in said
    rows = json.loads(run("recommend", "scene", "--histories", "clicks.csv", "--k", 4, "--format", "json").stdout)
    expected = scene.recommend(histories=read("clicks.csv", "events").table, k=4).to_pylist()
    assert [row["item_id"] for row in rows] == [row["item_id"] for row in expected]
    assert len(rows) == 12 and all(row["item_id"].startswith("Neu") for row in rows)
    nobody = json.loads(run("recommend", "scene", "--users", "x", "--k", 2, "--format", "json").stdout)
    assert nobody[0]["source"].endswith("(no history)")
    day_one = json.loads(run("open", "shop", "--items", "new_products.csv", "--out", "day_one", "--json").stdout)
    assert day_one["chosen"] == "zero steps" and day_one["comparison"] is None and day_one["customers"] == 0
    customer = pd.read_csv("first.csv", sep=";", dtype=str)
    customer[customer["Kundennr"] == "3"].to_csv("one.csv", sep=";", index=False)  # nothing to keep back of a single customer
    one = ("open", "shop", "--items", "new_products.csv", "--events", "one.csv", "--out", "one", "--no-comparison")
    assert "adapted by: zero steps" in run(*one).stdout
    told = json.loads(run(*one, "--date-format", "dmy", "--json").stdout, parse_constant=pytest.fail)
    assert told["command"] == "llmrec recommend one --histories one.csv --date-format dmy --titles"
    assert told["selection"][1]["held"] is None and told["selection"][1]["error"] is None
    twice = Path("new_products.csv").read_text().splitlines()
    row = next(line for line in twice if "Neu" in line)
    Path("twice.csv").write_text("\n".join([*twice, f"{row}x"]))
    again = ("open", "shop", "--items", "twice.csv", "--scene", "Neu", "--out", "again")
    assert "--on-duplicate first" in run(*again, code=2).stderr
    run(*again, "--on-duplicate", "first")
    assert "is a scene" in run("recommend", "scene", "--users", "x", "--adapter", "shop", code=2).stderr
    assert "give --items" in run("open", "shop", "--events", "first.csv", "--out", "other", code=2).stderr
    assert "hold no new value" in run("open", "shop", "--items", "products.csv", "--out", "other", code=2).stderr
    assert "which was learned from" in run(
        "open", "shop", "--items", "products.csv", "--scene", "Obst", "--out", "other", code=2
    ).stderr.replace("\n", " ")
    assert 'expected "known scenes"' in run("open", "scene", "--out", "other", "--scene", "x", code=2).stderr
    assert not Path("other").exists()


@pytest.mark.slow
def test_what_is_exported_by_the_command_is_what_the_method_writes(place):
    said = run("export", "shop", "--out", "out").stdout
    assert [line.split(":")[0] for line in said.splitlines()] == [
        *("out/vectors.parquet", "out/similar_items.parquet", "out/encoder", "out/text_vectors.parquet")
    ]
    Recommender.from_pretrained("shop").export("own")
    for name in ("vectors.parquet", "similar_items.parquet", "text_vectors.parquet"):
        assert pq.read_table(f"out/{name}") == pq.read_table(f"own/{name}")
    assert Path("out/encoder/modules.json").is_file()
    facts = json.loads(run("export", "shop", "--out", "out", "--lists", "--k", 3, "--json").stdout)
    assert facts["files"] == ["similar_items.parquet"] and len(pq.read_table("out/similar_items.parquet")) == 3 * 120
    assert run("export", "shop", "--out", "out", "--vectors", "--quiet").stdout == ""
    hiding = Recommender.from_pretrained("shop")
    hiding.hide_items(hiding.state.catalogue.ids.values[:20])
    hiding.save_pretrained("hiding")
    assert "vectors of 100 items" in run("export", "hiding", "--out", "out", "--vectors").stdout
    assert 'expected nothing, or an older "export"' in run("export", "shop", "--out", "shop", code=2).stderr


def test_a_mistake_is_one_sentence_and_exit_code_2(tmp_path, monkeypatch):
    exports(tmp_path)
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    write_folder("older", lambda to: (to / "x").touch(), "export", {})
    for words, said in (
        ("fit orders.csv --out new --scene Farbe", "got 'Farbe'; the items have"),
        ("fit orders.csv --items products.csv --out new --scene Farbe", "the items have Artikelnr, Bezeichnung"),
        ("fit orders.csv --out new --scene user_id", "which every event needs"),
        ("fit first.csv --items new_products.csv --out new --scene Kanal", "customers with two visits in each, got none"),
        ("fit first.csv --items new_products.csv --out new --scene Warengruppe", "customers with two visits in each, got none"),
        ("fit orders.csv --out new --users few.yaml", "users: "),
        ("fit orders.csv --out new --users products.csv", '--user-columns "'),
        ("fit orders.csv --out new --users people.csv --user-columns Kdnr=user_id", "--user-columns names 'Kdnr'"),
        ("fit orders.csv --out new --context Geraet", "events have no column 'Geraet'"),
        ("fit orders.csv --out new --item-attributes Farbe", "items have no column 'Farbe'"),
        ("fit orders.csv --out new --repeat-purchases", "--repeat-purchases is for --scene"),
        ("fit orders.csv --out older", 'expected nothing, or an older "recommender" to replace, got "export"'),
        ("recommend empty --users 1", "expected a saved folder"),
        ("recommend empty --users 1 --attributes people.csv", "give either --users"),
        ("recommend older --users 1", 'expected "recommender", got "export"'),
        ("adapt empty --user 1 --out new", "expected a saved folder"),
        ("adapt older --user 1 --out older", 'expected nothing, or an older "user adapter" to replace, got "export"'),
        ("adapt older --user 1 --out new", 'expected "recommender", got "export"'),
        ("adapt empty --out new", "--user"),
        ("open empty --scene x --out new", "expected a saved folder"),
        ("open older --scene x --out new", 'expected "known scenes", got "export"'),
        ("open older --scene x --out older", 'expected nothing, or an older "new scene" to replace'),
        ("export older --out new", 'expected "recommender", got "export"'),
        ("export empty --out orders.csv", "is a file"),
    ):
        result = run(*words.split(), code=2)
        assert said.replace("Artikelnr, Bezeichnung", "item_id, title") in " ".join(result.stderr.split()), words
        assert "Traceback" not in result.output and not Path("new").exists()


def test_every_command_teaches_with_an_example():
    for name in ("adapt", "open", "export", "fit", "recommend"):
        shown = run(name, "--help").stdout
        assert f"llmrec {name} " in shown.split("Example", 1)[1], name


def test_a_request_s_context_is_typed():
    assert context_of(("device=mobile", " hour = 20", "zip=007", "x=a=b")) == {
        **{"device": "mobile", "hour": 20, "zip": "007", "x": "a=b"}
    }
    assert context_of(()) is None


def test_a_comparison_says_what_its_intervals_say():
    schema = ("method", "ndcg@10", "low", "high", "adapted_minus", "minus_low", "minus_high", "customers")
    rows = [("adapted", 0.2, 0.1, 0.3, None, None, None, 9), ("a", 0.1, 0.0, 0.2, 0.1, 0.05, 0.2, 9)]
    rows += [("b", 0.3, 0.2, 0.4, -0.1, -0.2, -0.05, 9), ("c", 0.2, 0.1, 0.3, 0.0, -0.1, 0.1, 9)]
    said = comparison_text(pa.Table.from_pylist([dict(zip(schema, row, strict=True)) for row in rows])).splitlines()
    assert "9 customers" in said[0] and [line.split("]")[-1].strip() for line in said[3:]] == [
        *("adapted is better", "adapted is worse", "no clear difference")
    ]
    assert said[1].split("  ")[0] == "method" and said[3].startswith(
        "a        0.1000 [0.0000, 0.2000]  +0.1000 [+0.0500, +0.2000]"
    )
    assert "No comparison" in comparison_text(pa.table({"method": pa.array([], pa.string())}))


def test_ids_of_the_new_value_are_found_in_the_table_that_has_the_column(tmp_path):
    path = tmp_path / "e.csv"
    known = api.Known(None, ("UK", "DE"), False, "", "country", of_events=True)
    for values, expected in ((("UK", "FR", "FR"), "FR"), (("FR", "ES"), None), (("UK",), None)):
        path.write_text("user_id,item_id,timestamp,country\n" + "".join(f"u,i,2026-04-01,{one}\n" for one in values))
        if expected:
            assert new_value(known, read(path, "events"), None) == expected
        else:
            with pytest.raises(Exception, match="hold several new values|hold no new value"):
                new_value(known, read(path, "events"), None)
    assert Ids([1]).find([1])[0] == 0 and new_value(known, None, None) is None
