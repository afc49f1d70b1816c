"""What LoRA learns likes from: films as inputs, and supports and queries of users whom the factors have not seen.

Factors say too much of the users that they were learned from, so training users are cut into folds, each of which is read by
beliefs learned from the other folds, turned into the directions of the whole (orthogonal Procrustes: Schoenemann, 1966).
A film is told by factors, effect, marks, principal components of its text, and for each user by the log odds that the prior
mean gives it, which knows what the user rated and not how; under the closed form by its log odds as well, where each label of
the support is foretold from the others.

Axis convention: `U` users, `n` films of each, `N` films, `D` weights of a user, `F` numbers of a film, `K` folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from scipy.linalg import block_diag, orthogonal_procrustes
from scipy.special import logit, ndtr

from llmrec.signed.beliefs import Beliefs, Described, Weights, described, inputs, posterior, predict, standardised
from llmrec.signed.labels import Labels, Scale
from llmrec.signed.learning import learn
from studies.ratings.melu import Episode
from studies.signed import controls
from studies.signed.lora import Side

FOLDS, TEXT, TINY = 5, 32, 1e-6
NONE, PRIOR, CLOSED = "", "prior", "closed form"  # what the log odds start from


@dataclass(frozen=True, eq=False)
class Told:
    """Beliefs, and a table (N, F) of what the network is told of films, float32."""

    beliefs: Beliefs
    table: np.ndarray


@dataclass(frozen=True, eq=False)
class Foretold:
    """One side of U tasks as arrays. item, level: int64 (U, n). there: (U, n). prior, closed: (U, n), log odds of a like."""

    item: np.ndarray
    level: np.ndarray
    there: np.ndarray
    prior: np.ndarray
    closed: np.ndarray

    def take(self, users: np.ndarray) -> Foretold:
        """The rows of some users."""
        return Foretold(*(getattr(self, one.name)[users] for one in fields(self)))


def told(beliefs: Beliefs, text: np.ndarray, like: Beliefs | None = None) -> Told:
    """The table of inputs, in the units of `like`, which is `beliefs` unless it is given."""
    rest = text - text.mean(0)
    left, size, _ = np.linalg.svd(rest, full_matrices=False)
    parts = [left[:, :TEXT] * (size[:TEXT] / max(size[0], TINY)) * np.sqrt(len(text))]
    for mine, other in zip(_blocks(beliefs), _blocks(like or beliefs), strict=True):
        if mine.shape[1]:
            parts.append((mine - other.mean(0)) / max(other.std(0).max(), TINY))
    return Told(beliefs, np.hstack(parts).astype(np.float32))


def _blocks(beliefs: Beliefs) -> list[np.ndarray]:
    """What beliefs say of films, by kind: of one kind the most spread has unit spread, so that weak factors stay weak."""
    own = (beliefs.mean[:, None], beliefs.features[:, :-1], beliefs.marks, np.log(beliefs.variance)[:, None])
    return [np.asarray(part, np.float64) for part in own]


def folds(train: Labels, scale: Scale, text: np.ndarray, whole: Beliefs, n: int = FOLDS) -> tuple[list[Told], np.ndarray]:
    """For each fold what the others say, and the fold of each user, by its number."""
    fold = np.random.default_rng(0).permutation(int(train.user.max()) + 1) % n
    count = np.bincount(train.item, minlength=len(text))
    found = []
    for one in range(n):
        other = learn(train.take(fold[train.user] != one), scale, text)
        found.append(told(turned(other, whole, count), text, whole))
    return found, fold


def turned(beliefs: Beliefs, to: Beliefs, count: np.ndarray) -> Beliefs:
    """The same beliefs, with factors and marks turned to be as near as can be to those of `to`, films weighed by `count`."""
    root = np.sqrt(count)[:, None]

    def turn(mine: np.ndarray, other: np.ndarray) -> np.ndarray:
        return orthogonal_procrustes(root * mine, root * other)[0] if mine.shape[1] else np.zeros((0, 0))

    factors = block_diag(turn(beliefs.features[:, :-1], to.features[:, :-1]), np.eye(1))
    marks = turn(beliefs.marks, to.marks)
    return replace(
        beliefs,
        features=beliefs.features @ factors,
        marks=beliefs.marks @ marks,
        prior=block_diag(np.eye(1), marks).T @ beliefs.prior @ factors,
        text=beliefs.text @ block_diag(np.eye(1), factors),
    )


def foretold(beliefs: Beliefs, asked: Sequence[Episode], levels: np.ndarray) -> tuple[Foretold, Foretold]:
    """Supports and queries of U tasks. levels: the labels there are, ascending."""
    known, query = [], []
    for one in asked:
        here, there = described(beliefs, one.item), described(beliefs, one.asked)
        weights = posterior(beliefs, here, one.value, one.time, one.now)
        start = _start(beliefs, here)
        known.append((one.item, one.value, predict(beliefs, start, here).probability, left_out(beliefs, here, one.value)))
        query.append((one.asked, one.answer, *(predict(beliefs, some, there).probability for some in (start, weights))))
    return _padded(known, levels), _padded(query, levels)


def _start(beliefs: Beliefs, items: Described) -> Weights:
    """What is believed of a user who labelled these items, before the labels are read."""
    mean, d = inputs(beliefs, items) @ beliefs.prior, beliefs.prior.shape[1]
    return Weights(np.append(mean, 0.0), np.diag(np.append(np.ones(d), beliefs.serial.variance)))


def left_out(beliefs: Beliefs, items: Described, value: np.ndarray) -> np.ndarray:
    """Probability (S,) of a like by the posterior of all labels but the label itself; which items were labelled is known.
    Serial correlation is left out, as if no time were known."""
    if not len(value):
        return np.zeros(0)
    weights = posterior(beliefs, items, value)
    middle, variance = standardised(beliefs, weights, items)
    noise = items.variance + beliefs.noise + beliefs.serial.variance
    reach = (items.features @ weights.covariance[:-1, :-1] * items.features).sum(1)
    rest = (beliefs.seen.clip(value) - beliefs.centre) / beliefs.spread - middle
    left = 1 - reach / noise
    middle, variance = middle + rest - rest / left, noise + reach / left
    likely = ndtr(beliefs.slope * (middle - beliefs.threshold) / np.sqrt(variance))
    return (1 - beliefs.trust) * beliefs.base + beliefs.trust * likely


def _padded(parts: Sequence[tuple[np.ndarray, ...]], levels: np.ndarray) -> Foretold:
    shape = len(parts), max(len(part[0]) for part in parts)
    there = np.arange(shape[1]) < np.array([len(part[0]) for part in parts])[:, None]
    item, value, prior, closed = (np.zeros(shape) for _ in range(4))
    for filled, column in zip((item, value, prior, closed), zip(*parts, strict=True), strict=True):
        filled[there] = np.concatenate(column)
    level = np.where(there, np.abs(value[..., None] - levels).argmin(-1), 0)
    odds = (np.where(there, logit(np.clip(one, 1e-4, 1 - 1e-4)), 0.0) for one in (prior, closed))
    return Foretold(item.astype(np.int64), level, there, *odds)


def side(table: np.ndarray, found: Foretold, start: str) -> Side:
    """Tensors of one side of U tasks. table: (N, F). start: NONE, PRIOR or CLOSED."""
    odds = [found.prior] + [found.closed] * (start == CLOSED)
    x = np.concatenate([table[found.item], np.stack(odds, -1).astype(np.float32)], -1)
    begin = odds[-1] if start else np.zeros_like(found.prior)
    there = torch.from_numpy(found.there).float()
    return Side(torch.from_numpy(x), torch.from_numpy(begin).float(), torch.from_numpy(found.level), there)


def training_tasks(train: Labels, size: int, draws: int) -> tuple[list[list[Episode]], np.ndarray]:
    """`draws` shuffles of the labels of each user trained on who has enough, and the numbers of these users."""
    users, count = np.unique(train.user, return_counts=True)
    return [controls.examples(train, size, seed) for seed in range(draws)], users[count >= controls.LEAST]
