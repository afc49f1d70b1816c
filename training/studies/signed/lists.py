"""Lists by `recommend` with and without `avoid_disliked`: NDCG@10 of what was then liked.

Axis convention: `T` tasks.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from benchmarks.movielens import METRIC
from benchmarks.protocol import Setting
from llmrec import Recommender
from llmrec.data.tasks import Tasks
from llmrec.metrics.bootstrap import resampled
from llmrec.metrics.report import Result

NAME, PRIMARY = "disliked", "known=10"
PLAIN, AVOIDING = "llmrec", "llmrec, avoid_disliked"
DEPTH, AT_ONCE = 10, 200


def name_of(task: int) -> str:
    """The name of a task's user."""
    return f"asked {task}"


def histories(tasks: Tasks) -> pd.DataFrame:
    """The known ratings of each task's user, under an id that the recommender does not know."""
    data = tasks.dataset
    event = np.concatenate([np.arange(tasks.start[task], tasks.split[task]) for task in range(len(tasks))])
    owner = np.repeat(np.arange(len(tasks)), tasks.split - tasks.start)
    ids = np.array(data.catalogue.ids.values)
    rating = data.attributes["rating"]
    told = {
        "user_id": [name_of(task) for task in owner.tolist()],
        "item_id": ids[data.item[event]],
        "timestamp": data.time[event],
        "rating": rating[event],
    }
    return pd.DataFrame(told)


def ndcg(recommender: Recommender, tasks: Tasks, avoid_disliked: bool) -> np.ndarray:
    """float64 (T,): of lists of DEPTH films that the users have not rated."""
    place = {item: number for number, item in enumerate(tasks.dataset.catalogue.ids.values)}
    gain, value = 1 / np.log2(2 + np.arange(DEPTH)), np.zeros(len(tasks))
    for first in range(0, len(tasks), AT_ONCE):
        some = tasks.take(np.arange(first, min(first + AT_ONCE, len(tasks))))
        found = recommender.recommend(histories=histories(some), k=DEPTH, avoid_disliked=avoid_disliked)
        lists = pd.DataFrame(found).sort_values(["user_id", "rank"]).groupby("user_id")["item_id"]
        for task, liked in enumerate(some.relevant()):
            wanted = np.setdiff1d(liked, some.dataset.item[some.support(task)])
            hit = np.isin([place[item] for item in lists.get_group(name_of(task))], wanted)
            possible = min(len(wanted), DEPTH)
            value[first + task] = hit @ gain[: len(hit)] / gain[:possible].sum() if possible else np.nan
    return value


def rows(setting: Setting, tasks: Tasks, recommender: Recommender, seed: int) -> list[Result]:
    """Both lists and their difference, users resampled."""
    found = {PLAIN: ndcg(recommender, tasks, False), AVOIDING: ndcg(recommender, tasks, True)}
    drawn, made = resampled(found, np.random.default_rng(seed)), []
    for method, versus in ((PLAIN, ""), (AVOIDING, ""), (AVOIDING, PLAIN)):
        at = (drawn[method].minus(drawn[versus]) if versus else drawn[method]).interval()
        role = "ours" if method == AVOIDING else "control"
        made.append(Result(NAME, method, role, setting.name, METRIC, at.value, at.low, at.high, versus, at.n, seed, None))
    return made
