"""A new scene as a mixture of known ones: their answers are mixed, never their weights.

Axis convention: `K` known scenes, `T` tasks, `N` items, `d` width of text vectors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llmrec.data.tasks import Tasks
from llmrec.errors import DataError
from llmrec.scenes.opening import Scene, scores_of


@dataclass(frozen=True)
class Mixture:
    """scenes: K answers over one shelf. weights: float64 (K,), which sum to 1."""

    scenes: tuple[Scene, ...]
    weights: np.ndarray

    def scores(self, tasks: Tasks) -> np.ndarray:
        """float32 (T, N): log of the mean of the scenes' probabilities; -inf for items outside the scene."""
        shelf = self.scenes[0].shelf
        mixed = np.zeros((len(tasks), len(shelf.among)))
        for answer, weight in zip(scores_of(self.scenes, tasks), self.weights, strict=True):
            score = np.full(mixed.shape, -np.inf)
            score[:, shelf.items] = answer
            chance = np.exp(score - score.max(1, keepdims=True))
            mixed += weight * chance / chance.sum(1, keepdims=True)
        with np.errstate(divide="ignore"):  # the log of nothing is what it should be
            return np.log(mixed).astype(np.float32)


def by_likeness(centre: np.ndarray, known: np.ndarray, sharpness: float) -> np.ndarray:
    """float64 (K,): weights by cosine of a scene's mean text vector (d,) to those of the known (K, d), before any catalogue's
    own centring; what all known scenes have in common is taken off first. sharpness: 0 mixes evenly, infinity takes the nearest
    one.

    Raises DataError without a known scene.
    """
    if len(known) == 0:
        raise DataError("known: expected at least one scene to mix, got none")
    middle = known.mean(0)
    own, others = centre - middle, known - middle
    length = np.maximum(np.linalg.norm(own) * np.linalg.norm(others, axis=1), 1e-12)
    like = others @ own / length
    if np.isinf(sharpness):
        return (np.arange(len(known)) == like.argmax()).astype(np.float64)
    weight = np.exp(sharpness * (like - like.max()))
    return weight / weight.sum()
