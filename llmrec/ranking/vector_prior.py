"""Where the vector of a cold item is expected, by its text and by its first buyers, in closed form.

The mean vector h of a buyer's other items is Gaussian around a vector m of the item, with variance s / w for items that weigh w
together; and m is Gaussian around centre + slope * text, with variance t. So for buyers whose items have the mean h and weigh W

    E[m] = (precision * (centre + slope * text) + W * h) / (precision + W),  precision = s / t

where centre, slope and precision are those of items that were new in training: empirical Bayes (Efron and Morris, JASA 1973),
with variances by moments (DerSimonian and Laird, Controlled Clinical Trials 1986), and weights that no bestseller rules.

Axis convention: `N` items, `M` cold items with buyers, `P` purchases, `U` buyers, `d` width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from llmrec.data.dataset import Dataset
from llmrec.encoder.model import Items
from llmrec.encoder.moved import MovedItems
from llmrec.models.counts import user_item_weights
from llmrec.ranking.buyer_sums import TINY, BuyerSums, rarity

LEAST_ITEMS, LEAST_BUYERS = 10, 30  # the fewest needed; the first buyer of each item is not counted
MOST_BUYERS = 20_000  # whose purchases are read


@dataclass(frozen=True, eq=False)
class VectorPrior:
    """centre: float64 (d,). slope: of the text. precision: how much weight of buyers' items the text is worth."""

    centre: np.ndarray
    slope: float
    precision: float


def fit_vector_prior(
    dataset: Dataset, new: np.ndarray, text: np.ndarray, vectors: np.ndarray, popularity: np.ndarray
) -> VectorPrior | None:
    """The prior of items that were new in training, bool (N,); None for fewer than LEAST_ITEMS items or LEAST_BUYERS buyers,
    and where buyers add nothing to the texts.

    text, vectors: float32 (N, d), unit vectors of the items, where the new ones are known by their texts alone, and where all
    are known as they are. popularity: float32 (N,), of training users.
    """
    buyers = np.unique(dataset.user[new[dataset.item]])
    buyers = np.sort(np.random.default_rng(0).permutation(buyers)[:MOST_BUYERS])
    had = user_item_weights(dataset.take(buyers).counted)
    old = (had @ sparse.diags_array(np.where(new, 0.0, rarity(popularity)))).tocsr()
    held = np.asarray(old.sum(1)).ravel()
    taken = had.tocoo()
    some = new[taken.col] & (held[taken.row] > 0)
    user, item, weight = taken.row[some], taken.col[some], taken.data[some]
    items, place, count = np.unique(item, return_inverse=True, return_counts=True)
    if len(items) < LEAST_ITEMS or len(item) - len(items) < LEAST_BUYERS:
        return None
    weight = weight * held[user]
    total = np.bincount(place, weight)
    mine = (old @ vectors)[user] / held[user, None]
    share = sparse.csr_array((weight / total[place], (place, np.arange(len(place)))), shape=(len(items), len(place)))
    mean = np.asarray(share @ mine)
    within = float(weight @ ((mine - mean[place]) ** 2).sum(1)) / (len(item) - len(items))
    return _prior(mean, text[items].astype(np.float64), total, within, float(total.sum() / count.sum()))


def _prior(mean: np.ndarray, text: np.ndarray, total: np.ndarray, within: float, usual: float) -> VectorPrior | None:
    """mean, text: float64 (M, d). total: float64 (M,), weights of the means. within: the variance of a mean of weight 1.
    usual: the mean weight of a buyer."""
    part = total / (total + usual)
    part /= part.sum()
    level, told = part @ mean, text - part @ text
    spread = float(part @ (told * told).sum(1))
    slope = max(float(part @ ((mean - level) * told).sum(1)) / max(spread, TINY), 0.0)
    left = float(part @ ((mean - level - slope * told) ** 2).sum(1))
    noise = within * float((part * (1 - part)) @ (1 / total))
    between = (left - noise) / float(1 - part @ part)
    return None if between < TINY else VectorPrior(level - slope * (part @ text), slope, within / between)


def moved_items(prior: VectorPrior, sums: BuyerSums, items: Items) -> MovedItems | None:
    """The items of the sums at vectors as long as before, in the direction where they are expected; None without any."""
    if not len(sums.item):
        return None

    def change(place: np.ndarray) -> np.ndarray:
        some = sums.take(place)
        before = items.rows(some.item)
        length = np.linalg.norm(before, axis=1, keepdims=True)
        return length * moved_vectors(prior, some, before / np.maximum(length, TINY)) - before

    return MovedItems(sums.item, change)


def moved_vectors(prior: VectorPrior, sums: BuyerSums, unit: np.ndarray) -> np.ndarray:
    """Where the items of the sums are expected, from the centre on, as unit vectors float32 (M, d). unit: float32 (M, d), those
    of their texts."""
    moved = prior.precision * prior.slope * unit + sums.told - sums.total[:, None] * prior.centre
    return (moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), TINY)).astype(np.float32)
