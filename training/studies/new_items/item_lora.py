"""LoRA of the item side, adapted to the first buyers of all young items together; and the same steps for each item alone.

    vector of a young item   W text + B A text,    B = 0 at the start, A random
    score(h)                 temperature * <h, vector> + bias + beta of the item

Neighbouring items share what the product B A learns: a buyer of one moves all items with a text like its. That is the reason
for it. The loss is the cross-entropy of a softmax over the young items, averaged over the purchases of each item and then over
items. Averaged over purchases it would be that of the few items that sell most, and it gained far less on validation. A step
that raises the loss is halved: with another item's buyers, plain steps diverge. At some equal moments of the test period the
steps are taken anew, from B = 0, on all purchases of young items known then.

The arm of each item alone takes its steps on the item's own buyers and leaves all others as they are. For one item a rank-one
update is the same as moving its vector along the gradient, so the vector is what moves there.

Axis convention: `Q` purchases, `n` purchases known, `Y` young items, `d` width of a user vector, `e` of a text vector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from studies.new_items.moving import Moving
from studies.new_items.replay import Replay, ndcg

MOMENTS = 20  # with equally many purchases of young items between them
MOST_STEPS = 5
HALVINGS = 8  # of a step that raises the loss; after that it is not taken
SEED = 17  # of A


@dataclass(frozen=True)
class Plan:
    """How an adapter is learned. rank: of B A; 0 for each item alone. rate, steps: of gradient descent. biases: whether a bias
    of each item learns beside it, at the same rate."""

    rank: int
    rate: float
    biases: bool
    steps: int = MOST_STEPS


# With and without biases the best of each rank was within .001 on validation of beauty.
TOGETHER = tuple(Plan(rank, rate, True) for rank in (8, 32, 128) for rate in (1.0, 2.0, 4.0))
ALONE = tuple(Plan(0, rate, False) for rate in (0.01, 0.03, 0.1))


@dataclass(frozen=True, eq=False)
class Known:
    """Purchases to learn from. users: float32 (n, d), times the temperature. target: int64 (n,), the young items they took.
    zero: float32 (n, Y), scores at zero steps; -inf where the user has the item."""

    users: np.ndarray
    target: np.ndarray
    zero: np.ndarray

    def until(self, n: int) -> Known:
        """The first `n` of them."""
        return Known(self.users[:n], self.target[:n], self.zero[:n])

    def shares(self) -> np.ndarray:
        """float32 (n,): one over how many purchases there are of the same item."""
        return (1 / np.bincount(self.target)[self.target]).astype(np.float32)


Steps = Callable[[Known, np.ndarray, Plan], Iterator[tuple[np.ndarray, np.ndarray]]]


def known(found: Replay, base: Moving, whose: np.ndarray | None = None) -> Known:
    """All purchases of the replay in the order of time.

    whose: int64 (Y,), the item whose buyers stand for an item's own, as many as it has; None for its own. Buyers of another
    item may be later than the purchase that is asked for.
    """
    row, zero = np.arange(len(found.target)), base.scores(found)
    if whose is not None:
        mine = [np.flatnonzero(found.target == one) for one in range(len(found.young))]
        for one, other in enumerate(whose.tolist()):
            if len(mine[other]):
                row[mine[one]] = np.resize(mine[other], len(mine[one]))
    scores = np.where(found.seen, -np.inf, zero)[row]
    own = np.arange(len(row)), found.target
    scores[own] = zero[row][own]  # also of what is bought again
    return Known(_users(found, base)[row], found.target, scores)


def together(support: Known, texts: np.ndarray, plan: Plan) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """delta float32 (Y, d), B A text of each item, and beta (Y,): before the first step and after each. texts: (Y, e)."""
    width = support.users.shape[1]
    down = np.random.default_rng(SEED).normal(size=(plan.rank, texts.shape[1])).astype(np.float32) / np.float32(plan.rank**0.5)
    up, beta = np.zeros((width, plan.rank), np.float32), np.zeros(len(texts), np.float32)
    delta = np.zeros((len(texts), width), np.float32)
    value, wrong = _loss(support, delta, beta)
    yield delta, beta
    for _ in range(plan.steps):
        of_delta, rate = wrong.T @ support.users, np.float32(plan.rate)
        of_up, of_down = of_delta.T @ (texts @ down.T), up.T @ of_delta.T @ texts
        for _ in range(HALVINGS):
            other = up - rate * of_up, down - rate * of_down, beta - plan.biases * rate * wrong.sum(0)
            moved = (texts @ other[1].T) @ other[0].T
            lower, at_other = _loss(support, moved, other[2])
            if lower <= value:
                (up, down, beta), delta, value, wrong = other, moved, lower, at_other
                break
            rate = rate * np.float32(0.5)
        yield delta, beta


def alone(support: Known, texts: np.ndarray, plan: Plan) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The same for each item by itself, on the mean loss of its own purchases. Of `texts` it takes the number of items."""
    own = np.arange(len(support.target)), support.target
    others = support.zero.copy()
    others[own] = -np.inf
    ahead_at_zero, share = support.zero[own] - _log_sum(others), support.shares()
    delta, beta = np.zeros((len(texts), support.users.shape[1]), np.float32), np.zeros(len(texts), np.float32)
    yield delta, beta
    for _ in range(plan.steps):
        ahead = ahead_at_zero + (support.users * delta[support.target]).sum(1) + beta[support.target]
        missing = np.float32(plan.rate) * share / (1 + np.exp(ahead))
        step = np.zeros_like(delta)
        np.add.at(step, support.target, missing[:, None] * support.users)
        delta = delta + step
        if plan.biases:
            beta = beta + np.bincount(support.target, missing, len(texts)).astype(np.float32)
        yield delta, beta


def replayed(found: Replay, base: Moving, support: Known, plan: Plan) -> list[np.ndarray]:
    """What the adapter adds to the scores of zero steps, float32 (Q, Y), after 0, 1, ... `plan.steps` steps.

    From one moment to the next the adapter stays as it is. Purchases of the day of a moment are not known to it.
    """
    users, texts = _users(found, base), base.texts[found.young]
    learn: Steps = together if plan.rank else alone
    more = [np.zeros(found.known.shape, np.float32) for _ in range(plan.steps + 1)]
    starts = np.unique(found.day[np.arange(MOMENTS) * len(found.day) // MOMENTS])
    for start, end in zip(starts, [*starts[1:], np.inf], strict=True):
        mine, n = (found.day >= start) & (found.day < end), int(np.searchsorted(found.day, start))
        if n:
            for taken, (delta, beta) in enumerate(learn(support.until(n), texts, plan)):
                more[taken][mine] = users[mine] @ delta.T + beta
    return more


def chosen(found: Replay, base: Moving, grid: Sequence[Plan], where: np.ndarray) -> Plan:
    """The plan of the grid, with its number of steps from 1 on, whose NDCG@10 at the purchases `where`, bool (Q,), is highest
    when what it adds stands beside zero steps and nothing else."""
    support, zero, best = known(found, base), base.scores(found), (-1.0, grid[0])
    for plan in grid:
        for steps, more in enumerate(replayed(found, base, support, plan)):
            value = float(ndcg(found, zero + more)[where].mean())
            if steps and value > best[0]:
                best = value, replace(plan, steps=steps)
    return best[1]


def _users(found: Replay, base: Moving) -> np.ndarray:
    """float32 (Q, d): the vectors before the purchases, times the temperature."""
    return base.temperature * base.vectors[base.place[found.purchase]]


def _loss(support: Known, delta: np.ndarray, beta: np.ndarray) -> tuple[float, np.ndarray]:
    """The loss of all items together, and its gradient by the scores, float32 (n, Y)."""
    scores, share = support.zero + support.users @ delta.T + beta, support.shares()
    share /= share.sum()
    own = np.arange(len(scores)), support.target
    of_all = _log_sum(scores)
    chance = np.exp(scores - of_all[:, None])
    chance[own] -= 1
    return float(share @ (of_all - scores[own])), chance * share[:, None]


def _log_sum(scores: np.ndarray) -> np.ndarray:
    highest = scores.max(1)
    return highest + np.log(np.exp(scores - highest[:, None]).sum(1))
