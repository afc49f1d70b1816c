"""Items that are added, changed, hidden and removed: in the next answer, without training; known items stay as they were."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from llmrec import Recommender, Weights
from llmrec.data.build import events_for, read_catalogue
from llmrec.data.tasks import full_histories
from llmrec.encoder.backbone import load_text
from llmrec.encoder.items import encode_texts, item_texts
from llmrec.errors import (
    DataError,
    DataLossWarning,
    IgnoredInputWarning,
    SchemaError,
    ShortAnswerWarning,
    TrainedUsersWarning,
    UnknownItemError,
    WeightsError,
)
from llmrec.index.faiss_index import IndexSettings, build
from llmrec.prompts import load_template
from llmrec.ranking.signals import NAMES
from llmrec.recommender.answer import BACKFILL
from llmrec.recommender.catalogues import over_catalogue
from llmrec.recommender.evaluate import chain_scores
from llmrec.recommender.explaining import _overall
from llmrec.rules.rules import Rules

NEW = {"item_id": ["n0", "n1", "n2"], "title": ["red tent", "small soap", "large zebra"], "price": [2.0, 3.0, None]}


@pytest.fixture
def grown(recommender: Recommender) -> Recommender:
    recommender.add_items(NEW)
    return recommender


def lists(answer: pd.DataFrame) -> dict[str, list[str]]:
    return {user: rows["item_id"].tolist() for user, rows in answer.groupby("user_id", sort=False)}


# ---------------------------------------------------------------------------------------- added items


def test_a_new_item_is_a_candidate_by_text_in_the_next_answer(grown, world, clicks):
    answer = grown.recommend(histories=clicks, k=3, items_to_recommend=NEW["item_id"], titles=True)
    assert set(lists(answer)["new1"]) == set(NEW["item_id"]) and set(answer["source"]) == {"text"}
    assert set(answer["title"]) == set(NEW["title"])
    found = grown.similar_items(["n0"], k=3)["similar_item_id"].tolist()
    same = [item for item, title in zip(world.ids, world.items(world.ids)["title"], strict=True) if title == "red tent"]
    assert same and set(same) <= set(found)
    assert grown.state.version == 1 and len(grown.state.catalogue) == 33


def test_a_dataset_of_before_is_read_over_the_catalogue_that_has_grown(grown, fitted):
    """Such as `held_out`, which is observed or measured on later than items are added."""
    before = fitted.state.histories
    assert grown.observe(before).steps[-1].rows_dropped == before.n_events  # all are known
    with pytest.warns(TrainedUsersWarning):
        assert all(row.n == 5 for row in grown.evaluate(before.take(np.arange(5)), 1))


def test_a_title_that_is_known_already_gets_the_place_of_a_cold_item_with_that_title(fitted, world):
    """Whether the recommender is put over a larger catalogue, or grows, and whether it is told of the vectors or the texts."""
    table = {**NEW, "price": [None] * 3}
    whole = {name: [*world.items(world.ids)[name], *table[name]] for name in ("item_id", "title")}
    expected = over_catalogue(fitted.state, read_catalogue(whole)[0], fitted.weights, None)
    by_text, by_vector = copy.copy(fitted), copy.copy(fitted)
    by_text.add_items(table)
    texts = item_texts(read_catalogue(table)[0], load_template("item"))
    by_vector.add_items(table, vectors=encode_texts(load_text(fitted.weights), texts))
    for found in (by_text.state, by_vector.state):
        for name in ("vectors", "bias", "repeat"):
            ours, theirs = (getattr(one.items, name).numpy() for one in (found, expected))
            np.testing.assert_allclose(ours, theirs, atol=1e-5)
        np.testing.assert_allclose(found.retrieval.index.vectors, expected.retrieval.index.vectors, atol=1e-5)
        words = [one.retrieval.counts.words for one in (found, expected)]
        np.testing.assert_allclose((words[0] @ words[0].T).toarray(), (words[1] @ words[1].T).toarray(), atol=1e-12)
        assert (found.retrieval.counts.popularity == expected.retrieval.counts.popularity).all()


@pytest.mark.parametrize("histories", [True, False])
def test_known_items_keep_their_scores_and_order(fitted, grown, world, clicks, histories):
    asked = {"histories": clicks} if histories else {"users": [*world.users[:4], "nobody"]}
    before = fitted.recommend(k=30, steps=0, filter_viewed=False, **asked)
    same = grown.recommend(k=30, steps=0, filter_viewed=False, items_to_recommend=world.ids, **asked)
    pd.testing.assert_frame_equal(same, before, check_exact=True)
    every = grown.recommend(k=33, steps=0, filter_viewed=False, **asked)
    assert set(NEW["item_id"]) <= set(every["item_id"])
    rest = every[every["item_id"].isin(world.ids) & (every["source"] != BACKFILL)]
    brought = before.merge(rest, on=["user_id", "item_id"], suffixes=("", "_after"))
    np.testing.assert_allclose(brought["score"], brought["score_after"], rtol=1e-5)


def test_two_calls_add_what_one_adds(fitted, grown, clicks):
    two = copy.copy(fitted)
    two.similar_items(["i000"])  # its index exists, and grows
    for rows in (slice(0, 1), slice(1, 3)):
        two.add_items({name: values[rows] for name, values in NEW.items()})
    assert two.state.version == 2
    for name in ("n0", "i003"):
        pd.testing.assert_frame_equal(two.similar_items([name], k=32), grown.similar_items([name], k=32), atol=1e-6)
    ours, theirs = (one.recommend(histories=clicks, k=33, filter_viewed=False) for one in (two, grown))
    pd.testing.assert_frame_equal(ours, theirs, atol=1e-5)


def test_new_items_are_bought_and_recommended_again_after_loading(grown, clicks, tmp_path):
    grown.observe({"user_id": ["u000", "u000"], "item_id": ["n1", "n2"], "timestamp": [1.8e9, 1.8e9]})
    assert "n1" not in lists(grown.recommend(["u000"], k=21))["u000"]
    assert grown.recommend(["nobody"], k=33).set_index("item_id")["score"]["n1"] == 1
    grown.save_pretrained(tmp_path, histories=True)
    loaded = Recommender.from_pretrained(tmp_path)
    loaded.weights = grown.weights
    more = {"item_id": ["n3"], "title": ["large zebra tent"]}
    for each in (grown, loaded):
        each.add_items(more)  # its words are weighed as they were before saving
    for asked in ({"users": ["u000", "u001"]}, {"histories": clicks}):
        pd.testing.assert_frame_equal(loaded.recommend(k=20, **asked), grown.recommend(k=20, **asked), atol=1e-4)
    np.testing.assert_array_equal(loaded.state.retrieval.counts.words.toarray(), grown.state.retrieval.counts.words.toarray())


def test_users_held_out_before_items_came_are_read_after(recommender, fitted, clicks):
    """As a Dataset over the catalogue of before, such as `held_out`."""
    held = events_for(recommender.state.catalogue, clicks)[0]
    recommender.add_items(NEW)
    recommender.remove_items(["i000"])
    answer = recommender.recommend(histories=held, k=20)
    assert set(NEW["item_id"]) & set(answer["item_id"]) and "i000" not in set(answer["item_id"])
    assert recommender.evaluate(held)[0].n == held.n_users
    recommender.observe(held)
    assert recommender.state.histories.n_events == fitted.state.histories.n_events + held.n_events
    with pytest.raises(DataError, match="with the 30 items that were fitted, got one with 33 other"):
        fitted.observe(recommender.state.histories)


def test_an_approximate_index_grows_too(recommender, world):
    rec, state = recommender, recommender.state
    before = build(np.array(state.retrieval.index.vectors), settings=IndexSettings(exact_below=10, lists=3))
    rec._state = replace(state, retrieval=replace(state.retrieval, index=before))
    rec.add_items(NEW)
    rec.update_items({"item_id": ["i000", "n0"], "title": ["blue rope"] * 2})
    index = rec.state.retrieval.index
    assert not index.exact and index.tuned is before.tuned and len(index) == 33
    moved = np.flatnonzero((index.vectors[:30] != before.vectors).any(1))
    assert moved.tolist() == [0] and (index.vectors[30] != index.vectors[31]).any()
    assert set(rec.recommend(["u000"], k=33, filter_viewed=False)["item_id"]) == {*world.ids, *NEW["item_id"]}


@pytest.mark.parametrize(
    ("items", "error", "message"),
    [
        ({"item_id": ["n0", "i003"], "title": ["a", "b"]}, DataError, "1 of 2 item ids .*'i003'.*update_items.*show_items"),
        ({"item_id": [5], "title": ["a"]}, SchemaError, "item_id is int such as 5, .* str such as 'i000'.*Convert"),
        ({"item_id": ["n0"]}, SchemaError, "no column 'title'.*columns="),
        ({"item_id": [], "title": []}, DataError, "items is empty"),
    ],
)
def test_what_cannot_be_added_is_named_and_changes_nothing(recommender, items, error, message):
    state = recommender.state
    with pytest.raises(error, match=message):
        recommender.add_items(items)
    assert recommender.state is state


def test_vectors_are_held_to_the_items(recommender):
    for vectors, message in ((np.ones((2, 32)), "3 rows of items.*got 2"), (np.ones((3, 5)), "expected shape")):
        with pytest.raises(DataError, match=message):
            recommender.add_items(NEW, vectors=vectors)


def test_another_text_encoder_is_refused_with_a_remedy(recommender, tiny_folders, tmp_path):
    recommender.save_pretrained(tmp_path)
    loaded = Recommender.from_pretrained(tmp_path)
    loaded.weights = Weights.folder(tiny_folders["llama"])  # as wide
    with pytest.raises(WeightsError, match=r"recommender\.weights = Weights\.folder\(path\)"):
        loaded.add_items(NEW)
    loaded.weights = recommender.weights
    loaded.add_items(NEW)


def test_known_texts_that_are_all_alike_are_not_blamed_on_the_weights(fitting, world):
    alike = {"item_id": world.ids, "title": ["red tent"] * len(world.ids)}
    found = fitting(world.events(world.users, world.ids), alike, verbose=False)
    with pytest.raises(DataError, match="30 of 30 known ones .* hardly tells from their mean.*titles that tell"):
        found.add_items(NEW)
    assert len(found.state.catalogue) == 30


def test_ids_of_a_file_are_read_in_the_kind_of_the_catalogue(recommender, tmp_path):
    (tmp_path / "new.csv").write_text("item_id,title\n7,red rope\n", encoding="utf-8")
    recommender.add_items(tmp_path / "new.csv")
    assert recommender.state.catalogue.ids[30] == "7"


# ---------------------------------------------------------------------------------------- changed items


def test_a_new_title_moves_the_item_and_no_other(grown, clicks):
    grown.similar_items(["i000"])
    before, vectors = grown.state, grown.state.items.vectors.clone()
    grown.update_items({"item_id": ["i004", "n2"], "title": ["red tent", "red tent"]})
    after = grown.state
    moved = np.flatnonzero((after.items.vectors != vectors).any(1).numpy())
    assert moved.tolist() == [4, 32] and (before.items.vectors == vectors).all()
    assert grown.similar_items(["n2"], k=1)["similar_item_id"].tolist() == ["n0"]  # an equal text
    for index, same in ((after.retrieval.index, before.retrieval.index), (after.similarity_index, before.similarity_index)):
        assert np.flatnonzero((index.vectors != same.vectors).any(1)).tolist() == [4, 32]
    words, old = after.retrieval.counts.words.toarray(), before.retrieval.counts.words.toarray()
    rest = np.delete(np.arange(33), [4, 32])
    np.testing.assert_array_equal(words[rest, : old.shape[1]], old[rest])
    np.testing.assert_array_equal(words[32], words[30])
    assert (after.retrieval.counts.popularity == before.retrieval.counts.popularity).all()
    answer = grown.recommend(histories=clicks, k=33, titles=True, filter_viewed=False)
    assert set(answer[answer["item_id"] == "i004"]["title"]) == {"red tent"}


def test_price_and_stock_change_the_table_alone(grown, clicks):
    before, state = grown.recommend(histories=clicks, k=8), grown.state
    grown.update_items({"item_id": ["n2", "i001"], "price": [9.5, None], "in_stock": [True, False]})
    table = grown.state.catalogue.table
    assert table.column("price").to_pylist()[30:] == [2.0, 3.0, 9.5] and table.column("price")[1].as_py() is None
    assert table.column("in_stock").to_pylist() == [None, False, *[None] * 30, True]
    grown.update_items({"item_id": ["n2"], "price": [None], "title": ["NaN"], "in_stock": [False]})  # missing: as it was
    assert [table.column(name)[32].as_py() for name in ("title", "price")] == ["large zebra", 9.5]
    assert grown.state.catalogue.table.column("price")[32].as_py() == 9.5
    assert grown.state.catalogue.table.column("in_stock")[32].as_py() is False
    assert grown.state.model is state.model and grown.state.retrieval.index is state.retrieval.index
    pd.testing.assert_frame_equal(grown.recommend(histories=clicks, k=8), before)


def test_columns_of_any_type_are_added_and_changed(recommender):
    more = {
        "item_id": ["n0"],
        "title": ["rope"],
        "tags": [["a", "b"]],
        "size": [1],
        "brand": pa.array(["x"]).dictionary_encode(),
    }
    recommender.add_items(pa.table(more))
    recommender.update_items(pa.table({"item_id": ["n0", "i000"], "size": [2.5, None], "tags": [None, ["c"]]}))
    recommender.update_items(pa.table({"item_id": ["i001"], "brand": pa.array(["y"]).dictionary_encode()}))
    table = recommender.state.catalogue.table
    assert [table.column(name)[30].as_py() for name in ("tags", "size", "brand")] == [["a", "b"], 2.5, "x"]
    assert table.column("tags")[0].as_py() == ["c"] and table.column("brand").to_pylist()[:3] == [None, "y", None]
    with pytest.raises(SchemaError, match="column 'size' is .*string, but double in the catalogue"):
        recommender.update_items({"item_id": ["n0"], "size": ["large"]})


@pytest.mark.parametrize(
    ("items", "error", "message"),
    [
        ({"item_id": ["i000", "n9"], "price": [1.0, 2.0]}, UnknownItemError, "1 of 2 item ids .*'n9'.*add_items"),
        ({"item_id": ["i000"]}, DataError, "columns with new values"),
        ({"item_id": ["i000", "i000"], "price": [1.0, 2.0]}, DataError, "rows that differ"),
        ({"item_id": ["n0"], "price": [["many"]]}, (SchemaError, DataError), "price"),
    ],
)
def test_what_cannot_be_changed_is_named_and_changes_nothing(grown, items, error, message):
    state = grown.state
    with pytest.raises(error, match=message):
        grown.update_items(items)
    assert grown.state is state


# ---------------------------------------------------------------------------------------- hidden and removed items


class Everything:
    """A ranker of one's own, which notes what it is asked about."""

    def __init__(self) -> None:
        self.met: set[int] = set()

    def score(self, tasks: Any, candidates: Any) -> np.ndarray:
        self.met |= set(candidates.item.tolist())
        return np.arange(len(candidates.item), dtype=np.float32)


def offered(rec: Recommender, clicks: Any) -> set[str]:
    """Every item that any way of asking gives."""
    ranker, found = Everything(), set()
    with pytest.warns(ShortAnswerWarning):
        for asked in ({"histories": clicks}, {"users": ["u000", "u001", "nobody"]}):
            for more in ({}, {"ranker": ranker}, {"steps": 0}):
                found |= set(rec.recommend(k=40, filter_viewed=False, **asked, **more)["item_id"])
            found |= set(rec.recommend(k=40, **asked)["item_id"])
    found |= {rec.state.catalogue.ids[item] for item in ranker.met}
    return found | set(rec.similar_items(["i000", "n1"], k=40)["similar_item_id"])


GONE = ["i001", "i016", "n0"]  # popular with either half, and new


@pytest.mark.parametrize("way", ["hide_items", "remove_items"])
def test_an_item_that_is_not_offered_is_in_no_answer(grown, world, clicks, tmp_path, way):
    everything = {*world.ids, *NEW["item_id"]}
    assert offered(grown, clicks) == everything
    before = grown.recommend(["u000"], k=30, filter_viewed=False, items_to_recommend=sorted(everything - set(GONE)), steps=0)
    getattr(grown, way)(GONE)
    assert offered(grown, clicks) == everything - set(GONE)
    after = grown.recommend(["u000"], k=30, filter_viewed=False, steps=0)
    pd.testing.assert_frame_equal(after, before)  # histories that hold it are read as before
    grown.save_pretrained(tmp_path, histories=True)
    loaded = Recommender.from_pretrained(tmp_path)
    assert offered(loaded, clicks) == everything - set(GONE)
    scores = chain_scores(loaded.state, full_histories(loaded.state.histories, np.arange(3)), 0)  # as a scene asks
    candidates = np.sort(scores, 1)[:, -3:]
    assert (scores[:, ~loaded.state.offered].max(1) < candidates[:, 0]).all()


def test_hidden_items_are_left_out_where_they_are_named_and_come_back(grown, clicks):
    before = grown.recommend(histories=clicks, k=10)
    grown.hide_items(["n0", "i001"])
    named = grown.recommend(histories=clicks, k=2, items_to_recommend=["n0", "n1", "n2", "i001"])
    assert set(named["item_id"]) == {"n1", "n2"}
    assert "n0" not in set(grown.similar_items(["n0"], k=5)["similar_item_id"])  # it may be asked about
    with pytest.warns(ShortAnswerWarning, match="items_to_recommend leaves no more"):
        assert not len(grown.recommend(histories=clicks, k=1, items_to_recommend=["n0"]))
    grown.hide_items(["n0"])
    grown.show_items(["n0", "i001", "n1"])
    assert grown.state.offered is None and grown.state.version == 4
    pd.testing.assert_frame_equal(grown.recommend(histories=clicks, k=10), before)


def test_a_removed_id_is_unknown_and_can_come_back(grown, clicks, tmp_path):
    grown.remove_items(["n0", "i002"])
    grown.save_pretrained(tmp_path)
    loaded = Recommender.from_pretrained(tmp_path)
    loaded.weights = grown.weights
    for rec in (grown, loaded):
        assert "31 items" in repr(rec)
        for call in (rec.hide_items, rec.show_items, rec.remove_items, rec.similar_items):
            with pytest.raises(UnknownItemError, match="'n0'.* not in the catalogue of 31"):
                call(["n0"])
        with pytest.raises(UnknownItemError, match="add_items"):
            rec.update_items({"item_id": ["n0"], "price": [1.0]})
        with pytest.raises(UnknownItemError):
            rec.recommend(["u000"], items_to_recommend=["n0"])
        some = {"user_id": ["a", "a"], "item_id": ["n0", "n1"], "timestamp": [1.0e9, 1.1e9]}
        with pytest.warns(DataLossWarning, match="1 of 2 rows"):
            rec.recommend(histories=some, k=3)
        rec.add_items({"item_id": ["n0"], "title": ["blue soap"]})
        answer = rec.recommend(histories=some, k=1, items_to_recommend=["n0"], filter_viewed=False, titles=True)
        assert answer["title"].tolist() == ["blue soap"]


def test_a_short_answer_counts_what_is_hidden_and_not_what_was_removed(grown, world, tmp_path):
    grown.hide_items(world.ids[5:])
    grown.remove_items(["i029", "n2"])
    hidden, rules = "24 items are hidden, see show_items", Rules(filters=["price is None"], at_most={"title": 9})
    for ask in (grown.recommend, grown.explain):
        with pytest.warns(ShortAnswerWarning, match=f"'nobody' .7.: the catalogue holds no more.*; {hidden}$"):
            ask(["nobody"])
        with pytest.warns(ShortAnswerWarning, match=rf"'nobody' .5.: .*is None' leaves 29 of 31 items\).*; {hidden}$"):
            ask(["nobody"], rules=rules)
    with pytest.warns(ShortAnswerWarning, match=hidden):
        grown.recommend_all(tmp_path / "all.csv", verbose=False)
    with pytest.raises(UnknownItemError, match="in the catalogue of 31 items"):
        grown.observe({"user_id": ["a"], "item_id": ["i029"], "timestamp": [1.0e9]})
    with pytest.warns(ShortAnswerWarning, match="fewer than the 2 .* of 1: 1 of them hidden, see show_items$"):
        grown.explain(["nobody"], items=["n0", "i006"])


def test_an_item_that_nobody_has_had_is_not_called_popular(grown, world):
    grown.hide_items(world.ids[1:])
    pins = Rules(
        pin={1: "n1", 2: "gone"}, filters=["price is None or price > 2.5"], boost=[{"where": "price > 2", "factor": 2}]
    )
    with pytest.warns(IgnoredInputWarning, match="no item 'gone'"):
        told = grown.explain(["nobody"], k=2, rules=pins, signals=True)
    assert told["item_id"].tolist() == ["n1", "i000"] and told["signal"].isna().tolist() == [True, False]
    assert told["sentence"].tolist() == ["Nothing in your history speaks for small soap.", "red mug is popular."]
    assert told["popular"].tolist() == [0.0, grown.state.retrieval.popularity[0]]
    parts = np.eye(len(NAMES))[NAMES.index("popular")]
    assert [_overall(parts, count).kind for count in (0.0, 1.0)] == ["nothing", "popular"]


def test_a_hidden_or_removed_item_is_not_offered_over_another_catalogue(grown, world):
    """As a scene puts the recommender over its own items."""
    grown.hide_items(["i003"])
    grown.remove_items(["i004"])
    table = {name: values[2:6] for name, values in world.items(world.ids).items()}
    state = over_catalogue(grown.state, read_catalogue(table)[0], grown.weights, None)
    assert state.offered.tolist() == [True, False, False, True]


# ---------------------------------------------------------------------------------------- side by side


@pytest.mark.filterwarnings("ignore::llmrec.errors.ShortAnswerWarning")
def test_answers_are_of_one_version_while_items_come_and_go(grown, clicks):
    """New items are hidden and shown again: an answer that is made meanwhile has all of them, or none."""

    def change() -> None:
        for _ in range(15):
            grown.hide_items(NEW["item_id"])
            grown.show_items(NEW["item_id"])

    def ask() -> set[int]:
        return {len(set(grown.recommend(["u000", "nobody"], k=33, steps=0)["item_id"]) & set(NEW["item_id"])) for _ in range(8)}

    grown.recommend(["u000"])
    with ThreadPoolExecutor(4) as pool:
        changing, asking = [pool.submit(change) for _ in range(2)], [pool.submit(ask) for _ in range(2)]
        seen = set().union(*(one.result() for one in asking))
        for one in changing:
            one.result()
    assert seen <= {0, 3} and grown.state.version == 61
