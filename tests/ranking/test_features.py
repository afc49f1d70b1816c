"""What a dot product does not see, against a loop over one candidate at a time."""

from __future__ import annotations

from dataclasses import replace
from math import log, log1p

import numpy as np
import pytest
from scipy import sparse

from llmrec.data.dataset import Dataset
from llmrec.data.tasks import Tasks, first_baskets, sample_windows
from llmrec.evaluation.item_item import Markov, fit_markov
from llmrec.evaluation.text_match import words
from llmrec.index.candidates import Candidates, neighbours
from llmrec.ranking.features import DATES, FEATURES, PLACES, Counts, count, features


@pytest.fixture
def tasks(random_shop) -> Tasks:
    return sample_windows(random_shop, np.arange(20), (1, 4), 2, 30, np.random.default_rng(0))


@pytest.fixture
def counts() -> Counts:
    rng = np.random.default_rng(1)
    together = sparse.csr_array(np.where(rng.random((10, 10)) < 0.4, rng.random((10, 10)), 0).astype(np.float32))
    popularity, repurchase, price = rng.integers(0, 30, 10).astype(np.float32), *rng.normal(size=(2, 10)).astype(np.float32)
    words = np.where(rng.random((10, 7)) < 0.5, rng.random((10, 7)), 0)
    words[1:] /= np.maximum(np.linalg.norm(words[1:], axis=1, keepdims=True), 1e-9)
    words[0] = 0  # an item without words
    return Counts(
        popularity, 50, repurchase, together, price, sparse.csr_array(words), markov(rng, 3), markov(rng, 10), *places(rng)
    )


def markov(rng: np.random.Generator, last: int) -> Markov:
    follows = sparse.csr_array(np.where(rng.random((10, 10)) < 0.4, rng.random((10, 10)), 0))
    return Markov(follows, rng.random(10), rng.random(10) / 10, last, 0.8)


def places(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    place = rng.normal(size=(len(PLACES), 10)).astype(np.float32)
    return place, rng.normal(size=(DATES, len(PLACES), 10)).astype(np.float32), np.sort(rng.random(DATES)) * 1e9


def some_candidates(tasks: int, seed: int = 2) -> Candidates:
    """0 to 10 of 10 items for each task; the first task has none."""
    rng = np.random.default_rng(seed)
    chosen = [np.flatnonzero(rng.random(10) < 0.6 * (t > 0)) for t in range(tasks)]
    start = np.concatenate([[0], np.cumsum([len(items) for items in chosen])])
    return Candidates(start, np.concatenate(chosen).astype(np.int32), np.ones(start[-1], np.uint8))


def slow(tasks: Tasks, t: int, item: int, counts: Counts) -> dict[str, float]:
    data, rows = tasks.dataset, list(range(tasks.start[t], tasks.split[t]))
    baskets = [{int(data.item[r]) for r in rows if data.basket[r] == number} for number in sorted(set(data.basket[rows]))]
    times = {j: sum(j in basket for basket in baskets) for j in range(10)}
    back = [place for place, basket in enumerate(reversed(baskets)) if item in basket]
    together, words = counts.together.toarray(), counts.words.toarray()
    here = [n for n, had in enumerate(PLACES) if had <= data.basket[rows[-1]] + 1][-1]
    return {
        "times": log1p(times[item]),
        "had": float(times[item] > 0),
        "recency": 1 / (1 + back[0]) if back else 0.0,
        "popularity": log((counts.popularity[item] + 0.5) / (counts.baskets + 1)),
        "repurchase": float(counts.repurchase[item]) if back else 0.0,
        "together": log1p(sum(log1p(times[j]) * together[j, item] for j in range(10))),
        "together_lately": log1p(
            sum(0.8**back * together[j, item] for back, basket in enumerate(reversed(baskets)) for j in basket)
        ),
        "wording": log1p(
            sum(
                0.8**back * float(words[j] @ words[item])
                for back, basket in enumerate(reversed(baskets))
                for j in basket - {item}
            )
        ),
        "follows": follows(counts.near, baskets, item),
        "follows_wide": follows(counts.wide, baskets, item),
        "place": float(counts.place[here, item]),
        "lately": float(np.interp(data.time[rows[-1]], counts.dates, counts.lately[:, here, item])),
        "price": float(counts.log_price[item]),
        "price_gap": abs(float(counts.log_price[item]) - np.mean([counts.log_price[data.item[r]] for r in rows])),
        "known": log1p(len(baskets)),
        "events": log1p(len(rows)),
    }


def follows(markov: Markov, baskets: list[set[int]], item: int) -> float:
    """What each item of the last baskets says of `item`, weighed .8 per basket back."""
    chance = 0.0
    for back, basket in enumerate(reversed(baskets[-markov.last :])):
        for j in basket:
            chance += 0.8**back * (markov.follows[j, item] + markov.taken[j] * markov.base[item])
    return log1p(chance / markov.base.mean())


def test_features_against_a_loop(tasks, counts):
    found = some_candidates(len(tasks))
    table = features(tasks, found, counts)
    assert table.shape == (len(found.item), len(FEATURES)) and table.dtype == np.float32
    for row, task, item in zip(table, found.task, found.item, strict=True):
        expected = slow(tasks, int(task), int(item), counts)
        assert dict(zip(FEATURES, row.tolist(), strict=True)) == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_each_task_is_as_if_alone(tasks, counts):
    found = some_candidates(len(tasks))
    together = features(tasks, found, counts)
    for t in range(len(tasks)):
        part = slice(found.start[t], found.start[t + 1])
        alone = Candidates(np.array([0, part.stop - part.start]), found.item[part], found.source[part])
        np.testing.assert_allclose(features(tasks.take(np.array([t])), alone, counts), together[part], rtol=1e-6, atol=1e-6)


def test_no_feature_changes_with_the_query(shop, counts):
    known = [[[1, 2], [3, 1]], [[4], [5, 6]]]
    found = some_candidates(3, seed=4)
    found = Candidates(found.start[1:] - found.start[1], found.item, found.source)
    tables = []
    for later in ([[0, 7]], [[8], [1], [9]]):
        data = shop([baskets + later for baskets in known], 10)
        tasks = first_baskets(data, np.arange(2), 2, 1)
        tables.append(features(tasks, found, counts))
        tables.append(features(Tasks(data, tasks.start, tasks.split, tasks.split), found, counts))
    assert all(np.array_equal(table, tables[0]) for table in tables)


def test_without_co_occurrence_and_without_candidates(tasks, counts):
    none = replace(counts, together=sparse.csr_array((10, 10), dtype=np.float32))
    table = features(tasks, some_candidates(len(tasks)), none)
    assert (table[:, FEATURES.index("together")] == 0).all()
    empty = Candidates(np.zeros(len(tasks) + 1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.uint8))
    assert features(tasks, empty, counts).shape == (0, len(FEATURES))


# ------------------------------------------------------------------------------------------------------------ counts


def test_counts_against_a_loop(random_shop):
    users, data = np.arange(3, 15), random_shop
    found = count(data, users, 2, np.random.default_rng(0))
    baskets = [
        {int(item) for item in data.item[(data.user == user) & (data.basket == number)]}
        for user in users
        for number in range(data.n_baskets[user])
    ]
    assert found.popularity.tolist() == [sum(item in basket for basket in baskets) for item in range(10)]
    assert found.popularity.dtype == np.float32
    assert found.baskets == len(baskets)
    assert (found.together != neighbours(data, users)).nnz == 0
    mine = np.isin(data.user, users) & np.isfinite(data.attributes["price"])
    prices = np.log1p(data.attributes["price"][mine])
    expected = [prices[data.item[mine] == item].mean() - prices.mean() for item in range(10)]
    np.testing.assert_allclose(found.log_price, expected, rtol=1e-4, atol=1e-5)


def test_what_follows_is_the_windowed_markov_and_place_is_popularity_there(random_shop):
    users, data = np.arange(3, 15), random_shop
    found = count(data, users, 2, np.random.default_rng(0))
    for markov, last in ((found.near, 3), (found.wide, 10)):
        assert (markov.follows != fit_markov(data, users, last=last, horizon=2, decay=0.8).follows).nnz == 0
    overall = np.zeros(10) + 0.5
    for row, had in enumerate([0, *PLACES[:4]]):
        here = np.zeros(10)
        for user in users:
            for number in range(data.n_baskets[user]):
                basket = np.unique(data.item[(data.user == user) & (data.basket == number)])
                if row == 0:
                    overall[basket] += 1
                elif had <= number < had + 2:
                    here[basket] += 1
        if row:
            weight = 0.1 * here.sum() + 10
            expected = (here + weight * overall / overall.sum()) / (here.sum() + weight)
            np.testing.assert_allclose(np.exp(found.place[row - 1]), expected, rtol=1e-5)
            assert np.exp(found.place[row - 1]).sum() == pytest.approx(1)


def test_lately_is_what_was_taken_at_the_time(shop):
    """Everybody's second basket holds item 0 in the first half of the period and item 1 in the second."""
    data = shop([[[2], [int(user >= 40)]] for user in range(80)], 3)
    time = data.user.astype(np.float64) * 1e6 + data.basket
    data = replace(data, time=time)
    found = count(data, np.arange(80), 1, np.random.default_rng(0))
    assert (np.diff(found.dates) > 0).all()
    share = np.exp(found.lately[:, 0, :])
    assert (share[:4, 0] > share[:4, 1]).all() and (share[4:, 1] > share[4:, 0]).all()
    np.testing.assert_allclose(np.exp(found.place[0, :2]), np.exp(found.place[0, :2]).mean(), rtol=1e-6)
    np.testing.assert_allclose(share.sum(1), 1, rtol=1e-5)


def test_words_are_those_of_title_and_category(random_shop):
    found = count(random_shop, np.arange(20), 2, np.random.default_rng(0))
    length = np.sqrt(found.words.multiply(found.words).sum(axis=1))
    assert found.words.shape[0] == 10 and np.all(np.isclose(length, 1) | (length == 0))
    titles = [set(words(str(title))) for title in random_shop.catalogue.column("title")]
    shared = (found.words @ found.words.T).toarray() > 0
    for i in range(10):
        for j in range(10):
            everywhere = set.intersection(*titles)  # a word of all titles tells nothing
            assert shared[i, j] == bool((titles[i] & titles[j]) - everywhere)


def test_repurchase_against_a_loop(random_shop):
    part = random_shop.take(np.arange(3, 15))
    windows = sample_windows(part, np.arange(12), (1, 1), 2, 20_000, np.random.default_rng(0))
    chances, hits, item = np.zeros(10), np.zeros(10), part.item.tolist()
    for start, split, stop in zip(windows.start, windows.split, windows.stop, strict=True):
        had, later = set(item[start:split]), set(item[split:stop])
        chances[list(had)] += 1
        hits[list(had & later)] += 1
    mean = (hits.sum() + 1) / (chances.sum() + 2)
    rate = (hits + 20 * mean) / (chances + 20)
    found = count(random_shop, np.arange(3, 15), 2, np.random.default_rng(0)).repurchase
    np.testing.assert_allclose(found, np.log(rate / (1 - rate)), rtol=1e-4)


def test_only_training_users_are_counted(random_shop):
    item = random_shop.item.copy()
    item[random_shop.start[12] :] = 0
    fields = {name: getattr(random_shop, name) for name in random_shop.__dataclass_fields__}
    one, other = (
        count(data, np.arange(12), 2, np.random.default_rng(0)) for data in (random_shop, Dataset(**{**fields, "item": item}))
    )
    for name in ("popularity", "repurchase", "log_price", "place", "lately", "dates"):
        assert np.array_equal(getattr(one, name), getattr(other, name))
    assert one.baskets == other.baskets and (one.together != other.together).nnz == 0


def test_nothing_to_count(shop):
    data = shop([[[0, 1]], [[1]]], 3)
    found = count(data, np.arange(2), 2, np.random.default_rng(0))
    assert found.repurchase.tolist() == [0, 0, 0] and found.log_price.tolist() == [0, 0, 0]
    assert found.popularity.tolist() == [1, 2, 0]
