"""A mix: columns to one score, a straight line and a few bends beside it.

Axis convention: `F` columns, `H` bends.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CLIP = 8.0  # deviations: a count that no known scene had must not decide alone
_CELLS = 1 << 17  # what fits near the processor


@dataclass(frozen=True)
class Mix:
    """names: F columns. mean, spread: float32 (F,), which normalise them. line: float32 (F,). bend: float32 (F, H), at: float32
    (H,), out: float32 (H,): score = line x + out max(0, bend x + at)."""

    names: tuple[str, ...]
    mean: np.ndarray
    spread: np.ndarray
    line: np.ndarray
    bend: np.ndarray
    at: np.ndarray
    out: np.ndarray

    def __call__(self, columns: dict[str, np.ndarray]) -> np.ndarray:
        """float32 (T, M) of columns (T, M); no item's score depends on another's."""
        rows, items = columns[self.names[0]].shape
        result = np.empty((rows, items), np.float32)
        step = max(1, _CELLS // max(items, 1))
        mean, spread, at = self.mean[:, None], self.spread[:, None], self.at[:, None]
        for first in range(0, rows, step):
            part = [columns[name][first : first + step].ravel() for name in self.names]
            x = np.stack(part).astype(np.float32, copy=False)  # (F, cells): a column is one piece of memory
            x -= mean
            x /= spread
            np.clip(x, -CLIP, CLIP, out=x)
            score = self.line @ x
            if len(self.out):
                hidden = self.bend.T @ x
                hidden += at
                np.maximum(hidden, 0, out=hidden)
                score += self.out @ hidden
            result[first : first + step] = score.reshape(-1, items)
        return result
