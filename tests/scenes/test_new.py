"""A new scene as a value: whom it answers how, what it learns from its first customers, and that it stays as it was."""

from __future__ import annotations

import subprocess
import sys
import uuid
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from meanwhile import saves_meanwhile

from llmrec import SceneRecommender
from llmrec.data import tables
from llmrec.data.build import events_for
from llmrec.data.tasks import full_histories
from llmrec.errors import ArtefactError, DataError, ShortAnswerWarning, UnknownItemError
from llmrec.scenes import new, saving
from llmrec.scenes.choosing import choose
from llmrec.scenes.new import customers

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = ["user_id", "item_id", "score", "rank", "source"]


@pytest.fixture(scope="module")
def shop(fitted, newcomer):
    return fitted.open(newcomer[1])


def of(events, users) -> dict:
    """The events of some users."""
    keep = [row for row, user in enumerate(events["user_id"]) if user in users]
    return {name: [values[row] for row in keep] for name, values in events.items()}


@pytest.fixture(scope="module")
def first(newcomer):
    """The first 64 customers."""
    return of(newcomer[0], range(64))


@pytest.fixture(scope="module")
def adapted(shop, first):
    return shop.adapt(first)


def had(events, user) -> set:
    return {item for who, item in zip(events["user_id"], events["item_id"], strict=True) if who == user}


# ---------------------------------------------------------------------------------------- what it answers


def test_an_answer_holds_k_new_items_a_user_best_first_as_the_scene_scores_them(shop, adapted, newcomer):
    asked = of(newcomer[0], [100, 101, 102])
    dataset = events_for(shop.catalogue, asked)[0]
    for one in (shop, adapted):
        answer = one.recommend(histories=asked, k=7)
        assert list(answer.columns) == COLUMNS
        assert answer["user_id"].tolist() == [user for user in (100, 101, 102) for _ in range(7)]
        assert answer["rank"].tolist() == [*range(1, 8)] * 3
        assert set(answer["source"]) == {one.name}
        scores = one.scene.scores(full_histories(dataset, np.arange(3)))
        for row, (user, rows) in enumerate(answer.groupby("user_id")):
            place = shop.catalogue.ids.find(rows["item_id"])
            rest = np.setdiff1d(np.arange(60), np.append(place, shop.catalogue.ids.find(had(asked, user))))
            np.testing.assert_allclose(rows["score"], scores[row, place], rtol=1e-5)
            assert (np.diff(rows["score"]) <= 0).all()
            assert scores[row, rest].max() <= rows["score"].min() + 1e-6
            assert not had(asked, user) & set(rows["item_id"])


def test_a_table_is_read_once(shop, newcomer, tmp_path, monkeypatch):
    asked = pd.DataFrame(of(newcomer[0], [100, 101]))
    asked.to_csv(tmp_path / "asked.csv", index=False)
    read, files = tables.read_plain, []
    monkeypatch.setattr(tables, "read_plain", lambda path, *more: files.append(path) or read(path, *more))
    answer = shop.recommend(histories=tmp_path / "asked.csv", k=3)
    assert files == [tmp_path / "asked.csv"]
    pd.testing.assert_frame_equal(answer, shop.recommend(histories=asked, k=3))


def test_what_was_had_may_come_where_things_are_bought_again(shop, newcomer):
    asked = of(newcomer[0], [100])
    every = shop.recommend(histories=asked, k=60, filter_viewed=False)
    assert sorted(every["item_id"]) == sorted(shop.catalogue.ids.values)
    groceries = replace(shop, repeat_purchases=True)
    pd.testing.assert_frame_equal(groceries.recommend(histories=asked, k=60), every)
    assert len(groceries.recommend(histories=asked, k=54, filter_viewed=True)) == 54


def test_a_user_alone_is_answered_as_among_many(adapted, newcomer):
    many = adapted.recommend(histories=newcomer[0], k=4)  # more than are asked at once
    for user in (0, 127, 128, 259):
        alone = adapted.recommend([user], histories=newcomer[0], k=4)
        mine = many[many["user_id"] == user].reset_index(drop=True)
        pd.testing.assert_frame_equal(alone, mine, rtol=0, atol=1e-4)


def test_users_come_in_their_order_and_strangers_get_what_everybody_gets(adapted, newcomer):
    answer = adapted.recommend([101, 9999, 100], histories=of(newcomer[0], [100, 101]), k=3)
    assert answer["user_id"].tolist() == [101] * 3 + [9999] * 3 + [100] * 3
    assert answer["source"].tolist() == [adapted.name] * 3 + [f"{adapted.name} (no history)"] * 3 + [adapted.name] * 3
    alone = adapted.recommend(["anybody", "else"], k=3)
    assert alone.loc[alone["user_id"] == "anybody", "item_id"].tolist() == answer.loc[3:5, "item_id"].tolist()
    assert alone["item_id"].tolist()[:3] == alone["item_id"].tolist()[3:]
    assert list(adapted.recommend([]).columns) == COLUMNS and len(adapted.recommend([])) == 0


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table])
def test_frames_come_back_as_they_came(fitted, make, newcomer):
    events, items = make(newcomer[0]), make(newcomer[1])
    opened = fitted.open(items)
    for answer in (opened.recommend([1]), opened.recommend(histories=events), opened.selection_report):
        assert type(answer) is type(events)


@pytest.mark.parametrize("kind", [lambda i: 10 * i, lambda i: uuid.UUID(int=i)])
def test_ids_are_of_any_kind(fitted, newcomer, shop, kind):
    events, items = newcomer
    new = {old: kind(number) for number, old in enumerate(items["item_id"])}
    asked = of(events, [100])
    answer = fitted.open(items | {"item_id": [*new.values()]}).recommend(
        histories=asked | {"item_id": [new[item] for item in asked["item_id"]]}, k=5
    )
    expected = shop.recommend(histories=asked, k=5)["item_id"]
    got = [uuid.UUID(bytes=item) if isinstance(item, bytes) else item for item in answer["item_id"]]
    assert got == [new[item] for item in expected]


def test_only_items_to_recommend_are_recommended(adapted, newcomer):
    asked, some = of(newcomer[0], [100]), ["i03", "i30", "i33"]
    answer = adapted.recommend(histories=asked, k=3, items_to_recommend=some, filter_viewed=False)
    assert sorted(answer["item_id"]) == some
    with pytest.raises(UnknownItemError, match=r"items \['tent'\] are not in the catalogue of 60"):
        adapted.recommend(histories=asked, items_to_recommend=["tent"])
    with pytest.warns(ShortAnswerWarning, match="1 user gets fewer than k = 9 items, such as 100 .3.: items_to") as caught:
        adapted.recommend(histories=asked, k=9, items_to_recommend=some, filter_viewed=False)
    assert caught[0].filename == __file__


# ---------------------------------------------------------------------------------------- its first customers


def test_first_customers_tell_what_no_text_does(shop, adapted, newcomer):
    """In a shop with habits of which texts say nothing, others' next item is found far better once 64 customers have told."""
    events = pd.DataFrame(of(newcomer[0], range(64, 260))).sort_values(["user_id", "timestamp"])
    last = events.groupby("user_id").tail(1)
    before = events.drop(last.index)

    def gain(one) -> np.ndarray:
        answer = one.recommend(histories=before, k=10).merge(last[["user_id", "item_id"]])
        found = last["user_id"].map(answer.set_index("user_id")["rank"])
        return (1 / np.log2(found + 1)).fillna(0).to_numpy()

    difference = gain(adapted) - gain(shop)
    assert difference.mean() > 4 * difference.std() / np.sqrt(len(difference))


def test_what_is_deployed_is_what_choose_says(shop, adapted, first):
    dataset = events_for(shop.catalogue, first)[0]
    expected = choose(shop.scene, dataset, np.arange(64), np.random.default_rng(0))
    assert adapted.name == expected.scene.name != "zero steps"
    assert adapted.customers == 64 and shop.customers == 0
    table = adapted.selection_report
    assert list(table.columns) == ["design", "known", "held", "error", "expected", "deployed"]
    assert table["design"].tolist() == ["zero steps", *(one.name for one in shop.scene.learned.designs)]
    for name in ("known", "held", "error", "expected"):
        assert table[name].tolist() == [0.0, *getattr(expected, name).tolist()]
    assert table.loc[table["deployed"], "design"].tolist() == [adapted.name]
    assert shop.selection_report.loc[shop.selection_report["deployed"], "design"].tolist() == ["zero steps"]
    assert shop.selection_report["expected"].isna().all()


@pytest.mark.slow
def test_nothing_changes_in_what_it_is_adapted_from(fitted, shop, first, newcomer):
    asked = of(newcomer[0], [100, 101])
    before, taught = shop.recommend(histories=asked), fitted.known.learned.gain.copy()
    adapted = shop.adapt(first)
    twice = adapted.adapt(of(newcomer[0], range(64, 128)))
    pd.testing.assert_frame_equal(shop.recommend(histories=asked), before)
    pd.testing.assert_frame_equal(adapted.reset().recommend(histories=asked), before)
    pd.testing.assert_frame_equal(
        twice.recommend(histories=asked), shop.adapt(of(newcomer[0], range(64, 128))).recommend(histories=asked)
    )
    assert not adapted.recommend(histories=asked).equals(before)
    assert adapted.reset().name == "zero steps" and adapted.reset().customers == 0
    np.testing.assert_array_equal(fitted.known.learned.gain, taught)


def test_one_customer_is_too_few_to_move_anything(shop, newcomer):
    one = shop.adapt(of(newcomer[0], [5]))
    assert one.name == "zero steps"
    assert one.selection_report["held"][1:].isna().all() and one.selection_report["known"].notna().all()


def test_customers_are_those_who_had_something_of_the_scene(shop):
    table = {"user_id": ["a", "a", "b", "c"], "item_id": ["i01", "i02", "i02", "i03"], "timestamp": [1e9, 2e9, 1e9, 1e9]}
    dataset = events_for(shop.catalogue, table)[0]
    among = np.isin(np.array(shop.catalogue.ids.values), ["i01", "i03"])
    assert customers(dataset, among).tolist() == [0, 2]
    part = replace(shop, scene=replace(shop.scene, shelf=replace(shop.scene.shelf, among=among)))
    with pytest.raises(UnknownItemError, match="events: expected some with one of the 2 items of the scene, got 1 events"):
        part.adapt({"user_id": ["b"], "item_id": ["i02"], "timestamp": [1e9]})


def test_calls_that_cannot_be_answered_are_refused(shop, newcomer):
    strange = {"user_id": [1], "item_id": ["tent"], "timestamp": [1e9]}
    with pytest.raises(DataError, match="recommend needs histories"):
        shop.recommend()
    with pytest.raises(DataError, match="k is 0; expected at least 1"):
        shop.recommend([1], k=0)
    with pytest.raises(UnknownItemError, match="none of the item ids is in the catalogue of 60 items"):
        shop.adapt(strange)
    numbered = strange | {"item_id": [7]}  # of another type: these ids can never match
    with pytest.raises(UnknownItemError, match="none of the item ids is in the catalogue of 60 items"):
        shop.recommend(histories=numbered)


def test_a_visitor_who_had_nothing_of_the_scene_is_answered_as_a_new_one(shop):
    strange = {"user_id": [1], "item_id": ["tent"], "timestamp": [1e9]}
    answer, new = shop.recommend(histories=strange, k=3), shop.recommend(["new"], k=3)
    assert list(answer["item_id"]) == list(new["item_id"]) and list(answer["source"]) == list(new["source"])
    assert all(source.endswith("(no history)") for source in answer["source"])


# ---------------------------------------------------------------------------------------- as a folder


def test_a_saved_scene_answers_and_adapts_as_before(shop, adapted, first, newcomer, tmp_path):
    asked = of(newcomer[0], [100, 101])
    for one in (shop, replace(adapted, repeat_purchases=True)):
        one.save_pretrained(tmp_path / "shop")
        back = SceneRecommender.from_pretrained(tmp_path / "shop")
        back.save_pretrained(tmp_path / "copy")  # a loaded one can be saved
        for loaded in (back, SceneRecommender.from_pretrained(tmp_path / "copy")):
            assert repr(loaded) == repr(one)
            pd.testing.assert_frame_equal(loaded.recommend(histories=asked), one.recommend(histories=asked))
            pd.testing.assert_frame_equal(loaded.recommend([1], k=2), one.recommend([1], k=2))
            pd.testing.assert_frame_equal(loaded.selection_report, one.selection_report)
    again = SceneRecommender.from_pretrained(tmp_path / "shop").adapt(first)
    expected = replace(shop, repeat_purchases=True).adapt(first).recommend(histories=asked)
    pd.testing.assert_frame_equal(pd.DataFrame(again.recommend(histories=asked)), expected)
    folder = {file.name: file.read_bytes() for file in (tmp_path / "shop").iterdir()}
    assert not any(b"user_id" in raw or b"timestamp" in raw for raw in folder.values())


def test_a_save_by_another_process_in_the_middle_of_loading_gives_that_one_as_a_whole(
    shop, adapted, newcomer, tmp_path, monkeypatch
):
    asked = of(newcomer[0], [100, 101])
    for module, name in ((new, "load_ids"), (new, "load_table"), (saving, "load_arrays")):
        shop.save_pretrained(tmp_path / "shop")
        with monkeypatch.context() as patch:
            calls = saves_meanwhile(patch, module, name, lambda: adapted.save_pretrained(tmp_path / "shop"))
            loaded = SceneRecommender.from_pretrained(tmp_path / "shop")
        assert len(calls) >= 2
        pd.testing.assert_frame_equal(loaded.recommend(histories=asked), adapted.recommend(histories=asked))
        assert repr(loaded) == repr(adapted) != repr(shop)


@pytest.mark.slow
def test_a_saved_scene_is_served_without_torch(shop, tmp_path):
    shop.save_pretrained(tmp_path / "shop")
    load = "from llmrec import SceneRecommender; print(len(SceneRecommender.from_pretrained(sys.argv[1]).recommend([1], k=3)))"
    script = f"import sys; {load}; print('torch' in sys.modules); import llmrec.scenes.api; print('torch' in sys.modules)"
    command = [sys.executable, "-c", script, str(tmp_path / "shop")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["3", "False", "True"], done.stderr  # the last says that the probe can see it


@pytest.mark.parametrize("name", ["arrays.safetensors", "items.json", "items.arrow"])
def test_a_changed_byte_is_refused(adapted, tmp_path, name):
    adapted.save_pretrained(tmp_path / "shop")
    raw = bytearray((tmp_path / "shop" / name).read_bytes())
    raw[-3] ^= 1
    (tmp_path / "shop" / name).write_bytes(raw)
    with pytest.raises(ArtefactError, match="changed since saved"):
        SceneRecommender.from_pretrained(tmp_path / "shop")


def test_it_prints_in_a_line(shop, adapted):
    assert repr(shop) == "SceneRecommender(60 items, 'zero steps', 0 customers)"
    assert repr(adapted) == f"SceneRecommender(60 items, {adapted.name!r}, 64 customers)"


def test_a_dislike_says_nothing_of_a_scene_and_its_item_is_left_out(shop, first, adapted):
    n = len(first["user_id"])
    extra = {"user_id": [0, 1, 2], "item_id": [max(first["item_id"])] * 3, "timestamp": [9e9] * 3}
    events = {name: [*values, *extra[name]] for name, values in first.items()} | {"weight": [1.0] * n + [-1.0] * 3}
    disliked = shop.adapt(events)
    np.testing.assert_array_equal(disliked.scene.few.bought, adapted.scene.few.bought)
    mine = of(events, [0])
    answer = disliked.recommend(histories=mine, k=60 - len(had(mine, 0)), filter_viewed=True)
    assert set(answer["item_id"]) == set(shop.catalogue.ids.values) - had(mine, 0) and extra["item_id"][0] in had(mine, 0)
