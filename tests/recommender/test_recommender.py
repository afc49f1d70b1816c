from __future__ import annotations

import copy
import json
import logging
import threading
import time
import uuid
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from llmrec import Recommender, Settings
from llmrec.data.dataset import Catalogue
from llmrec.data.ids import Ids
from llmrec.errors import DataError, DataLossWarning, SchemaError, ShortAnswerWarning, UnknownItemError
from llmrec.recommender.answer import FALLBACK

COLUMNS = ["user_id", "item_id", "score", "rank", "source", "steps"]


def lists(answer) -> dict:
    """User -> items, best first."""
    return {user: rows["item_id"].tolist() for user, rows in answer.groupby("user_id", sort=False)}


def same(one, other) -> None:
    """Equal answers, their scores up to the rounding of batches of another shape."""
    pd.testing.assert_frame_equal(one.reset_index(drop=True), other.reset_index(drop=True), rtol=0, atol=1e-4)


def had(table, user) -> set:
    return {item for who, item in zip(table["user_id"], table["item_id"], strict=True) if who == user}


# ---------------------------------------------------------------------------------------- what an answer looks like


@pytest.mark.parametrize("steps", ["auto", 0])
@pytest.mark.parametrize("k", [1, 7, 15])
def test_an_answer_holds_k_rows_a_user_best_first(fitted, world, k, steps):
    answer = fitted.recommend(world.users, k=k, steps=steps)
    assert list(answer.columns) == COLUMNS
    assert list(lists(answer)) == world.users
    for _, rows in answer.groupby("user_id"):
        assert rows["rank"].tolist() == list(range(1, k + 1))
        assert (np.diff(rows["score"]) <= 0).all()
        assert rows["item_id"].is_unique
    assert np.isfinite(answer["score"]).all()
    assert set(answer["item_id"]) <= set(world.ids)


@pytest.mark.parametrize("filter_viewed", [True, False])
def test_the_best_k_begin_the_best_k_and_one(fitted, world, filter_viewed):
    """Also past what the sources bring: with the whole catalogue asked for, most of the list is none of theirs."""
    users = world.users[:4]
    with warnings.catch_warnings(action="ignore", category=ShortAnswerWarning):
        answers = [fitted.recommend(users, k=k, filter_viewed=filter_viewed) for k in range(1, len(world.ids) + 1)]
    for k, (shorter, longer) in enumerate(pairwise(answers), 1):
        same(shorter, longer[longer["rank"] <= k])
    assert "rest of the catalogue" in set(answers[-1]["source"])
    assert (answers[-1].groupby("user_id")["score"].diff().dropna() <= 0).all()
    if not filter_viewed:
        assert all(sorted(items) == world.ids for items in lists(answers[-1]).values())


def test_users_come_out_in_the_order_they_came_in(fitted, world, clicks):
    asked = [world.users[5], "nobody", world.users[1], world.users[5]]
    answer = fitted.recommend(asked, k=3)
    assert answer["user_id"].tolist() == [user for user in asked for _ in range(3)]
    assert list(lists(fitted.recommend(histories=clicks, k=3))) == ["new4", "new3", "new2", "new1", "new0"]


def test_users_may_be_anything_that_lists_ids(fitted, world):
    expected = fitted.recommend(world.users[:3], k=2)
    for users in (np.array(world.users[:3]), pd.Series(world.users[:3]), iter(world.users[:3]), tuple(world.users[:3])):
        pd.testing.assert_frame_equal(fitted.recommend(users, k=2), expected)
    assert list(fitted.recommend([], k=2).columns) == COLUMNS
    assert len(fitted.recommend([], k=2)) == 0


# ---------------------------------------------------------------------------------------- which items may be in it


def test_what_a_user_has_had_is_left_out_unless_asked_for(fitted, world):
    events = world.events(world.users, world.ids)
    new = lists(fitted.recommend(world.users, k=15))
    assert all(not had(events, user) & set(items) for user, items in new.items())
    every = lists(fitted.recommend(world.users, k=len(world.ids), filter_viewed=False))
    assert all(had(events, user) <= set(items) for user, items in every.items())


def test_only_items_to_recommend_are_recommended(fitted, world):
    allowed = world.ids[::3]
    for users in (world.users, ["nobody"]):
        answer = fitted.recommend(users, k=len(allowed), filter_viewed=False, items_to_recommend=allowed)
        assert all(sorted(items) == sorted(allowed) for items in lists(answer).values())


def test_fewer_than_k_is_said_with_the_reason(fitted, world):
    events, user = world.events(world.users, world.ids), world.users[0]
    left = len(world.ids) - len(had(events, user))
    reason = rf"1 user gets fewer than k = 30 items, such as 'u000' \({left}\): the catalogue holds no more, excluding viewed"
    with pytest.warns(ShortAnswerWarning, match=reason) as caught:
        answer = fitted.recommend([user], k=30)
    assert len(answer) == left
    assert caught[0].filename == __file__  # it points at the caller's own line
    with pytest.warns(ShortAnswerWarning, match="3 users get .* items_to_recommend leaves no more$"):
        answer = fitted.recommend([*world.users[:2], "nobody"], k=5, filter_viewed=False, items_to_recommend=world.ids[:2])
    assert answer.groupby("user_id").size().tolist() == [2, 2, 2]
    with pytest.warns(ShortAnswerWarning, match="items_to_recommend leaves no more, excluding viewed items"):
        assert len(fitted.recommend([user], k=1, items_to_recommend=[])) == 0


def test_an_unknown_user_gets_the_labelled_fallback_and_a_known_one_never(fitted, world):
    answer = fitted.recommend(["nobody", world.users[0]], k=4)
    assert (answer["source"] == FALLBACK).tolist() == [True] * 4 + [False] * 4
    events = pd.DataFrame(world.events(world.users, world.ids))
    baskets = events.drop_duplicates(["basket_id", "item_id"])["item_id"].value_counts()
    assert answer["score"].head(4).tolist() == sorted(baskets, reverse=True)[:4]


# ---------------------------------------------------------------------------------------- what an answer depends on


@pytest.mark.parametrize("steps", ["auto", 0])
def test_known_users_and_their_histories_get_the_same_answer(fitted, world, steps):
    known = fitted.recommend(world.users, k=12, steps=steps)
    shown = fitted.recommend(histories=world.events(world.users, world.ids), k=12, steps=steps)
    pd.testing.assert_frame_equal(known, shown)


@pytest.mark.parametrize("steps", ["auto", 0])
def test_a_user_alone_is_answered_as_in_a_batch(fitted, world, clicks, steps):
    together = fitted.recommend(world.users, k=9, steps=steps)
    alone = pd.concat([fitted.recommend([user], k=9, steps=steps) for user in world.users])
    same(together, alone)
    people = pd.DataFrame(clicks)
    alone = pd.concat([fitted.recommend(histories=rows, k=9, steps=steps) for _, rows in people.groupby("user_id", sort=False)])
    same(fitted.recommend(histories=people, k=9, steps=steps), alone)


def test_more_users_than_run_side_by_side_are_answered_alike(fitted, world, clicks):
    one = [value[: clicks["user_id"].count("new4")] for value in clicks.values()]
    copies = {name: value * 130 for name, value in zip(clicks, one, strict=True)}
    copies["user_id"] = [f"copy{i:03}" for i in range(130) for _ in one[0]]
    copies["basket_id"] = [f"{user}{basket}" for user, basket in zip(copies["user_id"], copies["basket_id"], strict=True)]
    answer = fitted.recommend(histories=copies, k=3)
    assert len(answer) == 390
    assert len({tuple(items) for items in lists(answer).values()}) == 1


def test_the_order_of_rows_in_a_table_does_not_matter(fitted, clicks):
    people = pd.DataFrame(clicks)
    shuffled = people.sample(frac=1, random_state=3)
    order = shuffled["user_id"].unique().tolist()
    mixed = fitted.recommend(histories=shuffled, k=5)
    assert list(lists(mixed)) == order
    same(mixed.sort_values(["user_id", "rank"]), fitted.recommend(histories=people, k=5).sort_values(["user_id", "rank"]))


def test_adapting_by_no_step_is_not_adapting(recommender, clicks):
    rates = recommender.state.init.log_rate
    adapted = recommender.recommend(histories=clicks, k=10)
    still = recommender.recommend(histories=clicks, k=10, steps=0)
    assert lists(adapted) != lists(still)  # steps do something here; that they help is a law of test_planted.py
    recommender._state = replace(recommender.state, init=replace(recommender.state.init, log_rate=rates[:0]))
    pd.testing.assert_frame_equal(recommender.recommend(histories=clicks, k=10), still)


@pytest.mark.slow
def test_renaming_the_items_renames_them_and_changes_nothing_else(fitting, fitted, world):
    other = [f"z{999 - number}" for number in range(len(world.ids))]  # descending: the catalogue's order stays, the ids' turns
    renamed = fitting(world.events(world.users, other), world.items(other))
    answer = renamed.recommend(world.users, k=15)
    answer["item_id"] = answer["item_id"].map(dict(zip(other, world.ids, strict=True)))
    pd.testing.assert_frame_equal(answer, fitted.recommend(world.users, k=15))


@pytest.mark.slow
def test_the_seed_decides_everything(fitting, fitted, world):
    events, items = world.events(world.users, world.ids), world.items(world.ids)
    expected = fitted.recommend(world.users[:6], k=15)
    pd.testing.assert_frame_equal(fitting(events, items).recommend(world.users[:6], k=15), expected)
    other = fitting(events, items, seed=1).recommend(world.users[:6], k=15)
    assert (other["score"].to_numpy() != expected["score"].to_numpy()).any()


def test_the_same_settings_seed_and_threads_give_the_same_bytes(fitting, fitted, world, tmp_path):
    (tmp_path / "settings.yaml").write_text(fitted.settings.to_yaml())
    again = fitting(
        world.events(world.users, world.ids), world.items(world.ids), Settings.from_yaml(tmp_path / "settings.yaml")
    )
    files = []
    for name, recommender in (("one", fitted), ("two", again)):
        recommender.save_pretrained(tmp_path / name, histories=True)
        files.append(json.loads((tmp_path / name / "manifest.json").read_text())["files"])
    assert files[0] == files[1] and "settings.json" in files[0]


def test_fit_says_its_seed_and_which_settings_are_not_the_defaults(fitting, world, caplog):
    with caplog.at_level(logging.INFO, "llmrec"):
        fitting(world.events(world.users, world.ids), world.items(world.ids), seed=3)
    (line,) = [message for message in caplog.messages if message.startswith("settings: ")]
    assert "layers=None, adapter='lora', train.max_steps=12," in line and "lora.r=2" in line and "; seed 3; threads: " in line
    assert "train.epochs" not in line  # it is the default


# ---------------------------------------------------------------------------------------- tables and ids


def test_the_table_that_goes_in_decides_the_one_that_comes_out(fitted, clicks):
    polars = pytest.importorskip("polars")
    datasets = pytest.importorskip("datasets")
    expected = fitted.recommend(histories=clicks, k=3)
    assert isinstance(expected, pd.DataFrame)  # from a dict
    for frame in (pd.DataFrame(clicks), polars.DataFrame(clicks), pa.table(clicks), datasets.Dataset.from_dict(clicks)):
        answer = fitted.recommend(histories=frame, k=3)
        assert type(answer) is type(frame)
        rows = answer.to_dict(as_series=False) if isinstance(frame, polars.DataFrame) else None
        rows = rows or {
            name: list(answer[name].to_pylist() if isinstance(frame, pa.Table) else answer[name]) for name in COLUMNS
        }
        assert rows == {name: expected[name].tolist() for name in COLUMNS}


@pytest.mark.slow
def test_what_was_fitted_decides_where_only_ids_go_in(fitting, world):
    polars = pytest.importorskip("polars")
    fitted = fitting(polars.DataFrame(world.events(world.users, world.ids)), world.items(world.ids))
    assert isinstance(fitted.recommend(world.users[:2]), polars.DataFrame)
    assert isinstance(fitted.similar_items(world.ids[:2]), polars.DataFrame)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [int, uuid.UUID])
def test_ids_come_back_as_they_were(fitting, fitted, world, kind):
    make = {int: lambda n: 10**15 + n, uuid.UUID: lambda n: uuid.UUID(int=n)}[kind]
    users, items = [make(n) for n in range(len(world.users))], [make(1000 + n) for n in range(len(world.ids))]
    other = fitting(world.events(users, items), world.items(items))
    answer = other.recommend([*users, make(10**6)], k=4)
    assert answer["user_id"].tolist()[::4] == [*users, make(10**6)]
    assert {type(value) for value in answer["item_id"].tolist()} == {kind}
    there = dict(zip(items, world.ids, strict=True))
    assert [there[item] for item in answer["item_id"].tolist()[:-4]] == fitted.recommend(world.users, k=4)["item_id"].tolist()
    assert (
        other.recommend([users[0]], k=1, items_to_recommend=items[-1:], filter_viewed=False)["item_id"].tolist() == items[-1:]
    )


def test_columns_of_histories_go_by_their_own_names(fitted, clicks):
    theirs = {
        "who": clicks["user_id"],
        "what": clicks["item_id"],
        "when": clicks["timestamp"],
        "basket_id": clicks["basket_id"],
    }
    names = {"who": "user_id", "what": "item_id", "when": "timestamp"}
    ours = {name: clicks[name] for name in ("user_id", "item_id", "timestamp", "basket_id")}
    pd.testing.assert_frame_equal(fitted.recommend(histories=theirs, columns=names), fitted.recommend(histories=ours))


# ---------------------------------------------------------------------------------------- what changes, and what does not


def numbers(state) -> list[np.ndarray]:
    tensors = [*state.model.state_dict().values(), *state.init.adapter.leaves(), state.init.log_rate]
    counts, known = state.retrieval.counts, state.histories
    found = [tensor.detach().numpy().copy() for tensor in tensors]
    found += [state.retrieval.index.vectors.copy(), counts.popularity.copy(), counts.cooccurrence.data.copy()]
    found += [
        known.start.copy(),
        known.item.copy(),
        known.time.copy(),
        *(values.copy() for values in known.attributes.values()),
    ]
    return found + [
        values.copy() for ranker in (state.rankers.counts, state.rankers.blend) for values in ranker.weights.values()
    ]


def test_answering_changes_nothing(recommender, world, clicks):
    state, before = recommender.state, numbers(recommender.state)
    first = recommender.recommend(world.users, k=5)
    recommender.recommend(histories=clicks, k=5)
    recommender.similar_items(world.ids[:2])
    recommender.evaluate(clicks, known=1)
    assert recommender.state is state
    assert all(np.array_equal(one, other) for one, other in zip(before, numbers(state), strict=True))
    pd.testing.assert_frame_equal(recommender.recommend(world.users, k=5), first)


def test_a_first_event_makes_the_next_answer_personal(recommender, world):
    state, before = recommender.state, numbers(recommender.state)
    first = {"user_id": ["nobody"], "item_id": [world.ids[0]], "timestamp": [1.7e9]}
    assert set(recommender.recommend(["nobody"], k=5)["source"]) == {FALLBACK}
    report = recommender.observe(first)
    assert report.steps
    answer = recommender.recommend(["nobody"], k=5)
    assert FALLBACK not in set(answer["source"])
    assert world.ids[0] not in set(answer["item_id"])
    pd.testing.assert_frame_equal(answer, recommender.recommend(histories=first, k=5))
    assert (recommender.state.version, state.version) == (1, 0)
    assert recommender.state is not state
    assert "nobody" not in state.histories.users.values
    assert all(np.array_equal(one, other) for one, other in zip(before, numbers(state), strict=True))


def test_observing_bit_by_bit_is_having_known_it_all(recommender, world, clicks):
    people = pd.DataFrame(clicks)
    for day in np.unique(people["timestamp"] // 86_400):
        recommender.observe(people[people["timestamp"] // 86_400 == day])
    users = people["user_id"].unique()
    pd.testing.assert_frame_equal(recommender.recommend(users, k=8), recommender.recommend(histories=people, k=8))


def test_a_refused_observation_changes_nothing(recommender, world):
    state = recommender.state
    with pytest.raises(UnknownItemError):
        recommender.observe({"user_id": ["a"], "item_id": ["no such item"], "timestamp": [1.7e9]})
    with pytest.raises(SchemaError, match="known are str such as 'u000', got int such as 7; expected one kind"):
        recommender.observe({"user_id": [7], "item_id": [world.ids[0]], "timestamp": [1.7e9]})
    assert recommender.state is state


def test_answers_given_while_others_observe_belong_to_one_moment(recommender, fitted, world):
    """Every answer must be the one of some version: a mix of two would match none of them."""
    steps = [{"user_id": ["walker"], "item_id": [item], "timestamp": [1.7e9 + i]} for i, item in enumerate(world.ids[:8])]
    asked, moments = ["walker", world.users[0]], []
    for step in [None, *steps]:
        if step is not None:
            recommender.observe(step)
        moments.append(recommender.recommend(asked, k=6))
    recommender._state = fitted.state
    done, ready = [], threading.Barrier(3)

    def ask() -> list:
        found = [recommender.recommend(asked, k=6)]
        ready.wait(60)
        while not done:
            found.append(recommender.recommend(asked, k=6))
        return [*found, recommender.recommend(asked, k=6)]

    with ThreadPoolExecutor(3) as pool:
        asking = [pool.submit(ask) for _ in range(2)]
        ready.wait(60)
        for step in steps:
            pool.submit(recommender.observe, step).result()
            time.sleep(0.02)  # so that an answer or two begin between
        done.append(True)
        answers = [answer for future in asking for answer in future.result()]
    keys = [moment["item_id"].tolist() for moment in moments]
    assert len(set(map(tuple, keys))) == len(keys)
    for answer in answers:
        same(answer, moments[keys.index(answer["item_id"].tolist())])
    assert recommender.state.version == len(steps)


def test_observations_from_many_threads_all_arrive(recommender, world):
    events = [{"user_id": [f"t{i}"], "item_id": [world.ids[i]], "timestamp": [1.7e9]} for i in range(12)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(recommender.observe, events))
    assert recommender.state.version == 12
    assert recommender.state.histories.n_users == len(world.users) + 12


# ---------------------------------------------------------------------------------------- similar items


def test_similar_items_are_those_with_the_largest_cosine(fitted, world):
    vectors = fitted.state.items.vectors.numpy()
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    answer = fitted.similar_items(world.ids[:3], k=4)
    assert list(answer.columns) == ["item_id", "similar_item_id", "score", "rank"]
    for index in range(3):
        rows, cosine = answer[answer["item_id"] == world.ids[index]], unit @ unit[index]
        assert world.ids[index] not in set(rows["similar_item_id"])
        assert rows["rank"].tolist() == [1, 2, 3, 4]
        np.testing.assert_allclose(rows["score"], np.sort(np.delete(cosine, index))[::-1][:4], atol=1e-6)


def test_the_only_item_of_a_catalogue_has_no_similar_item(fitted, world):
    alone = copy.copy(fitted)
    alone._state = replace(fitted.state, catalogue=Catalogue(Ids(world.ids[:1]), fitted.state.catalogue.table.slice(0, 1)))
    for titles in (False, True):
        answer = alone.similar_items(world.ids[:1], titles=titles)
        assert list(answer.columns) == list(fitted.similar_items(world.ids[:1], titles=titles).columns) and not len(answer)


# ---------------------------------------------------------------------------------------- what people really bring


def test_a_history_of_a_hundred_thousand_events_is_answered(fitted, world):
    """The prompt holds the last 24 of them; what came long before still counts as had."""
    early, late = world.ids[0], world.ids[10:13]
    items = [early, *(late[i % 3] for i in range(99_999))]
    long = {"user_id": ["keen"] * 100_000, "item_id": items, "timestamp": np.arange(100_000) * 60.0 + 1e9}
    began = time.perf_counter()
    answer = fitted.recommend(histories=long, k=10)
    assert time.perf_counter() - began < 5.0  # 0.4 s where this was written; a step in Python per pair of events takes minutes
    assert len(answer) == 10
    assert not {early, *late} & set(answer["item_id"])


def test_people_without_a_known_item_get_the_fallback_and_a_table_without_any_is_refused(fitted, world):
    table = {"user_id": ["b", "a", "b"], "item_id": ["elsewhere", world.ids[0], "elsewhere"], "timestamp": [1e9, 1e9, 2e9]}
    with pytest.warns(
        DataLossWarning, match=r"^2 of 3 rows of events \(67%\) were left out .*'elsewhere'.*as new users$"
    ) as told:
        answer = fitted.recommend(histories=table, k=2)
    assert told[0].filename == __file__
    assert answer["user_id"].tolist() == ["b", "b", "a", "a"]
    assert (answer["source"] == FALLBACK).tolist() == [True, True, False, False]
    alone = {name: values[:1] for name, values in table.items()}  # one visitor is answered as among others
    with pytest.warns(DataLossWarning, match=r"^1 of 1 rows of events \(100%\) .*'elsewhere'"):
        pd.testing.assert_frame_equal(fitted.recommend(histories=alone, k=2), answer[:2])
    with pytest.raises(UnknownItemError, match="none of the item ids is in the catalogue of 30 items"):
        fitted.recommend(histories={**alone, "item_id": [5]})  # of another type: these ids can never match
    with pytest.raises(UnknownItemError, match="none of the item ids is in the catalogue of 30 items"):
        fitted.evaluate(alone)


def test_an_answer_without_rows_has_the_types_of_one_with_rows(fitted, world):
    some = fitted.recommend(world.users[:2], k=2)
    with pytest.warns(ShortAnswerWarning):
        none = fitted.recommend(world.users[:2], k=2, items_to_recommend=[])
    assert len(none) == 0 and none.dtypes.equals(some.dtypes)
    assert fitted.similar_items([]).dtypes.equals(fitted.similar_items(world.ids[:1], k=2).dtypes)


def test_a_small_loss_of_histories_goes_to_the_logger(fitted, world, caplog):
    rows = [(f"u{row}", world.ids[row] if row else "elsewhere", 1e9 + row) for row in range(9)]
    with caplog.at_level("INFO", "llmrec"):
        fitted.recommend(histories=dict(zip(("user_id", "item_id", "timestamp"), zip(*rows, strict=True), strict=True)), k=1)
    assert "1 of 9 rows of events (11%) were left out in the step 'not in the catalogue'" in caplog.text


@pytest.mark.slow
def test_titles_may_be_anything(fitting, world):
    items = world.items(world.ids)
    items["title"][:4] = ["🦊🛒" * 50, "lamp " * 200_000, " ", "<script>{title}</script>\n\x00"]
    items["title"][2] = "\u202emug\u0000"
    fitted = fitting(world.events(world.users, world.ids), items)
    assert np.isfinite(fitted.recommend(world.users, k=5)["score"]).all()
    assert any(step.rows_changed for step in fitted.report.steps if step.table == "items")


# ---------------------------------------------------------------------------------------- mistakes


def test_mistakes_are_named(fitted, world, clicks):
    user = world.users[:1]
    for arguments in ({}, {"users": user, "histories": clicks}):
        with pytest.raises(DataError, match="either users .* or histories"):
            fitted.recommend(**arguments)
    for k in (0, -3):
        with pytest.raises(DataError, match=f"k is {k}; expected at least 1"):
            fitted.recommend(user, k=k)
    with pytest.raises(UnknownItemError, match=r"items \['lost'\] are not in the catalogue of 30; its ids look like \['i000'"):
        fitted.recommend(user, items_to_recommend=[world.ids[0], "lost"])
    with pytest.raises(UnknownItemError, match=r"items \[5\]"):
        fitted.similar_items([5])
    with pytest.raises(DataError, match=r"users is the text 'u000', expected a list of ids; say \['u000'\]"):
        fitted.recommend("u000")
    with pytest.raises(DataError, match="items_to_recommend is the text"):
        fitted.recommend(user, items_to_recommend="i000")
    with pytest.raises(DataError, match="users mix int and str"):
        fitted.recommend([1, "a"])
    misspelt = {"user_idd" if name == "user_id" else name: values for name, values in clicks.items()}
    for call in (fitted.recommend, lambda histories: fitted.observe(histories)):
        with pytest.raises(SchemaError, match="no column 'user_id'.*Did you mean 'user_idd'"):
            call(histories=misspelt)
    with pytest.raises(SchemaError, match="columns names 'wer', which events does not have"):
        fitted.recommend(histories=clicks, columns={"wer": "user_id"})


def test_before_fitting_every_method_says_what_to_do(world, clicks, tmp_path):
    fresh = Recommender()
    calls = [
        lambda: fresh.recommend(world.users),
        lambda: fresh.observe(clicks),
        lambda: fresh.similar_items(world.ids),
        lambda: fresh.evaluate(clicks),
        lambda: fresh.save_pretrained(tmp_path / "x"),
    ]
    for call in calls:
        with pytest.raises(DataError, match=r"nothing is fitted yet: call fit\(events, items\) or Recommender.from_pretrained"):
            call()
    assert not (tmp_path / "x").exists()
