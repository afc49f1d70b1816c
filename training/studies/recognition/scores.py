"""How unlike each known scene a window is: our score, parts of it, and simple controls.

Axis convention: `W` windows, `S` known scenes, `N` items. All learn from the windows of the part FIT alone; a score is float64
(W, S), high where a window is unlike a scene.
"""

from __future__ import annotations

import numpy as np

from llmrec.data.dataset import Dataset
from llmrec.drift.signature import fit_space, names, signatures
from llmrec.drift.surprise import divergence, scene_shares
from studies.recognition.reference import deviations, fit_references, together
from studies.recognition.windows import FIT, Laid

OURS = "signature and surprise"
DIRECTED = "signature, directed"  # what was declared before the first look at test
LOSS = "loss of counts"
CHAINED = 0.3  # weight of what followed the event before


def all_scores(
    dataset: Dataset, text: np.ndarray, events: np.ndarray, laid: Laid, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Method -> scores (W, S). text: float32 (N, d), centred. events: `slot_attributes(dataset)`."""
    fit, scenes = laid.part == FIT, laid.n_known
    rows = laid.windows.rows
    space = fit_space(dataset, text, rows[fit].ravel())
    found = signatures(space, dataset, events, laid.windows)
    whole = fit_references(found[fit], laid.scene[fit], scenes)
    of_text = found[:, : space.axes.shape[1]]
    words = fit_references(of_text[fit], laid.scene[fit], scenes)
    price = found[:, names(space.axes.shape[1]).index("mean of log_price")]
    usual = np.array([price[fit & (laid.scene == scene)].mean() for scene in range(scenes)])
    items = dataset.item[rows]
    shares = scene_shares(items[fit], laid.scene[fit], scenes, dataset.n_items)
    directed, surprise = whole.directed(found), divergence(items, shares)
    shape = directed if laid.fold.home else whole.between(found)
    return {
        OURS: together(deviations(shape, laid.scene, fit), deviations(surprise, laid.scene, fit)),
        DIRECTED: directed,
        "signature, distance": whole.distance(found),
        "text mean, directed": words.directed(of_text),
        "text mean, cosine": cosine(of_text, np.stack([of_text[fit & (laid.scene == s)].mean(0) for s in range(scenes)])),
        "text, energy distance": energy(items, space.axes, shares),
        "item counts, KL": surprise,
        "price level": np.abs(price[:, None] - usual),
        LOSS: count_loss(dataset, rows, laid.scene, fit, shares).mean(1),
        "random": rng.random((len(rows), scenes)),
    }


def cosine(means: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """1 - cosine of window means (W, K) and scene means (S, K)."""
    unit = [values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12) for values in (means, centres)]
    return 1 - unit[0] @ unit[1].T


def energy(items: np.ndarray, axes: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Energy distance between a window's items and a scene's, by Euclidean distance of their text (Szekely and Rizzo 2013)."""
    square = (axes.astype(np.float64) ** 2).sum(1)
    apart = np.sqrt(np.maximum(square[:, None] + square - 2 * axes.astype(np.float64) @ axes.T, 0)).astype(np.float32)
    from_scene = shares @ apart  # (S, N)
    within_scene = (from_scene * shares).sum(1)
    between = from_scene[:, items].mean(2).T  # (W, S)
    within = np.empty(len(items))
    step = max(1, (1 << 22) // items.shape[1] ** 2)
    for first in range(0, len(items), step):
        some = items[first : first + step]
        within[first : first + step] = apart[some[:, :, None], some[:, None, :]].mean((1, 2))
    return 2 * between - within[:, None] - within_scene


def count_loss(dataset: Dataset, rows: np.ndarray, scene: np.ndarray, fit: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """float64 (W, n, S): minus log probability of every event of every window under each scene's counts, a model that needs no
    training: the share of the item, mixed with what followed the user's event before where that has been seen."""
    n, item = dataset.n_items, dataset.item.astype(np.int64)
    before = np.where(rows > dataset.start[dataset.user[rows]], item[np.maximum(rows - 1, 0)], n)
    pair = before * n + item[rows]  # of a first event `before` is no item, and no pair of it is counted
    result = np.empty((*rows.shape, len(shares)))
    for one in range(len(shares)):
        there = fit & (scene == one)
        seen, times = np.unique(pair[there][before[there] < n], return_counts=True)
        total = np.bincount(seen // n, times, minlength=n + 1)
        place = np.minimum(np.searchsorted(seen, pair), max(len(seen) - 1, 0))
        hit = (seen[place] == pair) if len(seen) else np.zeros(pair.shape, bool)
        followed = np.where(hit, times[place] if len(seen) else 0, 0) / np.maximum(total[before], 1)
        weight = CHAINED * (total[before] > 0)
        result[:, :, one] = -np.log((1 - weight) * shares[one][item[rows]] + weight * followed)
    return result
