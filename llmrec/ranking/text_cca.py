"""Text CCA: a linear map, in closed form, from the text of a history to the text of the next items.

    score(history, item) = (z - mean z)' (S_zz + r v_z I)^-1 S_zf (S_ff + r v_f I)^-1 (f - mean f)

z is the mean text of a history, f the text of what is taken next, S their covariances over moments of training users, v the
mean variances: regularised canonical correlation (Hotelling, Biometrika 1936; Vinod, J. Econometrics 1976), of which the
strongest directions are kept. Nothing in it belongs to a single item: it knows one that nobody had as well as any other.

Axis convention: `T` tasks, `N` items, `V` words, `R` directions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from llmrec.data.dataset import Dataset
from llmrec.data.tasks import Tasks
from llmrec.models.counts import support_counts

DECAY = 0.9  # weight of a basket of the history against the one after it: text lasts longer than items do
RIDGE = 2.0  # times the mean variance, on either side
DIRECTIONS = 256
WORD_AXES = 512  # random ones, that words are projected on: a name counts for itself, which the encoder smooths away
MOMENTS = 200_000  # of training users' histories that are learned from, at most
_BLOCK = 8192  # moments at a time


@dataclass(frozen=True)
class Flow:
    """ask: float32 (N, R), an item as a part of a history. answer: float32 (N, R), an item as what comes next.
    centre: float32 (R,), the usual history."""

    ask: np.ndarray
    answer: np.ndarray
    centre: np.ndarray

    def histories(self, tasks: Tasks) -> np.ndarray:
        """float32 (T, R): what the products with `answer` are the scores of; zeros for an empty support."""
        held = _mean_items(tasks)
        return (held @ self.ask - self.centre) * (np.diff(held.indptr) > 0)[:, None]

    def scores(self, tasks: Tasks) -> np.ndarray:
        """float32 (T, N); 0 for all items where a support is empty."""
        return self.histories(tasks) @ self.answer.T


def item_features(text: np.ndarray, words: sparse.csr_array, rng: np.random.Generator) -> np.ndarray:
    """float32 (N, d + WORD_AXES): text (N, d) beside words (N, V) on random axes, rows of either part of one length."""
    axes = rng.standard_normal((words.shape[1], WORD_AXES), np.float32)
    return np.concatenate([_unit(text), _unit(words.astype(np.float32) @ axes)], 1) / np.float32(2**0.5)


def fit_flow(dataset: Dataset, users: np.ndarray, item: np.ndarray, rng: np.random.Generator) -> Flow:
    """The map from the histories of `users` (int indices), each up to each of its baskets. item: float32 (N, F), see
    `item_features`.

    Without features, or without a user of two baskets, it says nothing: R = 0.
    """
    part = dataset.take(users).counted
    if not item.shape[1] or not (part.n_baskets > 1).any():
        none = np.zeros((dataset.n_items, 0), np.float32)
        return Flow(none, none, np.zeros(0, np.float32))
    tasks = _moments(part, rng)
    size = item.shape[1]
    moment, total, count = np.zeros((2 * size, 2 * size)), np.zeros(2 * size), len(tasks)
    for first in range(0, count, _BLOCK):
        some = tasks.take(np.arange(first, min(first + _BLOCK, count)))
        after = Tasks(part, some.split, some.stop, some.stop)
        both = np.concatenate([_mean_items(some) @ item, _mean_items(after) @ item], 1)
        moment += both.T @ both
        total += both.sum(0)
    mean = total / count
    covariance = moment / count - np.outer(mean, mean)
    before, cross, next_one = covariance[:size, :size], covariance[:size, size:], covariance[size:, size:]
    left = np.linalg.solve(_ridged(before), cross)
    turned = np.linalg.solve(_ridged(next_one), left.T).T
    from_history, strength, to_item = np.linalg.svd(turned)
    held = min(DIRECTIONS, size)
    root = np.sqrt(strength[:held])
    into = (from_history[:, :held] * root).astype(np.float32)
    answer = (item - mean[size:].astype(np.float32)) @ (to_item[:held].T * root).astype(np.float32)
    return Flow(item @ into, answer, mean[:size].astype(np.float32) @ into)


def _moments(part: Dataset, rng: np.random.Generator) -> Tasks:
    """A task for every basket but the first of each user, or for as many of them as are learned from."""
    basket = np.flatnonzero(part.basket[part.basket_start[:-1]] > 0)
    if len(basket) > MOMENTS:
        basket = np.sort(rng.choice(basket, MOMENTS, replace=False))
    split = part.basket_start[basket]
    return Tasks(part, part.start[part.user[split]], split, part.basket_start[basket + 1])


def _mean_items(tasks: Tasks) -> sparse.csr_array:
    """float32 (T, N): weights of the support's items, which sum to 1; all 0 for an empty one."""
    held = support_counts(tasks, DECAY)
    total = np.maximum(np.asarray(held.sum(1)), 1e-12)
    held.data /= np.repeat(total, np.diff(held.indptr))
    return held.astype(np.float32)


def _ridged(covariance: np.ndarray) -> np.ndarray:
    return covariance + max(RIDGE * np.trace(covariance) / len(covariance), 1e-12) * np.eye(len(covariance))


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-9))
