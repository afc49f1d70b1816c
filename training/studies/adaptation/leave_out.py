"""Supports left one out in context: each known event is asked from all the others, instead of from those before it.

Replaying prefixes asks the first events from next to nothing. Left one out, every question has the whole support but one event
in its prompt, nearly what the query has, and S events give S such questions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from llmrec.data.ids import Ids
from llmrec.data.tasks import Tasks


@dataclass(frozen=True)
class LeftOut:
    """Questions about the supports of T tasks, ascending by task.

    tasks: R tasks over a dataset of their own, one user each: the support is what is left, the query the one event left out.
    owner: int64 (R,), the task that each is about. event: int64 (R,), the event left out, in the given tasks' dataset.
    """

    tasks: Tasks
    owner: np.ndarray
    event: np.ndarray


def leave_one_out(tasks: Tasks, rng: np.random.Generator, most: int = 8, reach: int = 64, permute: bool = True) -> LeftOut:
    """At most `most` questions a task, about events drawn without replacement from the last `reach` of its support.

    What happened is permuted, when it happened is not: the events left take the support's earlier moments in a random order
    (in their own with `permute` False), and the one left out takes the last, in a basket of its own. So dates ascend, gaps are
    those that the user had, and the order tells nothing of which event was left out. A support of one event gives no question.

    Nothing of the queries is used.
    """
    data = tasks.dataset
    start = np.maximum(tasks.start, tasks.split - reach)
    length = tasks.split - start
    asked = np.where(length > 1, np.minimum(length, most), 0)
    task = np.repeat(np.arange(len(tasks)), length)
    position = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
    place = position[np.lexsort((rng.random(len(task)), task))]  # of each task, its positions in random order
    chosen = position < asked[task]
    owner, out = task[chosen], place[chosen]

    size = length[owner]
    begin = np.concatenate([[0], np.cumsum(size)]).astype(np.int64)
    row = np.repeat(np.arange(len(owner)), size)
    slot = np.arange(begin[-1]) - begin[row]
    key = rng.random(len(row)) if permute else slot.astype(np.float64)
    key[begin[:-1] + out] = np.inf  # what is left out comes last
    event = start[owner][row] + slot[np.lexsort((key, row))]
    moment = start[owner][row] + slot

    first = data.basket[moment[begin[:-1]]]
    basket = data.basket[moment] - first[row]
    basket[begin[1:] - 1] += 1  # alone in its basket, whomever it shared one with
    questions = replace(
        data,
        users=Ids(list(range(len(owner)))),
        start=begin,
        item=data.item[event],
        time=data.time[moment],
        basket=basket.astype(np.int32),
        attributes={name: values[event] for name, values in data.attributes.items()},
        scene=None if data.scene is None else data.scene[event],
    )
    return LeftOut(Tasks(questions, begin[:-1], begin[1:] - 1, begin[1:]), owner, start[owner] + out)
