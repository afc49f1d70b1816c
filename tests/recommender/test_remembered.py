"""A history that is asked for again is not read again, and the answer is the same to the bit."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from llmrec.data.attributes import encode, learn_encoding
from llmrec.data.dataset import EventWeights
from llmrec.data.tasks import full_histories
from llmrec.meta.gate import Choice
from llmrec.recommender import remembered
from llmrec.recommender.adapting import Adapting
from llmrec.recommender.remembered import history_key

ALONE = {"steps": 2, "k": 6}


@pytest.fixture
def counted(monkeypatch, recommender):
    """How often a history was read, by a recommender that remembers none."""
    reads, real = [], Adapting.read
    recommender._state = replace(recommender.state)

    def read(*given):
        reads.append(given)
        return real(*given)

    monkeypatch.setattr(Adapting, "read", read)
    return reads


def one(clicks, user="new1", **changed) -> dict:
    keep = [row for row, name in enumerate(clicks["user_id"]) if name == user]
    return {name: [values[row] for row in keep] for name, values in clicks.items()} | changed


def test_the_second_answer_is_the_first_one_to_the_bit_and_reads_nothing(recommender, clicks, counted):
    first = recommender.recommend(histories=one(clicks), **ALONE)
    pd.testing.assert_frame_equal(recommender.recommend(histories=one(clicks), **ALONE), first, check_exact=True)
    assert len(counted) == 1
    assert recommender.recommend(histories=one(clicks), steps=2, k=3)["item_id"].tolist() == first["item_id"].tolist()[:3]
    assert len(counted) == 1
    fresh = copy.deepcopy(recommender)  # a copy remembers nothing
    pd.testing.assert_frame_equal(fresh.recommend(histories=one(clicks), **ALONE), first, check_exact=True)
    assert len(counted) == 2


def test_another_history_other_steps_and_another_state_are_read(recommender, world, clicks, counted):
    table = one(clicks)
    asked = [table, {**table, "timestamp": [t + 86_400 * (i > 0) for i, t in enumerate(table["timestamp"])]}]
    asked += [{**table, "item_id": [*table["item_id"][:-1], world.ids[-1]]}]
    asked += [{name: values[1:] for name, values in table.items()}]
    for place, given in enumerate(asked):
        recommender.recommend(histories=given, **ALONE)
        assert len(counted) == place + 1
    recommender.recommend(histories=table, k=6, steps=1)
    assert len(counted) == len(asked) + 1
    recommender.observe({"user_id": ["u001"], "item_id": [world.ids[0]], "timestamp": [1.9e9]})
    recommender.recommend(histories=table, **ALONE)
    recommender._state = replace(recommender.state, seed=0)
    recommender.recommend(histories=table, **ALONE)
    assert len(counted) == len(asked) + 3


def test_a_known_user_who_has_new_events_is_read_again(recommender, world, counted):
    recommender.recommend(["u003"], k=6)
    assert len(recommender.recommend(["u003"], k=6)) and len(counted) == 1
    recommender.observe({"user_id": ["u003"], "item_id": [world.ids[1]], "timestamp": [1.9e9]})
    recommender.recommend(["u003"], k=6)
    assert len(counted) == 2


def test_histories_of_a_batch_are_not_kept(recommender, clicks, counted):
    for _ in range(2):
        recommender.recommend(histories=clicks, **ALONE)
    assert len(counted) == 2 and not recommender.state.remembered.known


def test_what_was_not_asked_for_longest_is_forgotten(recommender, world, counted, monkeypatch):
    monkeypatch.setattr(remembered, "MOST", 2)
    for user in ("u000", "u001", "u000", "u002", "u000", "u001"):
        recommender.recommend([user])
    assert len(counted) == 4 and len(recommender.state.remembered.known) == 2


def test_whatever_is_read_of_a_history_is_told_apart(random_shop):
    """Also its first event, which a prompt may be too short for, but a core reads."""
    table = pa.table({"kind": ["a", "b"] * 5})
    one, other = (encode(learn_encoding(table, "users")[0], table, "users")[0].take(np.array([row])) for row in (0, 1))
    tasks = full_histories(random_shop, np.array([3]))
    first = np.arange(random_shop.n_events) == tasks.start[0]

    def over(**changed) -> bytes:
        return history_key(replace(tasks, dataset=replace(random_shop, **changed)), Choice(2))

    keys = [history_key(tasks, Choice(2)), history_key(tasks, Choice(1)), history_key(tasks, Choice(2, adapter="core"))]
    keys += [history_key(replace(tasks, start=tasks.start + 1), Choice(2))]
    keys += [over(item=np.where(first, (random_shop.item + 1) % 10, random_shop.item))]
    keys += [over(time=random_shop.time - first), over(basket=random_shop.basket - first)]
    for name, values in random_shop.attributes.items():
        keys += [over(attributes={**random_shop.attributes, name: np.where(first, 7, values).astype(np.float32)})]
    keys += [over(event_weights=EventWeights((0.5, 0.5)))]
    keys += [
        history_key(replace(tasks, **{name: given}), Choice(2))
        for name in ("user_attributes", "context")
        for given in (one, other)
    ]
    assert len(set(keys)) == len(keys)
    alone = full_histories(random_shop.take(np.array([3])), np.array([0]))  # the same history in another place
    assert history_key(alone, Choice(2)) == keys[0]
