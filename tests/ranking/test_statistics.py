"""What is counted over training users, against a loop."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from scipy import sparse

from llmrec.data.dataset import Dataset, EventWeights
from llmrec.data.tasks import sample_windows
from llmrec.index.candidates import neighbours
from llmrec.models.item_item import Markov, fit_ease, fit_markov
from llmrec.models.text_match import words
from llmrec.ranking import statistics
from llmrec.ranking.cold_items import alike
from llmrec.ranking.statistics import (
    POSITIONS,
    ItemStatistics,
    Texts,
    fit_statistics,
    read_texts,
    with_baskets,
    with_vectors,
)
from llmrec.ranking.text_cca import Flow


def texts(data: Dataset) -> Texts:
    rng = np.random.default_rng(5)
    return with_vectors(read_texts(data), rng.normal(size=(data.n_items, 6)).astype(np.float32), rng)


def test_baskets_that_come_later_count_as_those_that_were_fitted(random_shop):
    """Part by part and at once, dislikes among them."""
    rng, users = np.random.default_rng(0), np.arange(3, 15)
    weight = rng.choice([0.0, 0.5, 1.0], random_shop.n_events).astype(np.float32)
    for data in (random_shop, replace(random_shop, attributes={**random_shop.attributes, "weight": weight})):
        expected = fit_statistics(data, users, 2, texts(data), rng).popularity
        found = nothing = np.zeros(data.n_items)
        for part in np.split(users, [2, 7, 7]):
            found = with_baskets(found, data.take(part))
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        assert not nothing.any() and found.dtype == np.float64


def test_counts_against_a_loop(random_shop):
    users, data = np.arange(3, 15), random_shop
    found = fit_statistics(data, users, 2, texts(data), np.random.default_rng(0))
    baskets = [largest(data, user, number) for user in users for number in range(data.n_baskets[user])]
    np.testing.assert_allclose(found.popularity, [sum(basket.get(item, 0.0) for basket in baskets) for item in range(10)], 1e-5)
    assert found.popularity.dtype == np.float32
    assert found.baskets == len(baskets)
    assert (found.cooccurrence != neighbours(data, users)).nnz == 0
    mine = np.isin(data.user, users) & np.isfinite(data.attributes["price"])
    prices = np.log1p(data.attributes["price"][mine])
    expected = [prices[data.item[mine] == item].mean() - prices.mean() for item in range(10)]
    np.testing.assert_allclose(found.log_price, expected, rtol=1e-4, atol=1e-5)


def largest(data: Dataset, user: int, number: int) -> dict[int, float]:
    """What each item of a basket weighs most, one event at a time."""
    found: dict[int, float] = {}
    for event in np.flatnonzero((data.user == user) & (data.basket == number)):
        found[int(data.item[event])] = max(found.get(int(data.item[event]), 0.0), float(data.sample_weight[event]))
    return found


def test_what_is_spoken_for_is_ease_with_the_largest_weights_of_each_column(random_shop, monkeypatch):
    users, data = np.arange(3, 15), random_shop
    worth: dict[tuple[int, int], float] = {}
    for user, item, counts in zip(data.user, data.item, data.sample_weight, strict=True):
        if user in users:
            worth[user, item] = max(worth.get((user, item), 0.0), float(counts))
    held = sum(counts**2 for counts in worth.values())
    whole = fit_ease(data, users, 5.0 * held / 10, exact=False).weight
    assert np.array_equal(fit_statistics(data, users, 2, texts(data), np.random.default_rng(0)).ease.toarray(), whole)
    monkeypatch.setattr(statistics, "EASE_WEIGHTS_PER_ITEM", 3)
    assert np.array_equal(fit_statistics(data, users, 2, texts(data), np.random.default_rng(0)).ease.toarray(), whole)
    monkeypatch.setattr(statistics, "EASE_WEIGHTS", 47)  # four for each of ten columns
    few = fit_statistics(data, users, 2, texts(data), np.random.default_rng(0)).ease.toarray()
    for column in range(10):
        largest = np.argsort(-np.abs(whole[:, column]))[:4]
        assert np.array_equal(few[largest, column], whole[largest, column])
        assert np.count_nonzero(few[:, column]) == 4
    assert statistics.extent(data) == "10 items"


def test_of_many_items_ease_knows_the_most_purchased(random_shop, monkeypatch):
    """It says of them what EASE says in a shop that sells nothing else, and of the others nothing."""
    users, data = np.arange(3, 15), random_shop
    part = data.take(users)
    worth = np.zeros((len(users), 10))
    for user, item, counts in zip(part.user, part.item, part.sample_weight, strict=True):
        worth[user, item] = max(worth[user, item], counts)
    most = np.sort(np.argsort(-(worth**2).sum(0), kind="stable")[:6])
    monkeypatch.setattr(statistics, "EASE_MAX_ITEMS", 6)
    assert statistics.extent(data) == "10 items; the 6 most purchased of them by EASE"
    found = fit_statistics(data, users, 2, texts(data), np.random.default_rng(0)).ease.toarray()
    held = worth[:, most]
    gram = held.T @ held + 5.0 * (held**2).sum() / 6 * np.eye(6)
    inverse = np.linalg.inv(gram)
    expected = -inverse / np.diag(inverse)
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(found[np.ix_(most, most)], expected, atol=1e-5)
    rest = np.setdiff1d(np.arange(10), most)
    assert not found[rest].any() and not found[:, rest].any()


def test_what_follows_is_the_windowed_markov_and_place_is_popularity_there(random_shop):
    users, data = np.arange(3, 15), random_shop
    found = fit_statistics(data, users, 2, texts(data), np.random.default_rng(0))
    for markov, last in ((found.markov_short, 3), (found.markov_long, 10)):
        assert (markov.follows != fit_markov(data, users, last=last, horizon=2, decay=0.8).follows).nnz == 0
    overall = np.zeros(10) + 0.5
    for row, had in enumerate([0, *POSITIONS[:4]]):
        here = np.zeros(10)
        for user in users:
            for number in range(data.n_baskets[user]):
                for item, weight in largest(data, user, number).items():
                    if row == 0:
                        overall[item] += weight
                    elif had <= number < had + 2:
                        here[item] += weight
        if row:
            weight = 0.1 * here.sum() + 10
            expected = (here + weight * overall / overall.sum()) / (here.sum() + weight)
            np.testing.assert_allclose(np.exp(found.position_popularity[row - 1]), expected, rtol=1e-5)
            assert np.exp(found.position_popularity[row - 1]).sum() == pytest.approx(1)


def test_lately_is_what_was_taken_at_the_time(shop):
    """Everybody's second basket holds item 0 in the first half of the period and item 1 in the second."""
    data = shop([[[2], [int(user >= 40)]] for user in range(80)], 3)
    time = data.user.astype(np.float64) * 1e6 + data.basket
    data = replace(data, time=time)
    found = fit_statistics(data, np.arange(80), 1, texts(data), np.random.default_rng(0))
    assert (np.diff(found.dates) > 0).all()
    share = np.exp(found.recent_position_popularity[:, 0, :])
    assert (share[:4, 0] > share[:4, 1]).all() and (share[4:, 1] > share[4:, 0]).all()
    np.testing.assert_allclose(
        np.exp(found.position_popularity[0, :2]), np.exp(found.position_popularity[0, :2]).mean(), rtol=1e-6
    )
    np.testing.assert_allclose(share.sum(1), 1, rtol=1e-5)


def test_words_are_those_of_title_and_category(random_shop):
    found = fit_statistics(random_shop, np.arange(20), 2, texts(random_shop), np.random.default_rng(0))
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
    assert part.sample_weight.max() > 1 > part.sample_weight.min(), "some events count more than 1, and for a chance no more"
    for start, split, stop in zip(windows.start, windows.split, windows.stop, strict=True):
        for one in set(item[start:split]):
            chances[one] += 1
            hits[one] += max((min(part.sample_weight[row], 1.0) for row in range(split, stop) if item[row] == one), default=0.0)
    mean = (hits.sum() + 1) / (chances.sum() + 2)
    rate = (hits + 20 * mean) / (chances + 20)
    found = fit_statistics(random_shop, np.arange(3, 15), 2, texts(random_shop), np.random.default_rng(0)).repurchase
    np.testing.assert_allclose(found, np.log(rate / (1 - rate)), rtol=1e-4)


def test_only_training_users_are_counted(random_shop):
    item = random_shop.item.copy()
    item[random_shop.start[12] :] = 0
    fields = {name: getattr(random_shop, name) for name in random_shop.__dataclass_fields__}
    one, other = (
        fit_statistics(data, np.arange(12), 2, texts(data), np.random.default_rng(0))
        for data in (random_shop, Dataset(**{**fields, "item": item}))
    )
    for name in ("popularity", "repurchase", "log_price", "position_popularity", "recent_position_popularity", "dates"):
        assert np.array_equal(getattr(one, name), getattr(other, name))
    assert one.baskets == other.baskets and (one.cooccurrence != other.cooccurrence).nnz == 0


def test_nothing_to_count(shop):
    data = shop([[[0, 1]], [[1]]], 3)
    found = fit_statistics(data, np.arange(2), 2, texts(data), np.random.default_rng(0))
    assert found.repurchase.tolist() == [0, 0, 0] and found.log_price.tolist() == [0, 0, 0]
    assert found.popularity.tolist() == [1, 2, 0]


def test_without_vectors_nothing_is_said_of_which_texts_follow_which(random_shop):
    users = np.arange(3, 15)
    words, both = (
        fit_statistics(random_shop, users, 2, read, np.random.default_rng(0))
        for read in (read_texts(random_shop), texts(random_shop))
    )
    tasks = sample_windows(random_shop, users, (1, 3), 1, 8, np.random.default_rng(0))
    assert words.flow.answer.shape == (10, 0) and not words.flow.scores(tasks).any()
    assert both.flow.scores(tasks).any()
    assert (words.words != both.words).nnz == 0


def test_cold_items_get_text_neighbours_among_warm_items(random_shop, monkeypatch):
    users, item, cold = np.arange(12), random_shop.item.copy(), [0, 4, 7]
    early = item[: random_shop.start[12]]
    early[np.isin(early, cold)] = 1
    data = replace(random_shop, item=item)
    read, rng = texts(data), np.random.default_rng(0)
    carry = fit_statistics(data, users, 2, read, rng).text_knn
    found = alike(data, users, read.features, 7)
    expected = np.zeros((10, 10))
    for row, item in enumerate(cold):
        expected[found.warm[row], item] = found.likeness[row]
    np.testing.assert_allclose(carry.toarray(), expected, rtol=1e-6)
    assert carry.dtype == np.float32 and carry.nnz
    monkeypatch.setattr(statistics, "TEXT_NEIGHBOURS", 2)
    assert np.diff(fit_statistics(data, users, 2, read, rng).text_knn.tocsc().indptr).max() <= 2
    assert fit_statistics(data, users, 2, read_texts(data), rng).text_knn.nnz == 0, "without vectors"
    assert fit_statistics(data, users[:0], 2, read, rng).text_knn.nnz == 0, "nobody counted"
    assert fit_statistics(data, np.arange(20), 2, read, rng).text_knn.nnz == 0, "all had"


def some_for_nothing(data: Dataset, least: float) -> Dataset:
    """The same where events of the first type count `least`; those of unknown type count all the same."""
    return replace(data, event_weights=EventWeights((least, 1.0), data.event_weights.scale))


def same(one: ItemStatistics, other: ItemStatistics, but: tuple[str, ...] = ()) -> None:
    for field in fields(ItemStatistics):
        if field.name not in but:
            for a, b in zip(*(parts(getattr(counts, field.name)) for counts in (one, other)), strict=True):
                np.testing.assert_array_equal(a, b, err_msg=field.name)


def parts(value) -> list:
    """A count as plain arrays."""
    if isinstance(value, (Flow, Markov)):
        return [part for field in fields(value) for part in parts(getattr(value, field.name))]
    return [value.toarray()] if sparse.issparse(value) else [value]


def test_events_that_count_0_are_as_if_they_had_not_been(random_shop):
    """But for prices, which are facts of the items."""
    users, data = np.arange(3, 15), some_for_nothing(random_shop, 0.0)
    read, bare = texts(data), data.keep(data.sample_weight > 0)
    assert 0 < bare.n_events < data.n_events
    one, other = (fit_statistics(part, users, 2, read, np.random.default_rng(0)) for part in (data, bare))
    same(one, other, but=("log_price",))
    assert (one.popularity != fit_statistics(random_shop, users, 2, read, np.random.default_rng(0)).popularity).any()


WEIGHED = (
    "popularity",
    "repurchase",
    "cooccurrence",
    "ease",
    "markov_short",
    "markov_long",
    "position_popularity",
    "recent_position_popularity",
)


def test_events_that_count_little_are_counted_little_but_in_what_is_no_preference(random_shop):
    users, read = np.arange(3, 15), texts(random_shop)
    shops = random_shop, some_for_nothing(random_shop, 0.1)
    one, other = (fit_statistics(data, users, 2, read, np.random.default_rng(0)) for data in shops)
    same(one, other, but=WEIGHED)
    for name in WEIGHED:
        pairs = zip(*(parts(getattr(counts, name)) for counts in (one, other)), strict=True)
        assert any((np.asarray(a) != np.asarray(b)).any() for a, b in pairs), name


def test_where_all_weights_are_1_nothing_changes(random_shop):
    users, read = np.arange(3, 15), texts(random_shop)
    bare = replace(random_shop, attributes={**random_shop.attributes, "weight": np.ones(random_shop.n_events, np.float32)})
    none = {name: values for name, values in bare.attributes.items() if name != "weight"}
    shops = replace(bare, event_weights=EventWeights()), replace(bare, attributes=none, event_weights=EventWeights((1.0, 1.0)))
    plain = fit_statistics(replace(shops[1], event_weights=EventWeights()), users, 2, read, np.random.default_rng(0))
    for data in shops:
        assert data.sample_weight is not None and (data.sample_weight == 1).all()
        same(fit_statistics(data, users, 2, read, np.random.default_rng(0)), plain)


def test_what_is_only_viewed_ranks_below_what_is_bought(shop):
    """Each of 20 users views items 0 to 4 in five baskets, and half of them buy item 5 once; all of it comes again."""
    history = [[[item, *([5] if item == 2 and user < 10 else [])] for item in (0, 1, 2, 3, 4)] * 2 for user in range(20)]
    flat = [item for baskets in history for basket in baskets for item in basket]
    data = shop(history, 6, {"event_type": ["buy" if item == 5 else "view" for item in flat]})
    factors = EventWeights(tuple({"view": 0.1, "buy": 1.0}[name] for name in data.event_types))
    whole, weighed = (
        fit_statistics(one, np.arange(20), 5, texts(one), np.random.default_rng(0))
        for one in (data, replace(data, event_weights=factors))
    )
    assert whole.popularity.argmin() == 5 and weighed.popularity.argmax() == 5
    np.testing.assert_allclose(weighed.popularity, [4, 4, 4, 4, 4, 20], rtol=1e-6)
    for before, after in ((whole.markov_short.prior, weighed.markov_short.prior), (whole.repurchase, weighed.repurchase)):
        assert before.argmax() != 5 and after.argmax() == 5
    assert whole.position_popularity[0].argmin() == 5 and weighed.position_popularity[0].argmax() == 5
    assert whole.cooccurrence[0, 1] > weighed.cooccurrence[0, 1] > 0
    assert whole.baskets == weighed.baskets
