"""Controls of the signed study: means, nine counts, ridge without meta-learning, item kNN on residuals, matrix factorisation.

Each is a pure function of what is trained on and gives a score of each film asked for, float64 (Q,). What has constants comes
as several candidates, of which validation users choose one for each cell.

Axis convention: `N` films, `k` factors, `S` labels of a support, `Q` films asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.optimize import minimize

from llmrec.signed.labels import Labels
from studies.ratings.melu import Episode
from studies.signed.protocol import LEAST, LIKED, QUERY

Score = Callable[[Episode], np.ndarray]
USERS, FILMS = 5.0, 3.0  # ratings' worth of shrinkage of a user's offset and of a film's effect
DECAYS = (1.0, 0.9, 0.7)
LAST = 30


@dataclass(frozen=True)
class Effects:
    """level: mean of all labels. mean: (N,), shrunk mean of each film. base: (N,), its level without who rated it. rest: labels
    less base and offset of their user. count: (N,)."""

    level: float
    mean: np.ndarray
    base: np.ndarray
    rest: Labels
    count: np.ndarray


def effects(labels: Labels, n_films: int, rounds: int = 8) -> Effects:
    """Means of films, and offsets of users and effects of films in turn."""
    _, user = np.unique(labels.user, return_inverse=True)
    level, count, by_user = labels.value.mean(), np.bincount(labels.item, minlength=n_films), np.bincount(user)
    above, offset, effect = labels.value - level, np.zeros(len(by_user)), np.zeros(n_films)
    mean = level + np.bincount(labels.item, above, n_films) / (count + FILMS)
    for _ in range(rounds):
        effect = np.bincount(labels.item, above - offset[user], n_films) / (count + FILMS)
        offset = np.bincount(user, above - effect[labels.item]) / (by_user + USERS)
    return Effects(
        float(level), mean, level + effect, Labels(user, labels.item, above - effect[labels.item] - offset[user]), count
    )


def item_mean(found: Effects) -> Score:
    """The shrunk mean of the film."""
    return lambda one: found.mean[one.asked]


def user_and_item_mean(found: Effects) -> Score:
    """The mean of the film and the shrunk offset of the user from the means of the support."""
    return lambda one: found.mean[one.asked] + _offset(one.value - found.mean[one.item])


def counts_regression(found: Effects, learned_from: Sequence[Episode]) -> Score:
    """Logistic regression on nine counts: liked share and mean residual over the last 30 labels at three decays, length of the
    history, mean and count of the film. What it is learned from is among the labels of `found`, and left out of the film's mean
    and count there."""
    if not learned_from:
        return item_mean(found)
    x = np.concatenate([nine_counts(found, one, among=True) for one in learned_from])
    shift, spread = x.mean(0), np.maximum(x.std(0), 1e-9)
    weights = logistic((x - shift) / spread, np.concatenate([one.answer >= LIKED for one in learned_from]))
    return lambda one: weights[0] + (nine_counts(found, one) - shift) / spread @ weights[1:]


def examples(labels: Labels, size: int, seed: int = 0) -> list[Episode]:
    """`size` shuffled labels of each user trained on who has enough, and the next ones as query."""
    rng, found = np.random.default_rng(seed), []
    order = np.argsort(labels.user, kind="stable")
    for mine in np.split(order, np.flatnonzero(np.diff(labels.user[order])) + 1):
        if len(mine) < LEAST:
            continue
        chosen = labels.take(rng.permutation(mine)[: size + QUERY])
        found.append(Episode(0, chosen.item[:size], chosen.value[:size], chosen.item[size:], chosen.value[size:]))
    return found


def nine_counts(found: Effects, one: Episode, among: bool = False) -> np.ndarray:
    """float64 (Q, 9), of each film asked for. among: its label is among those of `found`, and taken out of the film's mean and
    count."""
    item, value = one.item[-LAST:], one.value[-LAST:]
    user = []
    for decay in DECAYS:
        weight = decay ** np.arange(len(item))[::-1]
        whole = max(weight.sum(), 1e-9)
        user += [weight @ (value >= LIKED) / whole, weight @ (value - found.mean[item]) / whole]
    mean, count = found.mean[one.asked], found.count[one.asked]
    if among:
        count = count - 1
        above = (mean - found.level) * (count + 1 + FILMS) - (one.answer - found.level)
        mean = found.level + above / (count + FILMS)
    film = np.column_stack([mean, np.log1p(count)])
    return np.column_stack([np.tile([*user, np.log1p(len(one.item))], (len(film), 1)), film])


def logistic(x: np.ndarray, liked: np.ndarray, ridge: float = 1.0) -> np.ndarray:
    """(1 + columns,): weights of a logistic regression, the constant first."""
    design, sign = np.column_stack([np.ones(len(x)), x]), np.where(liked, 1.0, -1.0)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (design @ weights)
        slope = design.T @ (-sign / (1 + np.exp(np.clip(margin, -500, 500)))) + ridge * np.r_[0, weights[1:]]
        return float(np.logaddexp(0, -margin).sum() + ridge / 2 * (weights[1:] ** 2).sum()), slope

    return np.asarray(minimize(loss, np.zeros(design.shape[1]), jac=True, method="L-BFGS-B").x)


def ridge(base: np.ndarray, features: np.ndarray, strength: float) -> Score:
    """The user's own ridge regression on features (N, F), one strength for all, beside base and the shrunk offset."""

    def score(one: Episode) -> np.ndarray:
        rest = one.value - base[one.item]
        offset, x = _offset(rest), features[one.item]
        weights = np.linalg.solve(x.T @ x + strength * np.eye(x.shape[1]), x.T @ (rest - offset))
        return base[one.asked] + offset + features[one.asked] @ weights

    return score


def alternating_least_squares(found: Effects, n_films: int, k: int, strength: float, rounds: int = 12) -> np.ndarray:
    """Factors (N, k) of films, by matrix factorisation of what means leave; a new user is a ridge regression on them."""
    shape = (int(found.rest.user.max()) + 1, n_films)
    value = sparse.csr_array((found.rest.value, (found.rest.user, found.rest.item)), shape)
    there = sparse.csr_array((np.ones(len(found.rest)), (found.rest.user, found.rest.item)), shape)
    film = np.random.default_rng(0).normal(0, 0.1, (n_films, k))

    def half(value: sparse.csr_array, there: sparse.csr_array, other: np.ndarray) -> np.ndarray:
        moment = (there @ (other[:, :, None] * other[:, None]).reshape(len(other), -1)).reshape(-1, k, k)
        return np.linalg.solve(moment + strength * np.eye(k), (value @ other)[:, :, None])[:, :, 0]

    by_film, there_by_film = value.T.tocsr(), there.T.tocsr()
    for _ in range(rounds):
        film = half(by_film, there_by_film, half(value, there, film))
    return film


def item_likeness(found: Effects, n_films: int, shrink: float) -> np.ndarray:
    """float32 (N, N): cosine of two films' residuals over who rated both, shrunk where these are few; what is below 0 is 0."""
    shape = (int(found.rest.user.max()) + 1, n_films)
    value = sparse.csr_array((found.rest.value, (found.rest.user, found.rest.item)), shape)
    there = sparse.csr_array((np.ones(len(found.rest)), (found.rest.user, found.rest.item)), shape)
    both, size = (there.T @ there).toarray(), (value.multiply(value).T @ there).toarray()
    found_here = (value.T @ value).toarray() / np.maximum(np.sqrt(size * size.T), 1e-9) * both / (both + shrink)
    return np.maximum(found_here, 0).astype(np.float32)


def item_knn(base: np.ndarray, likeness: np.ndarray, shrink: float) -> Score:
    """Residuals of the support, weighed by how like the film asked for is."""

    def score(one: Episode) -> np.ndarray:
        rest = one.value - base[one.item]
        offset, weight = _offset(rest), likeness[np.ix_(one.asked, one.item)]
        return base[one.asked] + offset + weight @ (rest - offset) / (weight.sum(1) + shrink)

    return score


def _offset(rest: np.ndarray) -> float:
    return float(rest.sum() / (len(rest) + USERS))
