"""Controls of the scene study, against the library's own."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec.data.build import build
from llmrec.models.item_item import fit_ease
from llmrec.scenes.worlds import last_steps
from studies.scenes.arms import counting, fit_few_ease


@pytest.fixture(scope="module")
def dataset():
    rng = np.random.default_rng(0)
    rows: dict[str, list] = {"user_id": [], "item_id": [], "timestamp": []}
    for user in range(50):
        for event, item in enumerate(rng.choice(30, 5, replace=False, p=np.arange(1, 31) / 465)):
            rows["user_id"].append(user)
            rows["item_id"].append(f"i{item:02d}")
            rows["timestamp"].append(1e9 + 1e5 * event)
    return build(rows)[0]


@pytest.mark.parametrize(("ridge", "decay"), [(1.0, 1.0), (10.0, 0.8), (300.0, 1.0)])
def test_ease_of_a_few_is_ease(dataset, ridge, decay):
    users = np.arange(12)
    tasks = last_steps(dataset, np.arange(12, 50), np.ones(dataset.n_items, bool))
    expected = fit_ease(dataset, users, ridge, decay=decay).scores(tasks)
    np.testing.assert_allclose(fit_few_ease(dataset, users, ridge, decay).scores(tasks), expected, atol=1e-4)
    assert np.abs(expected).max() > 0.01


def test_counting_looks_at_the_support_users_alone(dataset):
    tasks = last_steps(dataset, np.arange(12, 50), np.ones(dataset.n_items, bool))
    few, others = np.arange(12), dataset.take(np.arange(12))
    for name, arm in counting(dataset, few, 10.0, 0.8, False).items():
        again = counting(others, np.arange(12), 10.0, 0.8, False)[name]
        np.testing.assert_allclose(arm.scores(tasks), again.scores(tasks), atol=1e-6)
