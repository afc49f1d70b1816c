"""Item kNN carried over by text, against the sums written out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from benchmarks.carried import carried
from benchmarks.protocol import first_known
from llmrec.data.dataset import Dataset
from llmrec.index.candidates import Candidates
from llmrec.models.item_item import ItemKnn, fit_item_knn
from llmrec.ranking.cold_items import alike
from llmrec.ranking.features import features_for_blend
from llmrec.ranking.statistics import fit_statistics, read_texts, with_vectors

USERS = np.arange(12)


@pytest.fixture
def world(random_shop) -> Dataset:
    """Items 0, 4 and 7 are taken by users 12 to 19 only: cold to those who train on the others."""
    item, late = random_shop.item.copy(), random_shop.start[12]
    early = item[:late]
    early[np.isin(early, (0, 4, 7))] = 1
    return replace(random_shop, item=item)


@pytest.fixture
def text() -> np.ndarray:
    rows = np.random.default_rng(4).normal(size=(10, 3))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize(("k", "power", "decay"), [(1, 1.0, 1.0), (3, 1.0, 0.7), (5, 3.0, 0.7)])
@pytest.mark.parametrize("as_words", [False, True])
def test_it_is_the_sum_over_the_most_alike_warm_items(world, text, k, power, decay, as_words):
    knn = fit_item_knn(world, USERS, neighbours=4, shrink=1.0, decay=decay)
    found = alike(world, USERS, sparse.csr_array(text) if as_words else text, 5)
    tasks = first_known(world, np.arange(12, 20), 2, 1, 0)
    scores, plain = carried(knn, found, k, power).scores(tasks), knn.scores(tasks)
    cold, warm = [0, 4, 7], [1, 2, 3, 5, 6, 8, 9]
    assert found.cold.tolist() == cold
    wanted = plain.astype(np.float64)
    for i in cold:
        likeness = {j: float(text[i] @ text[j]) for j in warm}
        near = sorted(warm, key=lambda j: -likeness[j])[:k]
        wanted[:, i] = sum(max(likeness[j], 0.0) ** power * plain[:, j] for j in near)
    np.testing.assert_allclose(scores, wanted, rtol=1e-5, atol=1e-6)
    assert scores.dtype == np.float32 and (wanted[:, cold] > 0).any()


def test_what_a_blend_may_see_of_a_cold_item_orders_as_the_control_over_the_same_similarities(world):
    """`text_knn` of the ranking stage and the control: one formula, by two ways."""
    rng, early, late = np.random.default_rng(2), USERS, np.arange(12, 20)
    read = with_vectors(read_texts(world), rng.normal(size=(10, 6)).astype(np.float32), rng)
    counts = fit_statistics(world, early, 1, read, rng)
    similarity = sparse.csr_array((counts.cooccurrence + sparse.eye_array(10)).astype(np.float64))
    knn = ItemKnn(similarity, decay=0.8)
    control = carried(knn, alike(world, early, read.features, 7), 50, 1.0)
    tasks = first_known(world, late, 2, 1, 0)
    everything = Candidates(
        np.arange(len(tasks) + 1) * 10, np.tile(np.arange(10, dtype=np.int32), len(tasks)), np.zeros(10 * len(tasks), np.uint8)
    )
    seen = features_for_blend(tasks, everything, counts)[:, 0].reshape(len(tasks), 10)
    scores = control.scores(tasks)
    cold = [0, 4, 7]
    np.testing.assert_allclose(np.expm1(seen[:, cold]) / 100, scores[:, cold], rtol=1e-4, atol=1e-6)
    assert scores[:, cold].any() and not np.delete(seen, cold, axis=1).any()
