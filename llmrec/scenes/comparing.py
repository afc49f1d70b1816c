"""How well a new scene ranks what its first customers bought last, beside zero steps and popularity among the same customers.

Every customer is asked about by what the others said: a share of them is kept back in turn, and the rest adapt the scene, with
the choice of a design among it. So the figures are those of somewhat fewer customers than the scene is adapted to.

Axis convention: `T` customers with a basket before their last one in the scene, `N` items.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from llmrec.data.dataset import Dataset
from llmrec.data.tasks import Tasks
from llmrec.metrics.bootstrap import paired_bootstrap, resampled
from llmrec.metrics.ranking import ndcg
from llmrec.models.popularity import fit_popularity
from llmrec.scenes.choosing import FOLDS, choose
from llmrec.scenes.opening import Scene, zero_steps
from llmrec.scenes.reranked import answered
from llmrec.scenes.worlds import last_steps

ADAPTED, ZERO, POPULARITY = "adapted", "zero steps", "popularity"
K = 10


def held_ndcg(
    scene: Scene, dataset: Dataset, users: np.ndarray, rng: np.random.Generator, again: bool, folds: int = FOLDS
) -> dict[str, np.ndarray]:
    """NDCG@10 float64 (T,) of answers, by method. users: int, the first customers. again: whether what was bought may be
    recommended again."""
    users, among, day_one = rng.permutation(np.asarray(users, np.int64)), scene.shelf.among, zero_steps(scene)
    found: dict[str, list[np.ndarray]] = {ADAPTED: [], ZERO: [], POPULARITY: []}
    for fold in range(min(folds, len(users)) if len(users) > 1 else 0):
        tasks = last_steps(dataset, users[fold::folds], among)
        if not len(tasks):
            continue
        rest = np.delete(users, np.s_[fold::folds])
        chosen = choose(day_one, dataset, rest, rng, again).scene
        scores = {ZERO: answered(day_one, tasks, not again), POPULARITY: fit_popularity(dataset, rest).scores(tasks)}
        scores[ADAPTED] = scores[ZERO] if chosen.design is None else answered(chosen, tasks, not again)
        relevant, allowed = [items[among[items]] for items in tasks.relevant()], _allowed(tasks, among, again)
        for name, score in scores.items():
            found[name].append(ndcg(score, relevant, K, allowed))
    return {name: np.concatenate(parts) if parts else np.zeros(0) for name, parts in found.items()}


def _allowed(tasks: Tasks, among: np.ndarray, again: bool) -> np.ndarray:
    """bool (T, N): items of the scene, unless `again` without those of the support."""
    allowed = np.tile(among, (len(tasks), 1))
    for task in range(0 if again else len(tasks)):
        allowed[task, tasks.dataset.item[tasks.support(task)]] = False
    return allowed


def comparison(values: dict[str, np.ndarray], rng: np.random.Generator) -> pa.Table:
    """A row a method: mean NDCG@10 with its 95% interval, the difference of the adapted scene to it with its interval, and how
    many customers were asked. Without any, no row."""
    mine, rows = values[ADAPTED], []
    if (~np.isnan(mine)).any():
        drawn = resampled(values, rng)
        for name, one in values.items():
            mean, gap = drawn[name].interval(), paired_bootstrap(mine, one, rng)
            row: dict[str, Any] = {"method": name, "ndcg@10": mean.value, "low": mean.low, "high": mean.high}
            other = name != ADAPTED
            row |= {"adapted_minus": gap.value if other else None, "minus_low": gap.low if other else None}
            rows.append(row | {"minus_high": gap.high if other else None, "customers": int((~np.isnan(one)).sum())})
    real = ("ndcg@10", "low", "high", "adapted_minus", "minus_low", "minus_high")
    schema = pa.schema([("method", pa.string()), *((name, pa.float64()) for name in real), ("customers", pa.int64())])
    return pa.Table.from_pylist(rows, schema)
