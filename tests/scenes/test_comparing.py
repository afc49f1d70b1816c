"""The comparison of a new scene on its first customers: who is asked, by what the others said, and against what."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from llmrec.errors import UnknownItemError
from llmrec.metrics.ranking import ndcg
from llmrec.scenes import comparing
from llmrec.scenes.comparing import comparison, held_ndcg
from llmrec.scenes.opening import zero_shot
from llmrec.scenes.worlds import last_steps


@pytest.mark.slow
def test_each_customer_is_ranked_for_by_what_the_others_said(shop, known):
    """By hand, fold by fold: popularity counts the others alone, and purchased items leave the ranking."""
    world = shop(7, True)
    scene, users = zero_shot(known, world.shelf), np.arange(32)
    values = held_ndcg(scene, world.dataset, users, np.random.default_rng(5), again=False)
    mixed = np.random.default_rng(5).permutation(users)
    popular, zero = [], []
    for fold in range(4):
        asked, rest = mixed[fold::4], np.setdiff1d(users, mixed[fold::4])
        tasks = last_steps(world.dataset, asked, world.shelf.among)
        baskets = {(user, basket, item) for user in rest for basket, item in events_of(world.dataset, user)}
        count = np.bincount([item for _, _, item in baskets], minlength=world.dataset.n_items).astype(float)
        allowed = np.ones((len(tasks), world.dataset.n_items), bool)
        for task in range(len(tasks)):
            allowed[task, world.dataset.item[tasks.support(task)]] = False
        popular.append(ndcg(np.tile(count, (len(tasks), 1)), tasks.relevant(), 10, allowed))
        zero.append(ndcg(scene.scores(tasks), tasks.relevant(), 10, allowed))
    np.testing.assert_allclose(values["popularity"], np.concatenate(popular))
    np.testing.assert_allclose(values["zero steps"], np.concatenate(zero))
    assert len(values["adapted"]) == 32


def events_of(dataset, user):
    rows = range(dataset.start[user], dataset.start[user + 1])
    return [(dataset.basket[row], dataset.item[row]) for row in rows]


@pytest.mark.slow
def test_habits_that_no_text_tells_are_learned_from_first_customers(shop, known, aimless):
    world = shop(7, True)
    values = held_ndcg(zero_shot(known, world.shelf), world.dataset, np.arange(64), np.random.default_rng(0), again=False)
    table = comparison(values, np.random.default_rng(0)).to_pylist()
    assert [row["method"] for row in table] == ["adapted", "zero steps", "popularity"]
    assert table[1]["minus_low"] > 0 and table[0]["adapted_minus"] is None  # better than the texts, which say nothing here
    assert table[1]["adapted_minus"] == pytest.approx(table[0]["ndcg@10"] - table[1]["ndcg@10"])
    assert {row["customers"] for row in table} == {64}
    world = shop(7, False)
    values = held_ndcg(zero_shot(aimless, world.shelf), world.dataset, np.arange(16), np.random.default_rng(0), again=False)
    assert comparison(values, np.random.default_rng(0)).to_pylist()[1]["minus_low"] <= 0


@pytest.mark.slow
def test_the_method_takes_tables_and_changes_nothing(fitted, newcomer):
    events, items = newcomer
    few = {name: values[: 6 * 12] for name, values in events.items()}
    scene = fitted.open(items).adapt(few)
    before = scene.recommend(histories=few, k=5)
    found = pd.DataFrame(scene.compare(few))
    assert found["customers"].tolist() == [12, 12, 12] and (found["low"] <= found["ndcg@10"]).all()
    pd.testing.assert_frame_equal(pd.DataFrame(fitted.open(items).compare(few)), found)  # whatever it is adapted to
    pd.testing.assert_frame_equal(pd.DataFrame(scene.recommend(histories=few, k=5)), pd.DataFrame(before))
    with pytest.raises(UnknownItemError):
        scene.compare({"user_id": [1], "item_id": ["?"], "timestamp": [1.0]})


def test_nobody_to_ask_gives_no_row(fitted, newcomer):
    events, items = newcomer
    first = {name: values[::6] for name, values in events.items()}  # one basket each
    assert len(fitted.open(items).compare(first)) == 0
    one = {name: values[:6] for name, values in events.items()}
    assert len(fitted.open(items).compare(one)) == 0
    assert comparing.K == 10
