from __future__ import annotations

import math

import numpy as np
import pytest

from llmrec.data.build import build
from llmrec.data.dataset import Dataset
from llmrec.data.features import SLOT_FEATURES, fit_scaler, slot_attributes

DAY = 86_400


def shop(seed: int, baskets: bool = True) -> Dataset:
    rng = np.random.default_rng(seed)
    rows = 300
    user = rng.integers(0, 12, rows)
    events = {
        "user_id": user,
        "item_id": rng.integers(0, 9, rows),
        "timestamp": rng.integers(0, 40, rows) * DAY // 2,
        "quantity": rng.integers(1, 5, rows).astype(float),
        "price": np.where(rng.random(rows) < 0.3, np.nan, rng.random(rows) * 10),
        "rating": rng.integers(1, 6, rows),
    }
    return build(events | ({"basket_id": user * 30 + rng.integers(0, 15, rows)} if baskets else {}))[0]


def column(values: np.ndarray, name: str) -> np.ndarray:
    return values[:, SLOT_FEATURES.index(name)]


def test_a_history_whose_answer_is_known():
    events = {
        "user_id": ["u"] * 5,
        "item_id": ["a", "b", "a", "a", "a"],
        "timestamp": [0, 0, DAY, DAY, 3 * DAY],
        "basket_id": [1, 1, 2, 2, 3],
        "quantity": [1.0, 2.0, 1.0, 3.0, 1.0],
    }
    dataset, _ = build(events)
    values = slot_attributes(dataset)
    a = [place for place in range(5) if dataset.item[place] == 0]
    np.testing.assert_allclose(column(values, "log_days_since_basket")[2:], np.log([2, 2, 3]), rtol=1e-6)
    assert np.isnan(column(values, "log_days_since_basket")[:2]).all()
    np.testing.assert_allclose(column(values, "log_days_since_start"), np.log([1, 1, 2, 2, 4]), rtol=1e-6)
    np.testing.assert_allclose(column(values, "log_baskets_before"), np.log([1, 1, 2, 2, 3]), rtol=1e-6)
    # Both of the second basket know only the first, whatever their order.
    assert column(values, "repeat")[a].tolist() == [0, 1, 1, 1]
    np.testing.assert_allclose(column(values, "log_times_before")[a], np.log([1, 2, 2, 4]), rtol=1e-6)
    assert np.isnan(column(values, "log_price")).all()
    assert np.isnan(column(values, "rating")).all()


@pytest.mark.parametrize("baskets", [True, False])
def test_counts_agree_with_a_plain_loop(baskets):
    dataset = shop(1, baskets)
    values = slot_attributes(dataset)
    for user in range(dataset.n_users):
        rows = range(dataset.start[user], dataset.start[user + 1])
        for row in rows:
            before = sum(dataset.item[k] == dataset.item[row] and dataset.basket[k] < dataset.basket[row] for k in rows)
            assert column(values, "repeat")[row] == (before > 0)
            assert math.isclose(column(values, "log_times_before")[row], math.log1p(before), rel_tol=1e-6)


def test_later_events_never_change_earlier_rows():
    dataset = shop(2)
    whole = slot_attributes(dataset)
    rng = np.random.default_rng(0)
    for _ in range(20):
        length = (np.diff(dataset.start) * rng.random(dataset.n_users)).astype(int)  # any prefix, also inside a basket
        mask = np.arange(dataset.n_events) < np.repeat(dataset.start[:-1] + length, np.diff(dataset.start))
        np.testing.assert_array_equal(slot_attributes(dataset.keep(mask)), whole[mask])


def test_a_user_alone_has_the_same_features():
    dataset = shop(3)
    whole = slot_attributes(dataset)
    for user in (0, 5, dataset.n_users - 1):
        alone = slot_attributes(dataset.take(np.array([user])))
        np.testing.assert_array_equal(alone, whole[dataset.start[user] : dataset.start[user + 1]])


def test_mean_and_scale_are_those_of_what_is_known():
    values = slot_attributes(shop(4))
    scaler = fit_scaler(values)
    for place in range(len(SLOT_FEATURES)):
        known = values[:, place][~np.isnan(values[:, place])]
        np.testing.assert_allclose([scaler.mean[place], scaler.scale[place]], [known.mean(), known.std()], rtol=1e-4, atol=1e-5)


def test_unknown_everywhere_and_constant_columns_stay_finite():
    dataset, _ = build({"user_id": [1, 1], "item_id": [1, 2], "timestamp": [5, 5]})
    nobody = slot_attributes(dataset.keep(np.zeros(2, bool)))
    assert nobody.shape == (0, len(SLOT_FEATURES))
    for scaler in (fit_scaler(slot_attributes(dataset)), fit_scaler(nobody)):
        assert np.isfinite(scaler.mean).all() and (scaler.scale > 0).all()
