"""The counting controls over all that is known of a user, and weights of blends, chosen on users who are not asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from llmrec.data.dataset import Dataset
from llmrec.data.tasks import Tasks
from llmrec.metrics.ranking import rank_targets
from llmrec.models.item_item import Ease, ItemKnn, fit_ease, fit_item_knn
from studies.adaptation.bank import Bank, Lists

RIDGES, SHRINKS = (100.0, 300.0, 1000.0), (10.0, 50.0)
WEIGHTS = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)


@dataclass(frozen=True)
class Counting:
    """Controls fitted with each of their constants; which is best is for every cell to say."""

    ease: tuple[Ease, ...]
    knn: tuple[ItemKnn, ...]


def counting(dataset: Dataset, users: np.ndarray) -> Counting:
    """EASE and item kNN of these users."""
    ease = tuple(fit_ease(dataset, users, ridge) for ridge in RIDGES)
    return Counting(ease, tuple(fit_item_knn(dataset, users, 200, shrink) for shrink in SHRINKS))


def ndcg(scores: np.ndarray, relevant: Lists, k: int = 10) -> np.ndarray:
    """float64 (T,), NaN for a user who is asked for nothing."""
    wanted = [relevant.item[a:b] for a, b in zip(relevant.start[:-1], relevant.start[1:], strict=True)]
    return rank_targets(scores, wanted).ndcg(k)


def masked(scores: np.ndarray, bank: Bank) -> np.ndarray:
    """Scores of a control with what the base hides at the query hidden as well."""
    gone = bank.query.extra
    where = gone.value < -1.0
    scores = scores.astype(np.float32, copy=True)
    scores[gone.owner[where], gone.item[where]] = -np.inf
    return scores


def best(
    controls: Sequence[Ease | ItemKnn], chosen: tuple[Tasks, Bank], asked: tuple[Tasks, Bank]
) -> tuple[np.ndarray, np.ndarray]:
    """Scores of the users to choose on and of those asked, by the control that is best for the first."""
    scores = [masked(control.scores(chosen[0]), chosen[1]) for control in controls]
    index = int(np.argmax([np.nanmean(ndcg(one, chosen[1].query.target)) for one in scores]))
    return scores[index], masked(controls[index].scores(asked[0]), asked[1])


def weighed(
    parts: Mapping[str, tuple[np.ndarray, np.ndarray]], relevant: Lists, weights: Sequence[float] = WEIGHTS
) -> tuple[np.ndarray, dict[str, float]]:
    """A sum of scores with weights, chosen one after the other on users who are not asked.

    parts: name -> scores of those users and of the asked ones; the first has weight 1. relevant: what those users took.
    """
    (_, (first, found)), *others = parts.items()
    taken = {}
    for name, (here, there) in others:
        with np.errstate(invalid="ignore"):
            tried = [np.nanmean(ndcg(_plus(first, here, weight), relevant)) for weight in weights]
        taken[name] = float(weights[int(np.argmax(tried))])
        first, found = _plus(first, here, taken[name]), _plus(found, there, taken[name])
    return found, taken


def _plus(scores: np.ndarray, others: np.ndarray, weight: float) -> np.ndarray:
    """The sum; what either hides stays hidden."""
    return np.where(np.isneginf(others), -np.inf, scores + weight * np.where(np.isneginf(others), 0, others)).astype(np.float32)
