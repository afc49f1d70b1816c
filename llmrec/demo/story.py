"""One household's story: its first trip, what it would be offered before and after, and what it bought next."""

from __future__ import annotations

import textwrap

import numpy as np

from llmrec.data.dataset import Dataset
from llmrec.data.tasks import Tasks

WIDTH = 36  # characters of a title in the lists
LINE = 100  # characters of a line of text


def protagonist(tasks: Tasks, popularity: np.ndarray, least: int = 6) -> int:
    """The task whose known items are the least popular on average, of those with `least` items or more; the first task where
    none has so many. Only the support is read.

    popularity: (N,).
    """
    rank = np.empty(len(popularity))
    rank[np.argsort(-popularity, kind="stable")] = np.arange(len(popularity))
    known = [np.unique(tasks.dataset.item[tasks.support(task)]) for task in range(len(tasks))]
    return int(np.argmax([rank[items].mean() if len(items) >= least else -1.0 for items in known]))


def story(dataset: Dataset, tasks: Tasks, task: int, before: np.ndarray, after: np.ndarray, k: int = 10) -> tuple[str, dict]:
    """Text, and the same as JSON values.

    tasks, task: whose story. before, after: scores (N,) without and with the user's known events.
    """
    titles = dataset.catalogue.column("title")
    support, query = (np.unique(dataset.item[part]) for part in (tasks.support(task), tasks.query(task)))
    lists = {
        name: [_offered(titles, int(item), support, query) for item in np.argsort(-scores, kind="stable")[:k]]
        for name, scores in (("before", before), ("after", after))
    }
    told = {
        "user": str(dataset.users[int(tasks.user[task])]),
        "known": [titles[i] for i in support],
        **lists,
        "bought_next": [titles[i] for i in query],
    }
    return text(told), told


def text(told: dict) -> str:
    """Two lists side by side, as lines."""
    left, right = (f"{name} the first trip" for name in ("Before", "After"))
    first = f"Household {told['user']} is new. On its first trip it bought {'; '.join(told['known'])}."
    lines = [
        *textwrap.wrap(first, LINE),
        "What it is offered (* bought on one of the next trips):",
        "",
        f"     {left:<{WIDTH + 2}}  {right}",
    ]
    for rank, (one, other) in enumerate(zip(told["before"], told["after"], strict=True), 1):
        lines.append(f"{rank:>3}  {_cell(one):<{WIDTH + 2}}  {_cell(other)}".rstrip())
    hits = [sum(item["hit"] for item in told[name]) for name in ("before", "after")]
    lines += [
        "",
        f"Bought on the next trips: {hits[0]} of {len(told['before'])} before, {hits[1]} of {len(told['after'])} after.",
    ]
    return "\n".join(lines)


def _offered(titles: list, item: int, support: np.ndarray, query: np.ndarray) -> dict:
    return {"item": titles[item], "hit": bool(item in query), "bought_before": bool(item in support)}


def _cell(offered: dict) -> str:
    title = offered["item"]
    title = title if len(title) <= WIDTH else f"{title[: WIDTH - 1]}…"
    return f"{'*' if offered['hit'] else ' '} {title}"
