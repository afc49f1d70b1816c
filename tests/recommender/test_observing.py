"""What is stored of users and what comes later: events observed, events in a table of histories, and what is popular."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

from llmrec import Recommender
from llmrec.data.tasks import full_histories
from llmrec.errors import DataLossWarning, MissingHistoriesWarning
from llmrec.index.candidates import Sources
from llmrec.ranking.two_stage import retrieve
from llmrec.recommender.answer import FALLBACK

# ---------------------------------------------------------------------------------------- stored events and a table


def of(table, *users) -> dict:
    """The rows of some users."""
    keep = [row for row, user in enumerate(table["user_id"]) if user in users]
    return {name: [values[row] for row in keep] for name, values in table.items()}


def had(table, user) -> set:
    return set(of(table, user)["item_id"])


def lists(answer) -> dict:
    return {user: rows["item_id"].tolist() for user, rows in answer.groupby("user_id", sort=False)}


@pytest.mark.parametrize("steps", ["auto", 0])
def test_stored_events_of_known_users_count_beside_those_of_the_table(fitted, world, clicks, steps):
    """They get the answer of strangers whose whole history, stored and new, is in the table."""
    events, new = world.events(world.users, world.ids), of(clicks, "new1", "new3")
    who = {"new1": "u000", "new3": "u005"}
    added = {**new, "user_id": [who[user] for user in new["user_id"]]}
    stored = of(events, *who.values())
    named = {user: f"stranger {user}" for user in who.values()}
    whole = {name: added[name] + stored[name] for name in stored}
    whole = {**whole, "user_id": [named[user] for user in whole["user_id"]]}
    answer, expected = (fitted.recommend(histories=table, k=8, steps=steps) for table in (added, whole))
    assert all(not had(stored, user) & set(items) for user, items in lists(answer).items())
    answer["user_id"] = answer["user_id"].map(named)
    pd.testing.assert_frame_equal(answer, expected, atol=1e-4)
    new["user_id"] = [named[who[user]] for user in new["user_id"]]
    assert lists(fitted.recommend(histories=new, k=8, steps=steps)) != lists(answer)


def test_an_event_that_is_stored_and_in_the_table_counts_once(recommender, world):
    events = of(world.events(world.users, world.ids), "u003")
    expected = recommender.recommend(["u003"], k=8, filter_viewed=False)
    for table in (events, {name: values[:1] for name, values in events.items()}):
        pd.testing.assert_frame_equal(recommender.recommend(histories=table, k=8, filter_viewed=False), expected)
    recommender.observe({"user_id": ["u003"], "item_id": [world.ids[1]], "timestamp": [1.8e9]})
    later = recommender.recommend(["u003"], k=8, filter_viewed=False)
    assert later["score"].tolist() != expected["score"].tolist()
    pd.testing.assert_frame_equal(recommender.recommend(histories=events, k=8, filter_viewed=False), later)


def test_a_known_user_whose_rows_cannot_be_used_is_answered_by_what_is_stored(fitted, world):
    table = {"user_id": ["u002", "u001"], "item_id": ["elsewhere", world.ids[0]], "timestamp": [1.8e9, 1.8e9]}
    with pytest.warns(DataLossWarning, match="1 of 2 rows of events"):
        answer = fitted.recommend(histories=table, k=4)
    assert lists(answer)["u002"] == lists(fitted.recommend(["u002"], k=4))["u002"]
    assert list(lists(answer)) == ["u002", "u001"] and FALLBACK not in set(answer["source"])


def test_in_a_table_ids_of_another_type_are_strangers(fitted, world):
    table = {"user_id": [7], "item_id": [world.ids[1]], "timestamp": [1.8e9]}
    answer = fitted.recommend(histories=table, k=4)
    assert answer["user_id"].tolist() == [7] * 4 and FALLBACK not in set(answer["source"])
    named = fitted.recommend(histories={**table, "user_id": ["nobody"]}, k=4)
    pd.testing.assert_frame_equal(answer.drop(columns="user_id"), named.drop(columns="user_id"))


def test_nothing_of_a_table_is_kept(recommender, world):
    state = recommender.state
    recommender.recommend(histories={"user_id": ["u000"], "item_id": [world.ids[1]], "timestamp": [1.8e9]}, k=3)
    assert recommender.state is state


# ---------------------------------------------------------------------------------------- observing


def test_events_that_are_delivered_twice_count_once(recommender, world, clicks):
    new = {"user_id": ["u000"], "item_id": [world.ids[1]], "timestamp": [1.8e9]}
    assert step(recommender.observe(new)) == (1, 0)
    state = recommender.state
    assert step(recommender.observe(new)) == (1, 1)
    assert recommender.state is state
    events = world.events(world.users, world.ids)  # what was fitted
    assert step(recommender.observe(events)) == (len(events["user_id"]),) * 2
    both = {name: [*clicks[name], *events[name]] for name in clicks}
    assert step(recommender.observe(both)) == (len(both["user_id"]), len(events["user_id"]))
    histories = recommender.state.histories
    assert histories.n_events == state.histories.n_events + len(clicks["user_id"])
    assert histories.n_users == len(world.users) + 5 and recommender.state.version == 2


def test_one_event_and_one_user_touch_no_other_history(recommender, world):
    """What takes time with the number of all events, one dataset of them all, is not made."""
    before, expected = recommender.state.known, recommender.recommend(["u001"], k=5)
    recommender.observe({"user_id": ["u000"], "item_id": [world.ids[1]], "timestamp": [1.8e9]})
    pd.testing.assert_frame_equal(recommender.recommend(["u001"], k=5), expected)
    known = recommender.state.known
    assert known.first is before.first and [layer.users.values for layer in known.layers[1:]] == [["u000"]]
    assert "dataset" not in vars(known)
    assert recommender.state.histories.n_events == before.dataset.n_events + 1


def bought_by_many(item, count=500) -> dict:
    return {"user_id": [f"q{i}" for i in range(count)], "item_id": [item] * count, "timestamp": [1.8e9] * count}


def test_the_fallback_learns_what_is_observed(recommender, world):
    before, fitted = recommender.recommend(["nobody"], k=30), recommender.state.retrieval
    item = before["item_id"].iloc[-1]
    recommender.observe(bought_by_many(item))
    answer = recommender.recommend(["nobody"], k=30)
    assert answer["item_id"].tolist() == [item, *before["item_id"][:-1]]
    assert answer["score"].tolist() == [before["score"].iloc[-1] + 500, *before["score"][:-1]]
    recommender.observe(bought_by_many(item))  # delivered twice
    pd.testing.assert_frame_equal(recommender.recommend(["nobody"], k=30), answer)
    assert fitted.observed is None and recommender.state.retrieval.counts is fitted.counts


def test_similar_items_are_not_indexed_again_for_what_is_observed(recommender, world):
    made, before = recommender.state.similarity_index, recommender.similar_items(world.ids[:3], k=4)
    recommender.observe(bought_by_many(world.ids[2]))
    assert recommender.state.similarity_index is made and recommender.state.version == 1
    pd.testing.assert_frame_equal(recommender.similar_items(world.ids[:3], k=4), before)


def test_observed_events_make_popular_candidates(recommender, world):
    state, here = recommender.state, len(world.ids) - 1
    tasks = full_histories(state.histories, np.array([state.histories.users.find(["u000"])[0]]))
    only_popular = Sources(text_k=0, knn_k=0, popular_k=2, repeats=False)

    def popular() -> list[int]:
        vectors = np.zeros((1, state.items.vectors.shape[1]), np.float32)
        return retrieve(recommender.state.retrieval, tasks, vectors, only_popular, None).item.tolist()

    assert here not in popular() and here not in tasks.dataset.item[tasks.support(0)]
    recommender.observe(bought_by_many(world.ids[here]))
    assert here in popular()


def test_what_the_fallback_learned_outlives_saving_with_and_without_histories(recommender, world, tmp_path):
    recommender.save_pretrained(tmp_path / "before")
    item = recommender.recommend(["nobody"], k=30)["item_id"].iloc[-1]
    recommender.observe(bought_by_many(item))
    expected = recommender.recommend(["nobody"], k=5)
    assert expected["item_id"][0] == item
    for histories in (True, False):
        recommender.save_pretrained(tmp_path / f"after {histories}", histories=histories)
        loaded = Recommender.from_pretrained(tmp_path / f"after {histories}")
        with warnings.catch_warnings(action="ignore", category=MissingHistoriesWarning):
            pd.testing.assert_frame_equal(loaded.recommend(["nobody"], k=5), expected)
        loaded.observe(bought_by_many(item, 600))
        assert loaded.state.retrieval.observed.sum() == 600 + 500 * (not histories)
    without = Recommender.from_pretrained(tmp_path / "before").state.retrieval  # as folders of older releases
    assert without.observed is None and without.popularity is without.counts.popularity


def step(report) -> tuple[int, int]:
    """Rows of an observation, and how many of them were known already."""
    return next((one.rows_in, one.rows_dropped) for one in report.steps if one.name == "already known")
