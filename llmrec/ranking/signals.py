"""Signals: what the rankers read, in a few plain words, and how much of a score comes from each.

The shares are Shapley values over groups of inputs (Shapley 1953; Štrumbelj and Kononenko, JMLR 2010; Lundberg and Lee, NeurIPS
2017), computed over all subsets of the signals and not by sampling: they add up to the difference of the two scores, and
inputs that are equal on both sides get 0.

Axis convention: `R` rows to explain, `F` inputs of a ranker, `S` signals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from math import comb

import numpy as np

from llmrec.ranking.groups import FEATURES as GROUP_FEATURES

SIGNALS = {
    "repeat": ("purchase_count", "purchased", "recency", "repurchase_rate"),  # the user had the item before
    "co-occurrence": (
        *("item_knn", "item_knn_decayed", "ease", "ease_decayed", "markov_short", "markov_long"),
        *("buyers_knn", "buyers_knn_text", "skipped_knn"),  # of a cold item, by its first buyers and by who skipped it
    ),
    "text": ("tfidf", "text_cca", "text_knn", "cold_text"),
    "sequence": ("transformer",),  # the history as a whole, in its order
    "popular": (
        *("popularity", "position_popularity", "recent_position_popularity", "first_popularity"),
        *("cold", "buyers", "recent_sales", "skipped"),
    ),
    "group": ("by_group", "first_by_group"),  # what is popular among users with the same attributes
    "price": ("price", "price_gap"),
    "length": ("n_baskets", "n_events"),  # of the history
}
NAMES = tuple(SIGNALS)
OF_HISTORY = tuple(NAMES.index(name) for name in ("repeat", "co-occurrence", "text", "sequence"))
CELLS = 1 << 22  # inputs that are scored at a time


def signals_of(inputs: Sequence[str]) -> np.ndarray:
    """int64 (F,): the place in NAMES of each input, by its name in SIGNALS."""
    place = {name: number for number, names in enumerate(SIGNALS.values()) for name in names}
    return np.array([place[name] for name in inputs], np.int64)


def attribute_signals() -> np.ndarray:
    """`signals_of` for the inputs of `AttributeRanker`, whose transformer reads nothing but attributes."""
    return np.concatenate([[NAMES.index("group")], signals_of(GROUP_FEATURES)])


def shares(
    score: Callable[[np.ndarray], np.ndarray], inputs: np.ndarray, instead: np.ndarray, signal: np.ndarray
) -> np.ndarray:
    """float64 (R, S): how much each signal adds to the score of `inputs` over that of `instead`; rows add up to the difference.

    score: inputs (C, F) -> scores (C,). inputs, instead: float32 (R, F). signal: int64 (F,), the signal of each input.
    """
    found = np.zeros((len(inputs), len(NAMES)))
    some = max(1, CELLS // ((1 << len(NAMES)) * inputs.shape[1]))
    for first in range(0, len(inputs), some):
        part = slice(first, first + some)
        found[part] = _shares(score, inputs[part], instead[part], signal)
    return found


def _shares(
    score: Callable[[np.ndarray], np.ndarray], inputs: np.ndarray, instead: np.ndarray, signal: np.ndarray
) -> np.ndarray:
    found = np.zeros((len(inputs), len(NAMES)))
    moved = np.unique(signal[(inputs != instead).any(0)]).tolist()  # only these can have a share
    subsets = [subset for size in range(len(moved) + 1) for subset in combinations(moved, size)]
    mixed = np.stack([np.where(np.isin(signal, subset), inputs, instead) for subset in subsets])
    scores = score(mixed.reshape(-1, mixed.shape[2])).reshape(len(subsets), -1).astype(np.float64)
    value = dict(zip(subsets, scores, strict=True))
    for one in moved:
        for subset in subsets:
            if one not in subset:
                weight = 1.0 / (len(moved) * comb(len(moved) - 1, len(subset)))
                found[:, one] += weight * (value[tuple(sorted((*subset, one)))] - value[subset])
    return found
