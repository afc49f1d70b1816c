"""What is known of each scene: where the signatures of its windows lie, and how a window that is not of it would differ.

Axis convention: `W` windows, `S` known scenes, `F` features of a signature. A score is high where a window is unlike a scene.

A window of a few shoppers is unlike every other: distance alone drowns a new scene in what makes shoppers differ. But scenes
that came before say in which direction scenes differ from one another, and a new one tends to differ in that direction too.
So the score against a scene is the linear discriminant (Fisher 1936) between it and the mean of the other known scenes; with
no other scene it is the distance (Mahalanobis 1936). Where a window may be of any known scene, it is the distance within the
directions in which these differ.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llmrec.drift.signature import shrunk_covariance
from llmrec.errors import DataError

RIDGE = 0.1  # of the variance of a feature, added to the shrunk covariance
CLIP = 3.0  # deviations: one wholesaler must not decide
SURPRISE = 0.5  # weight of surprise beside the direction; with 1 another country is seen less well, with 0 another season


@dataclass(frozen=True)
class References:
    """Known scenes.

    centre, scale: float64 (F,), mean and deviation of the known windows' signatures, which normalise every feature.
    means: float64 (S, F), of each scene's normalised signatures.
    precision: float64 (F, F), inverse of their covariance within scenes.
    """

    centre: np.ndarray
    scale: np.ndarray
    means: np.ndarray
    precision: np.ndarray

    def normalised(self, signatures: np.ndarray) -> np.ndarray:
        """float64 (W, F)."""
        return np.clip((signatures - self.centre) / self.scale, -CLIP, CLIP)

    def distance(self, signatures: np.ndarray) -> np.ndarray:
        """float64 (W, S): distance to each scene's mean, in deviations."""
        away = self.normalised(signatures)[:, None] - self.means
        return np.sqrt(np.maximum(np.einsum("wsf,fg,wsg->ws", away, self.precision, away, optimize=True), 0))

    def directed(self, signatures: np.ndarray) -> np.ndarray:
        """float64 (W, S): how far a window lies from each scene towards the others, in deviations."""
        if len(self.means) == 1:
            return self.distance(signatures)
        others = (self.means.sum(0) - self.means) / (len(self.means) - 1)
        towards = (others - self.means) @ self.precision  # (S, F)
        length = np.sqrt(np.maximum(np.einsum("sf,sf->s", towards, others - self.means), 1e-12))
        return (self.normalised(signatures) @ towards.T - np.einsum("sf,sf->s", towards, self.means)) / length

    def between(self, signatures: np.ndarray) -> np.ndarray:
        """float64 (W, S): distance to each scene's mean among the directions in which known scenes differ, in deviations.
        Unlike `directed` it looks to both sides of a scene: a window that lies beyond all of them is none of them."""
        if len(self.means) == 1:
            return self.distance(signatures)
        size, turn = np.linalg.eigh(self.precision)
        white = turn * np.sqrt(np.maximum(size, 0))  # of unit variance within scenes
        away = (self.means - self.means.mean(0)) @ white
        axes = white @ np.linalg.svd(away, full_matrices=False)[2][: len(self.means) - 1].T
        gap = (self.normalised(signatures) @ axes)[:, None] - self.means @ axes
        return np.sqrt((gap**2).sum(-1))


def fit_references(signatures: np.ndarray, scene: np.ndarray, n_scenes: int, ridge: float = RIDGE) -> References:
    """References of `n_scenes` known scenes from the signatures (W, F) of their windows; scene: int (W,), 0..S - 1.

    Raises DataError when a scene has no window.
    """
    count = np.bincount(scene, minlength=n_scenes)
    if (count == 0).any():
        missing = int(np.flatnonzero(count == 0)[0])
        raise DataError(
            f"scene {missing} has no window to learn from, expected at least one; take shorter windows or more users"
        )
    centre, scale = signatures.mean(0), signatures.std(0)
    scale = np.where(scale > 1e-9, scale, 1.0)
    normal = np.clip((signatures - centre) / scale, -CLIP, CLIP)
    means = np.zeros((n_scenes, normal.shape[1]))
    np.add.at(means, scene, normal)
    means /= count[:, None]
    within = shrunk_covariance(normal - means[scene])
    return References(centre, scale, means, np.linalg.inv(within + ridge * np.eye(len(within))))


def deviations(scores: np.ndarray, scene: np.ndarray, learned: np.ndarray) -> np.ndarray:
    """Scores (W, S) against each scene in deviations from the mean of its own windows, those of `scene` int (W,) that were
    `learned` from (bool (W,)); so scores of several kinds and scenes can be put beside one another."""
    result = np.empty(scores.shape)
    for one in range(scores.shape[1]):
        own = scores[learned & (scene == one), one]
        spread = own.std()
        result[:, one] = (scores[:, one] - own.mean()) / (spread if spread > 1e-9 else 1.0)
    return result


def together(directed: np.ndarray, surprise: np.ndarray, weight: float = SURPRISE) -> np.ndarray:
    """One score (W, S) of two, both in deviations: of the direction, and `weight` of surprise at items."""
    return directed + weight * surprise
