"""Choose how to adapt a scene, or not at all, from the gains in known scenes and on its own held-out events.

The gain of a design in a scene like the known ones is taken for normal, with the mean and the deviation that meta-validation
found; the support users, each asked about by an adapter learned without them, measure it once more. A few of them hardly move
what is expected, many do; and where the two contradict each other the scene is not like the known ones, and only its own events
count. The best design is deployed if what is expected of it is above zero by half of its uncertainty.

Axis convention: `D` designs, `U` support users.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llmrec.data.dataset import Dataset
from llmrec.data.tasks import Tasks
from llmrec.scenes.opening import Scene, adapt, with_design, zero_steps
from llmrec.scenes.worlds import last_steps, right

FOLDS = 4
APART, BEYOND = 2.0, 0.5  # deviations between two that contradict each other, and above zero for what is deployed


@dataclass(frozen=True)
class Chosen:
    """scene: what is to be deployed. known: float64 (D,), gain over zero steps in known scenes, nats an event. held: the same
    on events kept back, NaN without any. error: its standard error. expected: both together."""

    scene: Scene
    known: np.ndarray
    held: np.ndarray
    error: np.ndarray
    expected: np.ndarray


def choose(
    scene: Scene,
    dataset: Dataset,
    users: np.ndarray,
    rng: np.random.Generator,
    repeat_purchases: bool = False,
    folds: int = FOLDS,
) -> Chosen:
    """The scene adapted to its support users as their own kept-back events say, or with zero steps.

    dataset, users: as of `adapt`. repeat_purchases: whether a user may buy an item again. folds: parts of the users, each kept
    back once.
    """
    learned, users = scene.learned, rng.permutation(np.asarray(users, np.int64))
    size = learned.size(len(users))
    known, spread = learned.gain[size], learned.spread[size]
    gains = held_gains(scene, dataset, users, rng, repeat_purchases, folds)
    if len(gains) < 2:
        return Chosen(zero_steps(scene), known, np.full(len(known), np.nan), np.full(len(known), np.inf), known)
    held, error = gains.mean(0), np.maximum(gains.std(0, ddof=1) / np.sqrt(len(gains)), 1e-9)
    expected, unsure = both_together(known, spread, held, error)
    best = int(expected.argmax())
    deployed = (
        adapt(scene, dataset, users, best, repeat_purchases, rng)
        if expected[best] > BEYOND * unsure[best]
        else zero_steps(scene)
    )
    return Chosen(_with_ranker_steps(deployed, dataset, users, repeat_purchases, rng), known, held, error, expected)


def _with_ranker_steps(
    scene: Scene, dataset: Dataset, users: np.ndarray, repeat_purchases: bool, rng: np.random.Generator
) -> Scene:
    if scene.learned.ranker_steps is None:
        return scene
    from llmrec.scenes.ranker_steps import with_ranker_steps  # brings in torch, which a scene read by its texts does without

    return with_ranker_steps(scene, dataset, users, repeat_purchases, rng)


def both_together(known: np.ndarray, spread: np.ndarray, held: np.ndarray, error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation (D,) of what is expected: of two normal measurements weighed by how sure they are, or where they lie
    more than `APART` deviations from each other, of the second alone."""
    weight = 1 / spread**2 + 1 / error**2
    apart = np.abs(held - known) > APART * np.sqrt(spread**2 + error**2)
    mean = (known / spread**2 + held / error**2) / weight
    return np.where(apart, held, mean), np.where(apart, error, 1 / np.sqrt(weight))


def held_gains(
    scene: Scene, dataset: Dataset, users: np.ndarray, rng: np.random.Generator, repeat_purchases: bool, folds: int
) -> np.ndarray:
    """float64 (events kept back, D): gain of every design over zero steps; the last basket of each user, by adapters that were
    learned from the other folds."""
    found = []
    for fold in range(min(folds, len(users)) if len(users) > 1 else 0):
        asked = last_steps(dataset, users[fold::folds], scene.shelf.among)
        target = right(asked, scene.shelf.among, rng)
        if len(asked) == 0:
            continue
        rest = np.delete(users, np.s_[fold::folds])
        base = surprise(zero_steps(scene), asked, target, repeat_purchases)
        one = adapt(scene, dataset, rest, 0)
        tried = [with_design(one, dataset, rest, design, repeat_purchases, rng) for design in range(len(scene.learned.designs))]
        found.append(np.stack([base - surprise(one, asked, target, repeat_purchases) for one in tried], axis=1))
    return np.concatenate(found) if found else np.zeros((0, len(scene.learned.designs)))


def surprise(scene: Scene, tasks: Tasks, target: np.ndarray, repeat_purchases: bool = False) -> np.ndarray:
    """float64 (T,): minus log probability, in nats, of each task's target, int (T,), among the scene's items; without
    `repeat_purchases` among those that the user has not had."""
    score = scene.scores(tasks).astype(np.float64)
    rows = np.arange(len(tasks))
    own = score[rows, target]
    if not repeat_purchases:
        for task in range(len(tasks)):
            score[task, tasks.dataset.item[tasks.support(task)]] = -np.inf
        score[rows, target] = own
    top = score.max(1)
    return top + np.log(np.exp(score - top[:, None]).sum(1)) - own
