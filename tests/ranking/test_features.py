"""What a dot product does not see, against a loop over one candidate at a time."""

from __future__ import annotations

from dataclasses import replace
from math import log, log1p

import numpy as np
import pytest
from scipy import sparse

from llmrec.data.dataset import EventWeights
from llmrec.data.tasks import Tasks, first_baskets, sample_windows
from llmrec.index.candidates import Candidates
from llmrec.models.item_item import Markov
from llmrec.ranking.features import FEATURES, FOR_BLEND, features, features_for_blend
from llmrec.ranking.statistics import DATES, POSITIONS, ItemStatistics
from llmrec.ranking.text_cca import Flow


@pytest.fixture
def tasks(random_shop) -> Tasks:
    return sample_windows(random_shop, np.arange(20), (1, 4), 2, 30, np.random.default_rng(0))


@pytest.fixture
def counts() -> ItemStatistics:
    rng = np.random.default_rng(1)
    together = sparse.csr_array(np.where(rng.random((10, 10)) < 0.4, rng.random((10, 10)), 0).astype(np.float32))
    linear = sparse.csr_array(np.where(rng.random((10, 10)) < 0.6, rng.normal(size=(10, 10)), 0).astype(np.float32))
    popularity, repurchase, price = rng.integers(0, 30, 10).astype(np.float32), *rng.normal(size=(2, 10)).astype(np.float32)
    words = np.where(rng.random((10, 7)) < 0.5, rng.random((10, 7)), 0)
    words[1:] /= np.maximum(np.linalg.norm(words[1:], axis=1, keepdims=True), 1e-9)
    words[0] = 0  # an item without words
    return ItemStatistics(
        popularity,
        50,
        repurchase,
        together,
        linear,
        price,
        sparse.csr_array(words),
        carried(rng),
        Flow(*(rng.normal(size=shape).astype(np.float32) for shape in ((10, 4), (10, 4), 4))),
        markov(rng, 3),
        markov(rng, 10),
        *places(rng),
    )


def carried(rng: np.random.Generator) -> sparse.csr_array:
    """To items 0, 4 and 7 from the others."""
    table = np.where(rng.random((10, 10)) < 0.6, rng.random((10, 10)), 0)
    cold = np.isin(np.arange(10), (0, 4, 7))
    table[cold], table[:, ~cold] = 0, 0
    return sparse.csr_array(table.astype(np.float32))


def markov(rng: np.random.Generator, last: int) -> Markov:
    follows = sparse.csr_array(np.where(rng.random((10, 10)) < 0.4, rng.random((10, 10)), 0))
    return Markov(follows, rng.random(10), rng.random(10) / 10, last, 0.8)


def places(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    place = rng.normal(size=(len(POSITIONS), 10)).astype(np.float32)
    return place, rng.normal(size=(DATES, len(POSITIONS), 10)).astype(np.float32), np.sort(rng.random(DATES)) * 1e9


def some_candidates(tasks: int, seed: int = 2) -> Candidates:
    """0 to 10 of 10 items for each task; the first task has none."""
    rng = np.random.default_rng(seed)
    chosen = [np.flatnonzero(rng.random(10) < 0.6 * (t > 0)) for t in range(tasks)]
    start = np.concatenate([[0], np.cumsum([len(items) for items in chosen])])
    return Candidates(start, np.concatenate(chosen).astype(np.int32), np.ones(start[-1], np.uint8))


def slow(tasks: Tasks, t: int, item: int, counts: ItemStatistics) -> dict[str, float]:
    data, rows = tasks.dataset, list(range(tasks.start[t], tasks.split[t]))
    baskets = [{int(data.item[r]) for r in rows if data.basket[r] == number} for number in sorted(set(data.basket[rows]))]
    times = {j: sum(j in basket for basket in baskets) for j in range(10)}
    back = [place for place, basket in enumerate(reversed(baskets)) if item in basket]
    together, linear, words = counts.cooccurrence.toarray(), counts.ease.toarray(), counts.words.toarray()
    here = [n for n, had in enumerate(POSITIONS) if had <= data.basket[rows[-1]] + 1][-1]
    return {
        "purchase_count": log1p(times[item]),
        "purchased": float(times[item] > 0),
        "recency": 1 / (1 + back[0]) if back else 0.0,
        "popularity": log((counts.popularity[item] + 0.5) / (counts.baskets + 1)),
        "repurchase_rate": float(counts.repurchase[item]) if back else 0.0,
        "item_knn": log1p(sum(log1p(times[j]) * together[j, item] for j in range(10))),
        "item_knn_decayed": log1p(
            sum(0.8**back * together[j, item] for back, basket in enumerate(reversed(baskets)) for j in basket)
        ),
        "ease": log(1e-3 + max(0.0, sum(log1p(times[j]) * linear[j, item] for j in range(10)))),
        "ease_decayed": log(
            1e-3 + max(0.0, sum(0.8**back * linear[j, item] for back, b in enumerate(reversed(baskets)) for j in b))
        ),
        "tfidf": log1p(
            sum(
                0.9**back * float(words[j] @ words[item])
                for back, basket in enumerate(reversed(baskets))
                for j in basket - {item}
            )
        ),
        "text_cca": text_follows(counts.flow, baskets, item),
        "markov_short": follows(counts.markov_short, baskets, item),
        "markov_long": follows(counts.markov_long, baskets, item),
        "position_popularity": float(counts.position_popularity[here, item]),
        "recent_position_popularity": float(
            np.interp(data.time[rows[-1]], counts.dates, counts.recent_position_popularity[:, here, item])
        ),
        "price": float(counts.log_price[item]),
        "price_gap": abs(float(counts.log_price[item]) - np.mean([counts.log_price[data.item[r]] for r in rows])),
        "n_baskets": log1p(len(baskets)),
        "n_events": log1p(len(rows)),
    }


def text_follows(flow: Flow, baskets: list[set[int]], item: int) -> float:
    """How well an item answers to the mean of the baskets, weighed .9 per basket back."""
    asked = [(0.9**back, flow.ask[j]) for back, basket in enumerate(reversed(baskets)) for j in basket]
    mean = sum(weight * row for weight, row in asked) / sum(weight for weight, _ in asked)
    return float((mean - flow.centre) @ flow.answer[item])


def follows(markov: Markov, baskets: list[set[int]], item: int) -> float:
    """What each item of the last baskets says of `item`, weighed .8 per basket back."""
    chance = 0.0
    for back, basket in enumerate(reversed(baskets[-markov.last :])):
        for j in basket:
            chance += 0.8**back * (markov.follows[j, item] + markov.exit_rate[j] * markov.prior[item])
    return log1p(chance / markov.prior.mean())


def test_features_against_a_loop(tasks, counts):
    found = some_candidates(len(tasks))
    table = features(tasks, found, counts)
    assert table.shape == (len(found.item), len(FEATURES)) and table.dtype == np.float32
    for row, task, item in zip(table, found.task, found.item, strict=True):
        expected = slow(tasks, int(task), int(item), counts)
        assert dict(zip(FEATURES, row.tolist(), strict=True)) == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_a_cold_item_takes_the_similarity_of_its_text_neighbours(tasks, counts):
    found, data = some_candidates(len(tasks)), tasks.dataset
    table, together, carry = features_for_blend(tasks, found, counts), counts.cooccurrence.toarray(), counts.text_knn.toarray()
    assert table.shape == (len(found.item), len(FOR_BLEND)) and table.dtype == np.float32
    for value, t, item in zip(table[:, FOR_BLEND.index("text_knn")], found.task, found.item, strict=True):
        rows = range(tasks.start[t], tasks.split[t])
        held, last = np.zeros(10), data.basket[rows[-1]]
        for basket, other in {(int(data.basket[r]), int(data.item[r])) for r in rows}:
            held[other] += 0.8 ** (last - basket)
        expected = sum(carry[j, item] * (held[j] + held @ together[:, j]) for j in range(10))
        assert value == pytest.approx(log1p(100 * expected), rel=1e-4)
        assert value == 0 or item in (0, 4, 7)
    assert table.any()
    none = replace(counts, text_knn=sparse.csr_array((10, 10), dtype=np.float32))
    assert features_for_blend(tasks, found, none).shape == table.shape and not features_for_blend(tasks, found, none).any()


@pytest.mark.parametrize("features", [features, features_for_blend])
def test_each_task_is_as_if_alone(tasks, counts, features):
    found = some_candidates(len(tasks))
    together = features(tasks, found, counts)
    for t in range(len(tasks)):
        part = slice(found.start[t], found.start[t + 1])
        alone = Candidates(np.array([0, part.stop - part.start]), found.item[part], found.source[part])
        np.testing.assert_allclose(features(tasks.take(np.array([t])), alone, counts), together[part], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("features", [features, features_for_blend])
def test_no_feature_changes_with_the_query(shop, counts, features):
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
    none = replace(counts, cooccurrence=sparse.csr_array((10, 10), dtype=np.float32))
    table = features(tasks, some_candidates(len(tasks)), none)
    assert (table[:, FEATURES.index("item_knn")] == 0).all()
    empty = Candidates(np.zeros(len(tasks) + 1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.uint8))
    assert features(tasks, empty, counts).shape == (0, len(FEATURES))


def test_events_that_count_0_are_as_if_they_had_not_been(tasks, counts):
    """But for the date, which is that of the last event of any kind, and for supports of nothing else."""
    data = replace(tasks.dataset, event_weights=EventWeights((0.0, 1.0), tasks.dataset.event_weights.scale))
    tasks = replace(tasks, dataset=data)
    bare, found = tasks.counted, some_candidates(len(tasks))
    empty = bare.split == bare.start
    assert empty.any() and not empty.all() and (bare.split - bare.start < tasks.split - tasks.start)[~empty].any()
    some = ~empty[found.task]
    one, other = features(tasks, found, counts), features(bare, found, counts)
    columns = [column for column, name in enumerate(FEATURES) if name != "recent_position_popularity"]
    assert np.array_equal(one[:, columns][some], other[:, columns][some])
    assert np.array_equal(features_for_blend(tasks, found, counts), features_for_blend(bare, found, counts))
    none = one[~some]
    assert len(none)
    for name in (
        "purchase_count",
        "purchased",
        "recency",
        "repurchase_rate",
        "item_knn",
        "item_knn_decayed",
        "tfidf",
        "n_baskets",
        "n_events",
    ):
        assert not none[:, FEATURES.index(name)].any(), name


def test_where_no_event_of_any_support_counts_nothing_is_said_of_them(tasks, counts):
    data = replace(tasks.dataset, event_weights=EventWeights((0.0, 0.0), 1.0))
    data = replace(data, attributes={"event_type": np.zeros(data.n_events, np.float32)})
    tasks, found = replace(tasks, dataset=data), some_candidates(len(tasks))
    table = features(tasks, found, counts)
    assert table.shape == (len(found.item), len(FEATURES)) and np.isfinite(table).all()
    assert not table[
        :, [FEATURES.index(name) for name in ("purchase_count", "purchased", "recency", "n_baskets", "n_events")]
    ].any()
