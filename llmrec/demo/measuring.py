"""Between arrays and the tables of the public calls: the events of tasks as a table, and answers as scores."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from llmrec.data.dataset import Dataset
from llmrec.data.ids import Ids
from llmrec.data.tasks import Tasks, expand_ranges
from llmrec.evaluation.comparison import by_user
from llmrec.evaluation.plot import Curve
from llmrec.metrics.bootstrap import bootstrap_mean, paired_bootstrap
from llmrec.metrics.ranking import rank_targets
from llmrec.metrics.report import Result

METRIC = "ndcg@10"


def history_table(tasks: Tasks) -> pa.Table:
    """The supports of tasks as a table of events; each user has one task."""
    dataset, (_, row) = tasks.dataset, expand_ranges(tasks.start, tasks.split)
    return pa.table(
        {
            "user_id": dataset.users.take(dataset.user[row]).values,
            "item_id": dataset.catalogue.ids.take(dataset.item[row]).values,
            "timestamp": dataset.time[row],
            "basket_id": [str(number) for number in dataset.basket[row]],
        }
    )


def all_events(dataset: Dataset) -> pa.Table:
    """Everything that the users of a dataset did, as a table of events."""
    return history_table(Tasks(dataset, dataset.start[:-1], dataset.start[1:], dataset.start[1:]))


def listed_scores(answer: pa.Table, users: Ids, items: Ids) -> np.ndarray:
    """Scores float32 (T, N) that order the items as an answer lists them; what it does not list lies below, tied.

    users: one for each row, all of them in the answer or without a list.
    """
    scores = np.full((len(users), len(items)), -1e6, np.float32)
    place = users.find(answer.column("user_id").to_pylist())
    item = items.find(answer.column("item_id").to_pylist())
    scores[place, item] = -answer.column("rank").to_numpy()
    return scores


def ndcg(scores: np.ndarray, tasks: Tasks, relevant: list[np.ndarray], allowed: np.ndarray | None = None) -> np.ndarray:
    """NDCG@10 of every user."""
    return by_user(rank_targets(scores, relevant, allowed).ndcg(10), tasks)


def curve(name: str, role: str, values: Mapping[int, np.ndarray], rng: np.random.Generator) -> Curve:
    """Means with their intervals. values: x -> float (T,)."""
    return Curve(name, role, tuple(values), tuple(bootstrap_mean(one, rng) for one in values.values()))


def results(
    benchmark: str,
    setting: str,
    ours: str,
    values: Mapping[str, np.ndarray],
    roles: Mapping[str, str],
    seed: int,
    rng: np.random.Generator,
    metric: str = METRIC,
) -> list[Result]:
    """Rows of a metric of one setting: differences of `ours` from all others, then the means."""
    rows = []
    for name, one in values.items():
        if name != ours:
            found = paired_bootstrap(values[ours], one, rng)
            numbers = found.value, found.low, found.high, name, found.n, seed, None
            rows.append(Result(benchmark, ours, "ours", setting, metric, *numbers))
    for name, one in values.items():
        mean = bootstrap_mean(one, rng)
        numbers = mean.value, mean.low, mean.high, "", mean.n, seed, None
        rows.append(Result(benchmark, name, roles.get(name, "control"), setting, metric, *numbers))
    return rows
