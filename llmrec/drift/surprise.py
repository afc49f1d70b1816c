"""How unusual a window's items are in a scene: the divergence of its counts from the scene's item shares.

It sees what no direction among known scenes can: items that none of them bought, as when a new assortment comes in.
Axis convention: `W` windows of `n` events, `S` known scenes, `N` items.
"""

from __future__ import annotations

import numpy as np

SMOOTH = 0.5  # events added to each item's count


def scene_shares(items: np.ndarray, scene: np.ndarray, n_scenes: int, n_items: int) -> np.ndarray:
    """float64 (S, N): smoothed share of each item in each scene. items: int (W, n), of windows of the scenes int (W,)."""
    counts = np.full((n_scenes, n_items), SMOOTH)
    for one in range(n_scenes):
        counts[one] += np.bincount(items[scene == one].ravel(), minlength=n_items)
    return counts / counts.sum(1, keepdims=True)


def divergence(items: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """float64 (W, S): Kullback-Leibler divergence of the item counts of windows int (W, n) from shares (S, N)."""
    ordered = np.sort(items, axis=1)
    own = np.stack([np.searchsorted(row, row, "right") - np.searchsorted(row, row, "left") for row in ordered])
    entropy = np.log(own / items.shape[1]).mean(1)
    return entropy[:, None] - np.log(shares)[:, items].mean(2).T
