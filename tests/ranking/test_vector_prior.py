"""Where the vector of a cold item is expected: against a world whose prior is known, and against loops over its buyers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from llmrec import build
from llmrec.data.dataset import Dataset
from llmrec.encoder.model import Items
from llmrec.ranking import vector_prior
from llmrec.ranking.buyer_sums import buyer_sums
from llmrec.ranking.first_buyers import nobody_yet, with_events
from llmrec.ranking.vector_prior import LEAST_ITEMS, VectorPrior, fit_vector_prior, moved_items, moved_vectors

SLOPE, WITHIN, BETWEEN, WIDTH = 0.7, 0.5, 0.2, 6
ITEMS, BUYERS = 300, 6


def bought(pairs: list[tuple[str, str]], items: list[str], weight: list[float] | None = None) -> Dataset:
    """Each user's items at one time after the other."""
    users, names = zip(*pairs, strict=True)
    events = {"user_id": users, "item_id": names, "timestamp": np.arange(len(pairs), dtype=float)}
    return build(events | ({} if weight is None else {"weight": weight}), {"item_id": items, "title": items})[0]


def world(common: float, bestseller: int = 0, seed: int = 0):
    """Each buyer of a new item had one old item, whose vector is Gaussian around that of the new one. common: what all texts
    have in common. bestseller: further buyers of the first item."""
    rng = np.random.default_rng(seed)
    centre, text = rng.normal(size=WIDTH), common + rng.normal(size=(ITEMS, WIDTH))
    true = centre + SLOPE * text + BETWEEN**0.5 * rng.normal(size=(ITEMS, WIDTH))
    size = rng.integers(1, 2 * BUYERS, ITEMS)
    size[0] += bestseller
    of = np.repeat(np.arange(ITEMS), size)
    old = true[of] + WITHIN**0.5 * rng.normal(size=(len(of), WIDTH))
    pairs = [pair for n, item in enumerate(of.tolist()) for pair in ((f"u{n}", f"old{n}"), (f"u{n}", f"new{item}"))]
    names = [f"old{n}" for n in range(len(of))] + [f"new{item}" for item in range(ITEMS)]
    new = np.arange(len(names)) >= len(of)
    return bought(pairs, names), new, np.concatenate([old * 0, text]), np.concatenate([old, true]), np.ones(len(new)), centre


@pytest.mark.parametrize(("common", "bestseller"), [(0.0, 0), (3.0, 0), (0.0, 2000)])
def test_the_prior_that_made_a_world_is_found(common, bestseller):
    *given, centre = world(common, bestseller)
    found = fit_vector_prior(*given)
    assert found.slope == pytest.approx(SLOPE, abs=0.05)
    assert found.precision == pytest.approx(WITHIN / BETWEEN, rel=0.2)
    np.testing.assert_allclose(found.centre, centre, atol=0.1 + 0.05 * common)


def test_what_says_nothing_has_no_prior():
    dataset, new, text, vectors, popularity, _ = world(0.0)
    few = new & (np.cumsum(new) < LEAST_ITEMS)
    assert fit_vector_prior(dataset, few, text, vectors, popularity) is None  # too few new items
    once = dataset.take(np.unique(dataset.item[dataset.start[1:] - 1], return_index=True)[1])
    assert fit_vector_prior(once, new, text, vectors, popularity) is None  # of one buyer each
    assert fit_vector_prior(dataset, new, text, vectors * 0 + 1, popularity) is None  # all had the same


def test_texts_that_point_the_other_way_are_not_followed():
    dataset, new, text, vectors, popularity, _ = world(0.0)
    assert fit_vector_prior(dataset, new, -text, vectors, popularity).slope == 0.0


def test_it_is_that_of_a_loop_with_weights_and_popular_items(monkeypatch):
    monkeypatch.setattr(vector_prior, "LEAST_ITEMS", 2)
    monkeypatch.setattr(vector_prior, "LEAST_BUYERS", 2)
    rng = np.random.default_rng(3)
    names = [f"i{n}" for n in range(12)]
    taste = [0, 1, 2, 3, 7, 8, 9], [3, 4, 5, 6, 9, 10, 11]
    pairs = [(f"u{n:02}", names[item]) for n in range(40) for item in rng.permutation(taste[n % 2])[: rng.integers(1, 6)]]
    data = bought(pairs, names, [float(rng.choice([0.5, 1.0, 2.0])) for _ in pairs])
    new, popularity = np.arange(12) > 6, 1.0 + np.arange(12.0) ** 2
    vectors, text = rng.normal(size=(12, WIDTH)), rng.normal(size=(12, WIDTH))
    vectors[:4] += 2.0
    rows = []  # item, weight, mean of a buyer
    for user in range(data.n_users):
        mine = range(data.start[user], data.start[user + 1])
        had = {int(data.item[row]): float(data.sample_weight[row]) for row in mine}
        old = {item: weight / popularity[item] ** 0.5 for item, weight in had.items() if not new[item]}
        if old:
            mean = sum(weight * vectors[item] for item, weight in old.items()) / sum(old.values())
            rows += [(item, weight * sum(old.values()), mean) for item, weight in had.items() if new[item]]
    items = sorted({row[0] for row in rows})
    total = np.array([sum(row[1] for row in rows if row[0] == item) for item in items])
    mean = np.stack([sum(row[1] * row[2] for row in rows if row[0] == item) for item in items]) / total[:, None]
    within = sum(row[1] * ((row[2] - mean[items.index(row[0])]) ** 2).sum() for row in rows) / (len(rows) - len(items))
    part = total / (total + total.sum() / len(rows))
    part = part / part.sum()
    told, level = text[items] - part @ text[items], part @ mean
    slope = max((part[:, None] * (mean - level) * told).sum() / (part[:, None] * told**2).sum(), 0)
    left = (part[:, None] * (mean - level - slope * told) ** 2).sum() - within * (part * (1 - part) / total).sum()
    found = fit_vector_prior(data, new, text, vectors, popularity)
    assert found.slope == pytest.approx(slope) and found.precision == pytest.approx(within / (left / (1 - (part**2).sum())))
    np.testing.assert_allclose(found.centre, level - slope * (part @ text[items]))


def test_a_moved_vector_is_the_mean_of_text_and_buyers_each_by_what_it_is_worth():
    """A buyer of several baskets counts once, and one who had nothing else does not count."""
    rng = np.random.default_rng(1)
    names = [f"i{n}" for n in range(8)]
    pairs = [(f"u{user}", names[item]) for user in range(9) for item in rng.permutation(8)[: rng.integers(1, 5)]]
    pairs += [*[pair for pair in pairs if pair[1] in ("i6", "i7")], *[(f"alone{n}", "i6") for n in range(5)]]
    data, cold, popularity = bought(pairs, names), np.arange(8) > 5, np.arange(8) + 1.0
    known = with_events(nobody_yet(cold, 0.0), data.take(np.zeros(0, np.int64)), data, data)
    vectors, prior = rng.normal(size=(8, WIDTH)), VectorPrior(rng.normal(size=WIDTH), SLOPE, 2.0)
    unit = vectors.astype(np.float32)
    sums = buyer_sums(known, popularity, lambda rows: unit[rows])
    found = moved_vectors(prior, sums, unit[sums.item])
    assert sums.item.tolist() == [6, 7] and found.dtype == np.float32
    for item, vector in zip(sums.item.tolist(), found, strict=True):
        buyers = [set(data.item[data.start[u] : data.start[u + 1]].tolist()) for u in range(data.n_users)]
        rows = [(other, popularity[other] ** -0.5) for had in buyers if item in had for other in had if other < 6]
        expected = 2.0 * SLOPE * vectors[item] + sum(weight * (vectors[other] - prior.centre) for other, weight in rows)
        np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=1e-5)


def test_without_buyers_nothing_moves():
    prior, cold = VectorPrior(np.zeros(2), 1.0, 1.0), np.array([False, True])
    sums = buyer_sums(nobody_yet(cold, 0.0), np.ones(2), lambda rows: np.eye(2, dtype=np.float32)[rows])
    assert sums.item.size == 0 and sums.told.shape == (0, 2)
    items = Items(torch.eye(2), torch.zeros(2), torch.zeros(2))
    assert moved_items(prior, sums, items) is None
