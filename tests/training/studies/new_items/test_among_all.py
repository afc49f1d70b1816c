"""Controls among all items: those of the young in their columns, nothing of what comes later, and a world that we know."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse
from worlds import build

from studies.new_items import among_all, observing, refitted, study
from studies.new_items.among_all import BLENDS, Inputs
from studies.new_items.observing import ATTRIBUTE_KNN, EASE
from studies.new_items.replay import World, before, replay, text

OLD, ITEMS = 60, 63


@pytest.fixture(scope="module")
def shop() -> World:
    """120 users with 6 to 9 baskets, one item each. The last item of each is young: 60 behind item 0, which every second user
    buys, and 61 or 62 behind item 1, which the others buy."""
    rng = np.random.default_rng(5)

    def history(user: int) -> list[list[int]]:
        others = rng.permutation(np.arange(2, OLD))[: 4 + user // 2 % 4].tolist()
        young = 60 if user % 2 else int(rng.integers(61, 63))
        return [*([one] for one in others), [0 if user % 2 else 1], [young]]

    whole = build([history(user) for user in range(120)], ITEMS)
    titles = [f"{['red', 'blue', 'green'][item % 3]} thing {item}" for item in range(OLD)] + [
        "red one",
        "blue one",
        "green one",
    ]
    table = whole.catalogue.table.drop_columns(["title"]).append_column("title", [titles])
    whole = replace(whole, catalogue=replace(whole.catalogue, table=table))
    return World(whole, whole.keep(whole.time < 500), 500.0)


def test_the_columns_of_young_items_are_the_controls_among_the_young(shop, monkeypatch):
    monkeypatch.setattr(refitted, "RIDGE", 5.0)
    monkeypatch.setattr(refitted, "FIRST_ORDER", 0.0)  # all columns are exact
    found, inputs = replay(shop), Inputs(shop)
    events = found.purchase
    expected = observing.inputs(shop, found)
    carried = refitted.attribute_control(shop, refitted.words_of(shop))
    ease, every = refitted.ease(shop, found), refitted.attribute_knn(shop, found, refitted.words_of(shop))
    read = 0
    for held, scores in refitted.ease_of_all(shop, events):
        for some in among_all.by_day(shop, events, held):
            tasks = before(shop, events[some])
            given = inputs.scores(tasks)
            for name, value in expected.items():
                free = ~found.seen[some]
                np.testing.assert_allclose(given[name][:, found.young][free], value[some][free], atol=1e-4)
            assert (given[among_all.NEW] == np.isin(np.arange(ITEMS), found.young)).all()
            np.testing.assert_allclose(scores(tasks)[:, found.young], ease[some], atol=1e-4)
            np.testing.assert_allclose(carried.scores(tasks)[:, found.young], every[some], atol=1e-5)
            read += len(some)
    assert read == len(events) and ease.any() and text(shop, found).any()


def test_who_is_asked_gets_what_goes_with_the_history_and_nothing_of_it(shop, monkeypatch):
    monkeypatch.setattr(refitted, "RIDGE", 5.0)
    whole, found = shop.whole, replay(shop)
    weights = {name: np.eye(len(names))[names.index(study.POPULARITY)] for name, names in BLENDS.items()}
    result = among_all.answered(shop, found.purchase, weights)
    late = (found.k >= 10) & (found.user % 2 == 1)
    assert late.sum() > 10 and (result[study.KNN][late] == 1).all()  # buyers of item 0 take item 60, ahead of all others
    assert (result[EASE][late & (found.day == 800)] == 1).all()
    assert all(result[name] == pytest.approx(result[study.POPULARITY]) for name in BLENDS)
    place = 0
    for event, value in zip(found.purchase.tolist(), result[study.POPULARITY], strict=True):
        count = np.bincount(whole.item[whole.time < whole.time[event]], minlength=ITEMS).astype(float)
        count[whole.item[whole.start[whole.user[event]] : event]] = -1  # items of the history are not ranked
        own = count[whole.item[event]]
        ahead = (count > own).sum() + ((count == own).sum() - 1) / 2
        assert value == pytest.approx(1 / np.log2(2 + ahead) if ahead < 10 else 0)
        place += ahead < 10
    assert place > 0
    assert set(result) == {study.TEXT, study.KNN, study.POPULARITY, study.RECENT, ATTRIBUTE_KNN, EASE, *BLENDS}


def test_nothing_is_read_of_what_comes_later(shop):
    found = replay(shop)
    weights = {name: np.ones(len(names)) for name, names in BLENDS.items()}
    early = found.purchase[found.day < 700]
    item = shop.whole.item.copy()
    item[shop.whole.time >= 700] = 62
    other = World(replace(shop.whole, item=item), shop.train, shop.cut)
    first, second = (among_all.answered(one, early, weights) for one in (shop, other))
    assert len(early) > 20
    for arm, value in first.items():
        np.testing.assert_array_equal(value, second[arm], err_msg=arm)


def test_weights_are_learned_on_purchases_of_any_item(shop, monkeypatch):
    drawn = observing.purchases(shop, np.random.default_rng(0), 1000)
    assert (shop.whole.item[drawn] < OLD).any() and (shop.whole.item[drawn] >= OLD).any()
    assert (shop.whole.time[drawn] >= shop.cut).all() and len(observing.purchases(shop, np.random.default_rng(0), 7)) == 7
    whole = among_all.learned(shop, 0)
    assert {name: len(value) for name, value in whole.items()} == {name: len(names) for name, names in BLENDS.items()}
    assert all(weights[1] > 0 for weights in whole.values())  # of item kNN
    monkeypatch.setattr(among_all, "BLOCK", 30)
    for name, value in among_all.learned(shop, 0).items():
        np.testing.assert_allclose(value, whole[name], rtol=1e-3, atol=1e-3)


def test_the_weights_of_a_choice_are_found():
    rng, weight = np.random.default_rng(0), np.array([1.0, -0.5])
    table = rng.normal(size=(4000, 12, 2))
    seen = np.zeros((4000, 12), bool)
    seen[:, 3] = True  # what would often be chosen, but cannot be
    table[:, 3, 0] += 5
    score = np.where(seen, -np.inf, table @ weight + rng.gumbel(size=(4000, 12)))
    target = score.argmax(1)
    parts = [(table[some], target[some], seen[some]) for some in np.array_split(np.arange(4000), 3)]
    np.testing.assert_allclose(study.fitted_choice(lambda: parts, 2, 4000), weight, atol=0.08)


def test_the_diagonal_of_an_inverse_is_found_up_to_two_percent(monkeypatch):
    rng = np.random.default_rng(0)
    chance = np.where(np.arange(80) < 15, 0.5, 0.02)  # some items go together much, others hardly do
    matrix = sparse.csr_array((rng.random((300, 80)) < chance).astype(np.float64))
    exact = np.diagonal(np.linalg.inv((matrix.T @ matrix).toarray() + 50 * np.eye(80)))
    np.testing.assert_allclose(refitted.inverse_diagonal(matrix, 50.0), exact, rtol=0.02)
    monkeypatch.setattr(refitted, "FIRST_ORDER", np.inf)
    assert (np.abs(refitted.inverse_diagonal(matrix, 50.0) / exact - 1) > 0.05).any()
    monkeypatch.setattr(refitted, "FIRST_ORDER", 0.0)
    np.testing.assert_allclose(refitted.inverse_diagonal(matrix, 50.0), exact, rtol=1e-9)


def test_a_column_that_is_exact_long_before_the_others_stays_so():
    rng = np.random.default_rng(0)
    matrix = np.zeros((60, 40), np.float32)
    matrix[:, :30] = rng.random((60, 30)) < 0.5
    matrix[:, 30:35] = 1e-3 * rng.random((60, 5))  # hardly goes with anything
    gram = (matrix.T @ matrix + np.eye(40)).astype(np.float32)
    wanted = np.eye(40, dtype=np.float32)[:, [2, 33, 39]]
    found = refitted.solved(sparse.csr_array(gram), wanted, np.zeros_like(wanted))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.linalg.inv(gram.astype(np.float64))[:, [2, 33, 39]], atol=1e-4)
