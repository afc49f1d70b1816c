"""Which texts are taken after which, against a loop, and where the answer is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import sparse

from llmrec.data.tasks import Tasks, first_baskets, sample_windows
from llmrec.ranking import text_cca
from llmrec.ranking.text_cca import fit_flow, item_features


def features(n: int, size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, size)).astype(np.float32)


def mean_of(rows: np.ndarray, baskets: list[set[int]]) -> np.ndarray:
    """Mean features of a history, a basket weighing .9 of the one after it."""
    weight = [(0.9**back, item) for back, basket in enumerate(reversed(baskets)) for item in basket]
    return sum(w * rows[item].astype(np.float64) for w, item in weight) / sum(w for w, _ in weight)


def baskets_of(data, user: int) -> list[set[int]]:
    mine = data.user == user
    return [set(data.item[mine & (data.basket == number)].tolist()) for number in range(data.n_baskets[user])]


def test_it_is_the_regularised_regression_between_a_history_and_what_comes_next(random_shop):
    rows, users = features(10, 6), np.arange(3, 15)
    moments = []
    for user in users:
        baskets = baskets_of(random_shop, user)
        moments += [(mean_of(rows, baskets[:k]), mean_of(rows, [baskets[k]])) for k in range(1, len(baskets))]
    before, after = (np.array(side) for side in zip(*moments, strict=True))
    cov = np.cov(np.concatenate([before, after], 1).T, bias=True)
    s_zz, s_zf, s_ff = cov[:6, :6], cov[:6, 6:], cov[6:, 6:]
    inner = np.linalg.inv(s_zz + 2 * np.trace(s_zz) / 6 * np.eye(6)) @ s_zf
    inner = inner @ np.linalg.inv(s_ff + 2 * np.trace(s_ff) / 6 * np.eye(6))
    found = fit_flow(random_shop, users, rows, np.random.default_rng(0))
    tasks = sample_windows(random_shop, np.arange(20), (1, 4), 2, 30, np.random.default_rng(0))
    scores = found.scores(tasks)
    for t in range(len(tasks)):
        item, basket = (values[tasks.support(t)] for values in (random_shop.item, random_shop.basket))
        known = [set(item[basket == number].tolist()) for number in np.unique(basket)]
        expected = (mean_of(rows, known) - before.mean(0)) @ inner @ (rows - after.mean(0)).T
        np.testing.assert_allclose(scores[t], expected, rtol=1e-3, atol=1e-5)


def test_a_text_that_follows_another_is_expected_of_items_that_nobody_had(shop):
    """Red is followed by green, blue by white, whatever the item; the last item of each colour was never had."""
    rng = np.random.default_rng(0)
    colour = np.arange(24) % 4  # red, green, blue, white
    rows = (np.eye(4)[colour] + 0.05 * rng.normal(size=(24, 4))).astype(np.float32)
    had = [np.flatnonzero(colour[:20] == c) for c in range(4)]
    history = [[[int(rng.choice(had[c]))], [int(rng.choice(had[c + 1]))]] for c in rng.choice([0, 2], 300)]
    data = shop(history, 24)
    found = fit_flow(data, np.arange(300), rows, rng)
    tasks = first_baskets(data, np.arange(300), 1, 1)
    scores = found.scores(tasks)[:, 20:]
    expected = colour[data.item[tasks.split]]
    assert (scores.argmax(1) == expected).all()


def test_alike_texts_have_alike_scores_and_a_text_alone_decides(random_shop):
    rows = features(10, 5)
    rows[9] = rows[4]
    found = fit_flow(random_shop, np.arange(20), rows, np.random.default_rng(0))
    tasks = sample_windows(random_shop, np.arange(20), (1, 4), 2, 30, np.random.default_rng(0))
    scores = found.scores(tasks)
    np.testing.assert_allclose(scores[:, 9], scores[:, 4], rtol=1e-6)


def test_only_the_training_users_and_only_the_support_are_read(random_shop):
    rows = features(10, 5)
    item = random_shop.item.copy()
    item[random_shop.start[12] :] = 0
    one, other = (
        fit_flow(data, np.arange(12), rows, np.random.default_rng(0)) for data in (random_shop, replace(random_shop, item=item))
    )
    assert np.array_equal(one.ask, other.ask) and np.array_equal(one.answer, other.answer)
    tasks = first_baskets(random_shop, np.arange(20), 1, 1)
    later = Tasks(random_shop, tasks.start, tasks.split, tasks.split)
    assert np.array_equal(one.scores(tasks), one.scores(later))


def test_nothing_is_said_without_a_history_or_without_anybody_who_came_back(shop, random_shop):
    found = fit_flow(random_shop, np.arange(20), features(10, 5), np.random.default_rng(0))
    tasks = first_baskets(random_shop, np.arange(4), 1, 1)
    empty = Tasks(random_shop, tasks.split, tasks.split, tasks.stop)
    assert not found.scores(empty).any()
    once = shop([[[0, 1]], [[1]]], 10)
    nothing = fit_flow(once, np.arange(2), features(10, 5), np.random.default_rng(0))
    assert nothing.scores(tasks).shape == (4, 10) and not nothing.scores(tasks).any()


def test_some_of_the_moments_and_some_of_the_directions(random_shop, monkeypatch):
    rows, users = features(10, 6), np.arange(20)
    whole = fit_flow(random_shop, users, rows, np.random.default_rng(0))
    monkeypatch.setattr(text_cca, "DIRECTIONS", 2)
    few = fit_flow(random_shop, users, rows, np.random.default_rng(0))
    np.testing.assert_allclose(np.abs(few.answer), np.abs(whole.answer[:, :2]), rtol=1e-4, atol=1e-6)  # the strongest ones
    monkeypatch.setattr(text_cca, "MOMENTS", 10)
    assert not np.allclose(fit_flow(random_shop, users, rows, np.random.default_rng(0)).answer, few.answer)
    assert len(text_cca._moments(random_shop, np.random.default_rng(0))) == 10


def test_the_features_are_text_and_words_of_one_weight():
    words = sparse.csr_array(np.array([[1.0, 0, 0], [0, 0.6, 0.8], [0, 0, 0]]))
    found = item_features(np.array([[3.0, 4.0], [0.0, 2.0], [1.0, 0.0]], np.float32), words, np.random.default_rng(0))
    assert found.dtype == np.float32 and found.shape == (3, 2 + text_cca.WORD_AXES)
    np.testing.assert_allclose(np.linalg.norm(found[:, :2], axis=1), 0.5**0.5, rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found[:, 2:], axis=1), [0.5**0.5, 0.5**0.5, 0], rtol=1e-5)
    np.testing.assert_allclose(found[0, :2], np.array([0.6, 0.8]) / 2**0.5, rtol=1e-6)
    assert abs(float(found[0, 2:] @ found[1, 2:])) < 0.15  # words that have nothing in common
