"""Controls: constants are chosen on training users, and one EASE of many items is that of the most purchased ones."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec.data.tasks import first_baskets
from llmrec.evaluation import controls
from llmrec.evaluation.controls import LARGE, RIDGES, eases, fit_controls, fit_popular_ease, fit_tuned_controls, item_knns
from llmrec.models.item_item import fit_ease, fit_item_knn

USERS = 40


@pytest.fixture(scope="module")
def buyers(shop):
    """40 users of 20 items buy one item of their half in each of 6 baskets, and each of them again in the next basket."""
    rng = np.random.default_rng(0)
    history = []
    for user in range(USERS):
        items = (rng.permutation(10)[:5] + 10 * (user % 2)).tolist()
        history.append([[items[0]], *([items[place], items[place + 1]] for place in range(4)), [items[4]]])
    return shop(history, 20)


def scores_of(baselines, tasks):
    return [one.scores(tasks) for one in baselines]


def test_what_is_fitted_at_once_is_what_one_by_one_would_be(buyers):
    users = np.arange(USERS)
    tasks = first_baskets(buyers, users, 2, 1)
    knns = [fit_item_knn(buyers, users, shrink=s, log=True, include_self=o) for s in (0.0, 30.0) for o in (False, True)]
    ones = [fit_ease(buyers, users, ridge, log=True, repeat=own) for ridge in RIDGES for own in (0.0, 0.5, 2.0)]
    for together, single in ((item_knns(buyers, users), knns), (eases(buyers, users), ones)):
        for some, other in zip(scores_of(together, tasks), scores_of(single, tasks), strict=True):
            np.testing.assert_array_equal(some, other)


def test_ease_of_the_most_purchased_items_is_ease_where_these_are_all(buyers):
    users = np.arange(USERS)
    tasks = first_baskets(buyers, users, 2, 1)
    whole = fit_ease(buyers, users, 300.0, log=True).scores(tasks)
    np.testing.assert_allclose(fit_popular_ease(buyers, users, 300.0, 20).scores(tasks), whole, atol=1e-6)
    few = fit_popular_ease(buyers, users, 300.0, 8)
    assert len(few.items) == 8
    bought = [len(np.unique(buyers.user[buyers.item == item])) for item in range(20)]
    assert min(bought[item] for item in few.items) >= max(bought[item] for item in range(20) if item not in few.items)
    rest = np.setdiff1d(np.arange(20), few.items)
    assert not few.scores(tasks)[:, rest].any() and few.scores(tasks)[:, few.items].any()


def test_where_people_buy_again_the_control_that_repeats_is_chosen_for_all_items(buyers):
    found, constants = fit_tuned_controls(buyers, (1, 2), 1, np.random.default_rng(0))
    assert list(found) == ["popularity", "most_frequent", "item_knn", "ease"]
    assert constants["item_knn"]["all"]["include_self"] is True
    assert constants["ease"]["all"]["repeat"] > 0
    users = np.arange(USERS)
    tasks = first_baskets(buyers, users, 2, 1)
    again = constants["item_knn"]["all"]  # fitted anew on all training users, those of the choice among them
    np.testing.assert_array_equal(found["item_knn"][0](tasks), fit_item_knn(buyers, users, **again).scores(tasks))


def test_constants_of_a_large_catalogue_are_not_chosen(buyers, monkeypatch):
    monkeypatch.setattr(controls, "LARGE", 20)
    monkeypatch.setattr(controls, "LARGEST", 19)
    assert len(eases(buyers, np.arange(USERS))) == 1 < LARGE
    found, constants = fit_tuned_controls(buyers, (1,), 1, np.random.default_rng(0))
    assert constants["ease"]["all"] == constants["ease"]["new"] == {"ridge": 3000.0, "most": 19}
    assert found["ease"][0] == found["ease"][1]


def test_the_demos_controls_have_one_choice_for_all_items_and_one_for_new_ones(buyers):
    train, rest = np.arange(30), np.arange(30, USERS)
    found = fit_controls(buyers, train, {2: first_baskets(buyers, rest, 2, 1)})
    assert list(found) == ["popularity", "most_frequent", "item_knn", "ease"]
    assert found["item_knn"][0].__self__.similarity[0, 0] == 1.0


def test_of_a_huge_catalogue_item_knn_has_few_neighbours_and_its_constants_are_not_chosen(buyers, monkeypatch):
    monkeypatch.setattr(controls, "HUGE", 20)
    _, constants = fit_tuned_controls(buyers, (1,), 1, np.random.default_rng(0))
    assert constants["item_knn"]["all"] == {"neighbours": 50, "log": True, "include_self": True}
    assert constants["item_knn"]["new"]["include_self"] is False
