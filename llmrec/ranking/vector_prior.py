"""Where the vector of a cold item is expected, by its text and by its first buyers, in closed form.

The mean vector h of what a buyer had else is Gaussian around a vector m of the item, with variance s; and m is Gaussian around
centre + slope * text, with variance t. So of n buyers with the mean h

    E[m] - centre = (precision * slope * text + n * (h - centre)) / (precision + n),  precision = s / t

where centre, slope and precision are those of items that were new in training: empirical Bayes (Efron and Morris, JASA 1973;
variances by moments, DerSimonian and Laird 1986).

Axis convention: `N` items, `M` cold items with buyers, `P` purchases, `d` width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from llmrec.data.dataset import Dataset
from llmrec.models.counts import membership, user_items
from llmrec.ranking.first_buyers import FirstBuyers

LEAST_ITEMS, LEAST_BUYERS = 10, 30  # that are needed; of buyers those after the first of an item
TINY = 1e-9


@dataclass(frozen=True, eq=False)
class VectorPrior:
    """centre: float64 (d,), the mean of buyers. slope: of the text. precision: how many buyers the text is worth."""

    centre: np.ndarray
    slope: float
    precision: float


def fit_vector_prior(
    dataset: Dataset, new: np.ndarray, text: np.ndarray, vectors: np.ndarray, popularity: np.ndarray
) -> VectorPrior | None:
    """The prior of items that were new in training, bool (N,); None of fewer than LEAST_ITEMS of them or LEAST_BUYERS, and
    where buyers tell nothing that the texts do not.

    text, vectors: float32 (N, d), unit vectors of the items, where the new ones are known by their texts alone, and where all
    are known as they are. popularity: float32 (N,), of training users.
    """
    had = membership(user_items(dataset.counted))
    old = (had @ sparse.diags_array(np.where(new, 0.0, rarity(popularity)))).tocsr()
    weight = np.asarray(old.sum(1)).ravel()
    buyer, item = had.nonzero()
    some = new[item] & (weight[buyer] > 0)
    buyer, item = buyer[some], item[some]
    items, place, buyers = np.unique(item, return_inverse=True, return_counts=True)
    if len(items) < LEAST_ITEMS or len(item) - len(items) < LEAST_BUYERS:
        return None
    mine = (old @ vectors)[buyer] / weight[buyer, None]
    centre = mine.mean(0)
    mean = _means(mine, place, buyers)
    within = float(((mine - mean[place]) ** 2).sum()) / (len(item) - len(items))
    away, told = mean - centre, text[items].astype(np.float64)
    slope = max(float(buyers @ (away * told).sum(1)) / max(float(buyers @ (told * told).sum(1)), TINY), 0.0)
    between = float(buyers @ (((away - slope * told) ** 2).sum(1) - within / buyers)) / len(item)
    return None if between < TINY else VectorPrior(centre, slope, within / between)


def _means(values: np.ndarray, place: np.ndarray, count: np.ndarray) -> np.ndarray:
    """float64 (M, d): the mean of the rows of `values` (P, d) at each place, int64 (P,), of which there are `count`."""
    table = sparse.csr_array((1.0 / count[place], (place, np.arange(len(place)))), shape=(len(count), len(place)))
    return np.asarray(table @ values)


def moved_vectors(
    prior: VectorPrior, known: FirstBuyers, popularity: np.ndarray, vectors: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The cold items that were sold to somebody who had a warm one, int64 (M,), and their unit vectors float32 (M, d).

    popularity: float32 (N,), of training users. vectors: float32 (N, d), unit vectors of all items.
    """
    row, column, value = known.together.entries
    some = ~known.cold[row] & (known.sold[column] > 0)
    row, column, value = row[some], column[some], value[some] * rarity(popularity[row[some]])
    items, place = np.unique(column, return_inverse=True)
    total = np.bincount(place, value, len(items))
    table = sparse.csr_array((value / total[place], (place, row)), shape=(len(items), len(vectors)))
    buyers = known.sold[items][:, None]
    moved = prior.precision * prior.slope * vectors[items] + buyers * (table @ vectors - prior.centre)
    return items, (moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), TINY)).astype(np.float32)


def rarity(popularity: np.ndarray) -> np.ndarray:
    """float64: what an item of a history weighs: less the more users have it."""
    return 1 / np.sqrt(np.maximum(popularity.astype(np.float64), 1.0))
