"""All metrics, per user, with ties settled by expectation; the definitions are written out here.

Every function takes `scores`, float (T, N), higher is better; most take `relevant`, T arrays of item indices, and `k`, the
number of places that count. `allowed`, bool (T, N), takes items out of a user's ranking (those already seen, for example).
Equal scores say nothing about order: each metric is its exact mean over all orders of the tied items. With r running over
ranks from 1, rel(r) = 1 where the item at rank r is relevant and else 0, and R the number of the user's relevant items:

| function | of one user | without relevant items |
|---|---|---|
| `ndcg` | sum over r <= k of rel(r) / log2(r + 1), over the same sum for r <= min(k, R) with rel = 1 | NaN |
| `recall` | relevant items among the first k, over R | NaN |
| `hit_rate` | 1 where the first k hold a relevant item, else 0 | NaN |
| `mrr` | 1 / rank of the first relevant item | NaN |
| `mean_average_precision` | sum over r <= k of rel(r) * (relevant items among the first r) / r, over min(k, R) | NaN |
| `auc` | share of pairs (relevant, other item) in which the relevant one is higher, a tie counting one half | NaN |
| `novelty` | mean of -log2(popularity share) over the first k, in bits | defined |
| `calibration` | divergence of the first k's categories from the history's (Steck 2018), in nats, 0 is best | defined |
| `coverage` | one number for all users: share of the catalogue in anyone's first k | defined |

NaN leaves a user out of the means and intervals of `llmrec.metrics.bootstrap`. `rank_targets` finds every relevant item once,
and `TargetRanks` has `ndcg`, `recall`, `hit_rate`, `mrr`, `mean_average_precision` and `auc` as methods, for several k at the
price of one. `one_hot` makes the categories of `calibration` from a column of the catalogue.
"""

from __future__ import annotations

from llmrec.data.categories import one_hot
from llmrec.metrics.beyond_accuracy import calibration, coverage, novelty
from llmrec.metrics.ranking import TargetRanks, auc, hit_rate, mean_average_precision, mrr, ndcg, rank_targets, recall

__all__ = [
    "TargetRanks",
    "auc",
    "calibration",
    "coverage",
    "hit_rate",
    "mean_average_precision",
    "mrr",
    "ndcg",
    "novelty",
    "one_hot",
    "rank_targets",
    "recall",
]
