"""A mix: a linear term and one hidden layer that turn feature columns into one score, with its gradient.

Axis convention: `F` columns, `H` bends, `T` tasks, `C` candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
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

    @property
    def weights(self) -> list[np.ndarray]:
        """All that is learned: line, bend, at and out."""
        return [self.line, self.bend, self.at, self.out]

    def ready(self, inputs: np.ndarray) -> np.ndarray:
        """float32, normalised, of columns (..., F)."""
        return np.clip((inputs - self.mean) / self.spread, -CLIP, CLIP)

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


def slopes(weights: Sequence[np.ndarray], inputs: np.ndarray, offset: np.ndarray) -> list[np.ndarray]:
    """Gradient of the mean over tasks of minus log probability of the first candidate, by line, bend, at and out of a `Mix`.

    inputs: float32 (T, C, F), normalised. offset: float32 (T, C).
    """
    line, bend, at, out = weights
    tasks, candidates, width = inputs.shape
    x = inputs.reshape(-1, width)
    hidden = np.maximum(x @ bend + at, 0)
    score = (x @ line + hidden @ out).reshape(tasks, candidates) + offset
    chance = np.exp(score - score.max(1, keepdims=True))
    chance /= chance.sum(1, keepdims=True)
    chance[:, 0] -= 1
    by_score = chance.reshape(-1) / tasks
    by_hidden = np.where(hidden > 0, by_score[:, None] * out, 0)
    return [by_score @ x, x.T @ by_hidden, by_hidden.sum(0), by_score @ hidden]
