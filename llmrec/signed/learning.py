"""Learn beliefs from the labels of training users: factors, what text foretells of them, and the prior mean of the weights.

Everything is a closed form but the factors, which take rounds of them. The prior mean is meta-learned: on episodes of training
users, a support and a query each, the posterior mean of the query is linear in `Beliefs.prior`, so the outer loss, the squared
error over the predictive variance, has its minimum at one linear solve. The noise and what makes a probability of a number are
learned on a tenth of the users, whom the factors have not seen: of their own users factors say too much. The serial
correlation is learned on them too, by the marginal likelihood of their labels in the order of time, and so is how far
probabilities are trusted, see `llmrec.signed.chances`. Episodes are in random order.

Axis convention: as in `beliefs.py`; `R` items with labels, `k` factors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from scipy import sparse
from scipy.linalg import solve_triangular
from scipy.sparse.linalg import svds

from llmrec.signed.beliefs import (
    Beliefs,
    described,
    foretold,
    inputs,
    posterior,
    prior_weights,
    standardised,
)
from llmrec.signed.chances import ahead, at_once, calibrated, range_of, trusted
from llmrec.signed.factors import FLOOR, Factors, factorise
from llmrec.signed.labels import Labels, Scale
from llmrec.signed.serial import DAY, Serial, covariance, moments

FACTORS, MANY_ITEMS = 16, 50_000  # factors; half as many from so many items on, whose covariances have to be held
ROUNDS = 12  # 24 are no better on those validation users
MARKS, SHRINK, RIDGE = 16, 1.5, 30.0  # chosen on validation users of MovieLens-1M; 8 to 32 marks are alike
LONGEST, QUERY = 40, 30  # labels of a support and a query of an episode, at most
MOST_LABELS, EPISODES = 2_000_000, 4000  # that are learned from, at most
HELD_OUT, MOST_HELD_OUT = 0.1, 1000  # share of the users whom the factors do not see, and the most of them
NOISES = 1.15 ** np.arange(-1, 12)  # that the factors' own noise is multiplied by, to choose from
CLIMB = 1.15**3  # by which the noise grows beyond these for as long as that makes labels more likely
SHARES = (0.05, 0.1, 0.2, 0.3, 0.5)  # of the noise that labels following each other have in common
CORRELATIONS, HALF_LIVES = (0.5, 0.8, 0.9, 0.95, 0.98), (600.0, DAY / 24, DAY, 7 * DAY, 60 * DAY)
RUNS = 300  # of labels, from which these three are chosen
FEWEST = 20  # users with two labels and more, below which nothing is learned
FEW_LABELS = 20.0  # labels at which an item weighs half in what text says; chosen on the same validation users
TEXT_ROWS = 20_000  # items that text is learned on, at most
_RIDGES = 10.0 ** np.arange(-2, 4.01, 0.5)


def too_few(labels: Labels, scale: Scale) -> str:
    """In words what is missing to learn from; "" where nothing is."""
    able = int((np.bincount(labels.user) >= 2).sum()) if len(labels) else 0
    if able < FEWEST:
        return f"{able} users have two labels or more, and {FEWEST} are needed"
    liked = labels.value >= scale.liked_from
    return "" if liked.any() and not liked.all() else f"all {len(labels):,} labels are {'likes' if liked.all() else 'dislikes'}"


def learn(labels: Labels, scale: Scale, text: np.ndarray, seed: int = 0, marks: int = MARKS) -> Beliefs:
    """Beliefs from the labels of training users. Without their times no serial correlation is learned.

    text: (N, d), descriptions of the catalogue's items: text vectors, and attributes beside them; the result is over its N
        items. marks: how many numbers of an item the prior mean may depend on; with 0 it is one for all users.

    Needs labels for which `too_few` is "".
    """
    rng, n = np.random.default_rng(seed), len(text)
    seen = range_of(labels.value)
    labels = _some(labels, rng)
    inside, outside = _held_out(labels, rng)
    centre, spread = float(labels.value.mean()), float(labels.value.std())
    plain = replace(inside, value=(inside.value - centre) / spread)
    rated, item = np.unique(plain.item, return_inverse=True)  # factors are of these alone
    k = FACTORS if len(rated) <= MANY_ITEMS else FACTORS // 2
    found = factorise(Labels(plain.user, item, plain.value), len(rated), k, ROUNDS, seed)
    some = np.sort(rng.permutation(len(rated))[:TEXT_ROWS])
    values, texts, count = np.column_stack([found.effect, found.factors]), text[rated], np.bincount(item)
    each, left = text_weights(values[some], texts[some], np.ones(len(some)))
    mean, features, variance = _together(found, foretold(each, texts), left)
    weights, left = text_weights(values[some], texts[some], count[some])
    told = foretold(weights, text)
    told[rated] = np.column_stack([mean, features])
    unsure = np.full(n, left.sum())
    unsure[rated] = variance
    offset = np.zeros((1 + text.shape[1], 1))
    offset[0] = np.sqrt(found.offset)
    marked = np.zeros((n, marks))
    marked[rated] = _marks(plain, item, len(rated), marks)
    beliefs = Beliefs(
        mean=told[:, 0] + found.level,
        features=np.column_stack([told[:, 1:], np.full(n, offset[0, 0])]),
        variance=unsure,
        marks=marked,
        prior=np.zeros((1 + marks, k + 1)),
        text=np.column_stack([weights, offset]),
        text_variance=float(left.sum()),
        shrink=SHRINK,
        noise=found.noise,
        centre=centre,
        spread=spread,
        threshold=0.0,
        slope=1.0,
        scale=scale,
        users=len(np.unique(labels.user)),
        labels=len(labels),
        seen=seen,
        base=float((labels.value >= scale.liked_from).mean()),
    )
    beliefs.text[0, 0] += found.level
    others = list(_episodes(outside, rng))
    beliefs = replace(beliefs, noise=_noise(beliefs, others))
    beliefs = replace(beliefs, prior=_prior_mean(beliefs, _episodes(labels, rng)))
    beliefs = _with_serial_correlation(calibrated(beliefs, at_once(beliefs, others)), outside)
    beliefs = trusted(beliefs, at_once(beliefs, others) if labels.time is None else ahead(beliefs, _runs(outside)))
    return _rounded(beliefs if labels.time is None else replace(beliefs, until=float(labels.time.max())))


def text_weights(values: np.ndarray, text: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ridge regression of values (R, 1 + k) of items on text vectors (R, d): weights (1 + d, 1 + k), a constant first, and the
    variance (1 + k,) that they leave. The ridge of each column is the best by leaving one item out.

    count: (R,), labels of the items; ones for what an item is like. With counts the level is that of labels, not of items, for
    what is rated little is liked less, and a new item that somebody rates is one that is rated.
    """
    text = np.asarray(text, np.float64)
    weight = count / (count + FEW_LABELS)
    weight = weight / weight.mean()
    shift, level = weight @ text / len(text), weight @ values / len(text)
    root = np.sqrt(weight)[:, None]
    left, size, right = np.linalg.svd(root * (text - shift), full_matrices=False)
    goal, errors, weights = root * (values - level), [], []
    along = left.T @ goal
    for ridge in _RIDGES:
        share = size**2 / (size**2 + ridge)
        lever = 1 - weight / len(text) - (left**2) @ share
        errors.append((((goal - left @ (share[:, None] * along)) / np.maximum(lever, 1e-6)[:, None]) ** 2).mean(0))
        weights.append(right.T @ ((size / (size**2 + ridge))[:, None] * along))
    best = np.argmin(errors, 0)
    chosen = np.stack([weights[row][:, column] for column, row in enumerate(best)], 1)
    start = count @ (values - text @ chosen) / count.sum()
    return np.vstack([start, chosen]), np.maximum(np.min(errors, 0), FLOOR)


def _together(found: Factors, told: np.ndarray, left: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Effect (R,), factors (R, k) and their variance (R,): what labels say of items, with what text foretells as the prior
    mean."""
    value = np.column_stack([found.effect, found.factors])
    variance = np.column_stack([found.effect_variance, found.factor_variance])
    precision = np.maximum(1 / variance - 1 / found.prior, 0)  # of the labels alone
    whole = precision + 1 / left
    mean = (value / variance + told / left) / whole
    return mean[:, 0], mean[:, 1:], (1 / whole).sum(1)


def _marks(labels: Labels, item: np.ndarray, n: int, most: int) -> np.ndarray:
    """float64 (R, most): directions of who labelled what, by singular values, of unit spread over items. The first of all is
    left out: it is how popular an item is."""
    users, user = np.unique(labels.user, return_inverse=True)
    weight = 1 / np.sqrt(np.bincount(user)[user] * np.bincount(item, minlength=n)[item])
    table = sparse.csr_array((weight, (user, item)), (len(users), n))
    size = min(most + 1, min(table.shape) - 1)
    marks = np.zeros((n, most))
    if size < 2:
        return marks
    _, strength, right = svds(table, size, v0=np.ones(min(table.shape)))
    order = np.argsort(-strength)[1:]
    found = right[order].T * strength[order] / np.sqrt(np.bincount(item, minlength=n))[:, None]
    marks[:, : len(order)] = found / np.maximum(np.sqrt((found**2).mean(0)), 1e-12)
    return marks


def _episodes(labels: Labels, rng: np.random.Generator) -> Iterator[tuple[Labels, Labels]]:
    """A support of 0 to `LONGEST` labels and a query of 1 to `QUERY` of each of some users, in random order."""
    order = np.lexsort((labels.item, labels.user))
    start = np.append(np.flatnonzero(np.diff(labels.user[order], prepend=-1)), len(order))
    able = np.flatnonzero(np.diff(start) >= 2)
    for user in np.sort(rng.permutation(able)[:EPISODES]):
        mine = rng.permutation(order[start[user] : start[user + 1]])[: LONGEST + QUERY]
        size = int(rng.integers(0, min(LONGEST, len(mine) - 1) + 1))
        yield labels.take(mine[:size]), labels.take(mine[size : size + QUERY])


def _with_serial_correlation(beliefs: Beliefs, labels: Labels) -> Beliefs:
    """With the share of the noise that neighbouring labels have in common, its correlation and its half-life that make runs of
    the users' labels most likely; none where the log likelihood gains no more than one for each of the three (Akaike, 1974).
    The noise as a whole stays."""
    if labels.time is None:
        return beliefs
    rest, alike, times = [], [], []
    for run in _runs(labels):
        items = described(beliefs, run.item)
        start = inputs(beliefs, items) @ beliefs.prior
        rest.append((run.value - beliefs.centre) / beliefs.spread - items.mean - items.features @ start)
        alike.append(items.features @ items.features.T + np.diag(items.variance + beliefs.noise))
        times.append(run.time)

    def loss(serial: Serial) -> float:
        total = 0.0
        for value, whole, time in zip(rest, alike, times, strict=True):
            n = len(value)
            common = covariance(serial, moments(serial, time, n)) - serial.variance * np.eye(n)
            lower = np.linalg.cholesky(whole + common)
            total += np.log(np.diag(lower)).sum() + (solve_triangular(lower, value, lower=True) ** 2).sum() / 2
        return total

    def better(tried: Iterable[Serial]) -> tuple[float, Serial]:
        return min(((loss(one), one) for one in tried), key=lambda pair: pair[0])

    half_life = HALF_LIVES[0]
    for _ in range(2):
        grid = [Serial(share * beliefs.noise, one, half_life) for share in SHARES for one in CORRELATIONS]
        _, found = better(grid)
        best, found = better(replace(found, half_life=one) for one in HALF_LIVES)
        half_life = found.half_life
    if loss(Serial()) - best <= 3:
        return beliefs
    return replace(beliefs, noise=beliefs.noise - found.variance, serial=found)


def _runs(labels: Labels) -> list[Labels]:
    """Up to RUNS pieces of at most LONGEST + QUERY labels of one user each, in their order."""
    order, found = np.argsort(labels.user, kind="stable"), []
    for mine in np.split(order, np.flatnonzero(np.diff(labels.user[order])) + 1):
        found += [mine[first : first + LONGEST + QUERY] for first in range(0, len(mine), LONGEST + QUERY)]
    kept = np.linspace(0, len(found) - 1, min(RUNS, len(found))).astype(int)
    return [labels.take(found[one]) for one in kept]


def _prior_mean(beliefs: Beliefs, episodes: Iterable[tuple[Labels, Labels]]) -> np.ndarray:
    """float64 (Z, D): where the squared error of queries, over the predictive variance, and a ridge are least."""
    z, d = beliefs.prior.shape
    normal, right = RIDGE * np.eye(z * d), np.zeros(z * d)
    for support, query in episodes:
        known, asked = described(beliefs, support.item), described(beliefs, query.item)
        weights = posterior(beliefs, known, support.value) if len(support) else prior_weights(beliefs)
        middle, variance = standardised(beliefs, weights, asked)
        rest = (query.value - beliefs.centre) / beliefs.spread - middle
        reach = asked.features @ weights.covariance[:d, :d]  # what the prior mean, once the labels are seen, still adds
        at = inputs(beliefs, known)
        normal += np.kron(np.outer(at, at), (reach / variance[:, None]).T @ reach)
        right += np.kron(at, reach.T @ (rest / variance))
    return np.linalg.solve(normal, right).reshape(z, d)


def _noise(beliefs: Beliefs, episodes: Sequence[tuple[Labels, Labels]]) -> float:
    """Of multiples of the factors' own noise the one that makes the queries most likely. Where nearly all labels are alike the
    factors repeat them, and their own noise is almost none: there the best multiple is far above NOISES."""

    def loss(noise: float) -> float:
        here, total, n = replace(beliefs, noise=noise), 0.0, 0
        for support, query in episodes:
            weights = posterior(here, described(here, support.item), support.value)
            middle, variance = standardised(here, weights, described(here, query.item))
            rest = (query.value - here.centre) / here.spread - middle
            total, n = total + float((rest**2 / variance + np.log(variance)).sum()), n + len(query)
        return total / n

    losses = [loss(noise) for noise in beliefs.noise * NOISES]
    best, least = beliefs.noise * NOISES[int(np.argmin(losses))], min(losses)
    if least == losses[-1]:
        while (found := loss(best * CLIMB)) < least:
            best, least = best * CLIMB, found
    return float(best)


def _held_out(labels: Labels, rng: np.random.Generator) -> tuple[Labels, Labels]:
    """The labels of most users, and those of others; all labels twice where there are too few users."""
    able = rng.permutation(np.flatnonzero(np.bincount(labels.user) >= 2))
    n = min(int(len(able) * HELD_OUT), MOST_HELD_OUT)
    if n < FEWEST:
        return labels, labels
    out = np.isin(labels.user, able[:n])
    return labels.take(~out), labels.take(out)


def _some(labels: Labels, rng: np.random.Generator) -> Labels:
    """All labels of as many users, drawn at random, as make `MOST_LABELS` at most."""
    if len(labels) <= MOST_LABELS:
        return labels
    count = np.bincount(labels.user)
    order = rng.permutation(len(count))
    kept = np.zeros(len(count), bool)
    kept[order[np.cumsum(count[order]) <= MOST_LABELS]] = True
    return labels.take(kept[labels.user])


def _rounded(beliefs: Beliefs) -> Beliefs:
    """The large arrays as float32, as they are saved."""
    return replace(
        beliefs, **{name: getattr(beliefs, name).astype(np.float32) for name in ("mean", "features", "variance", "marks")}
    )
