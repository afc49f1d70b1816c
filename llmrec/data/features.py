"""Features of events (gaps, repeats, quantity, price, rating), and their mean and spread for the cleaning report.

Every feature is causal: it looks at the event's own basket and at earlier baskets of the same user, never at later ones, and
not at the order inside a basket, which is a shuffle.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llmrec.data.dataset import Dataset

DAY = 86_400.0

SLOT_FEATURES = (
    "log_days_since_basket",  # log(1 + days) since the user's previous basket began; unknown in the first basket
    "log_days_since_start",  # log(1 + days) since the user's first basket began
    "log_baskets_before",  # log(1 + baskets of the user so far)
    "repeat",  # 1 if the user had this item in an earlier basket, else 0
    "log_times_before",  # log(1 + events of this item in the user's earlier baskets)
    "log_quantity",
    "log_price",
    "rating",
)


@dataclass(frozen=True)
class Scaler:
    """mean, scale: float32 (F,), the statistics of the training data for SLOT_FEATURES."""

    mean: np.ndarray
    scale: np.ndarray


def fit_scaler(values: np.ndarray) -> Scaler:
    """Mean and standard deviation of each column of `slot_attributes` of the training data, over what is known.

    A column that is unknown everywhere, or constant, is only centred.
    """
    known = ~np.isnan(values)
    count = np.maximum(known.sum(axis=0), 1)
    values = np.where(known, values, 0).astype(np.float64)
    mean = values.sum(axis=0) / count
    deviation = np.sqrt((np.where(known, values - mean, 0) ** 2).sum(axis=0) / count)
    return Scaler(mean.astype(np.float32), np.where(deviation > 1e-6, deviation, 1).astype(np.float32))


def slot_attributes(dataset: Dataset) -> np.ndarray:
    """float32 (E, len(SLOT_FEATURES)): features of every event, NaN where unknown."""
    n_events = dataset.n_events
    result = np.full((n_events, len(SLOT_FEATURES)), np.nan, np.float32)
    if n_events == 0:
        return result
    began = np.repeat(np.minimum.reduceat(dataset.time, dataset.basket_start[:-1]), np.diff(dataset.basket_start))
    first = dataset.start[:-1][dataset.user]  # each event's user's first event
    begin = dataset.basket_start[np.searchsorted(dataset.basket_start, np.arange(n_events), side="right") - 1]
    has_previous = begin > first
    gap = np.where(has_previous, began - began[np.maximum(begin - 1, 0)], np.nan)
    before = _times_before(dataset)
    unknown = np.full(n_events, np.nan, np.float32)
    columns = {
        "log_days_since_basket": _log_days(gap),
        "log_days_since_start": _log_days(began - began[first]),
        "log_baskets_before": np.log1p(dataset.basket),
        "repeat": before > 0,
        "log_times_before": np.log1p(before),
        "log_quantity": np.log1p(np.maximum(dataset.attributes.get("quantity", unknown), 0)),
        "log_price": np.log1p(np.maximum(dataset.attributes.get("price", unknown), 0)),
        "rating": dataset.attributes.get("rating", unknown),
    }
    for place, name in enumerate(SLOT_FEATURES):
        result[:, place] = columns[name]
    return result


def _log_days(gap: np.ndarray) -> np.ndarray:
    return np.log1p(np.maximum(gap, 0) / DAY)


def _times_before(dataset: Dataset) -> np.ndarray:
    """int64 (E,): events of the same user and item in earlier baskets."""
    key = dataset.user.astype(np.int64) * dataset.n_items + dataset.item
    order = np.argsort(key, kind="stable")  # by pair, and within a pair in canonical order
    key, basket, place = key[order], dataset.basket[order], np.arange(len(order))
    new_pair = np.ones(len(order), bool)
    new_pair[1:] = key[1:] != key[:-1]
    new_basket = new_pair.copy()
    new_basket[1:] |= basket[1:] != basket[:-1]
    pair_start = np.maximum.accumulate(np.where(new_pair, place, 0))
    basket_start = np.maximum.accumulate(np.where(new_basket, place, 0))
    result = np.empty(len(order), np.int64)
    result[order] = basket_start - pair_start
    return result
