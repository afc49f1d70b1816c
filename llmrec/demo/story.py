"""One household's story: what it bought first, what it was offered before and after adapting, and what it bought next."""

from __future__ import annotations

import numpy as np

from llmrec.data.dataset import Dataset
from llmrec.data.tasks import Tasks


def story(dataset: Dataset, tasks: Tasks, task: int, before: np.ndarray, after: np.ndarray, k: int = 10) -> tuple[str, dict]:
    """Text, and the same as JSON values.

    tasks, task: whose story. before, after: scores (N,) by zero steps and after adapting.
    """
    titles = dataset.catalogue.column("title")
    category = (
        dataset.catalogue.column("category") if "category" in dataset.catalogue.table.column_names else [""] * len(titles)
    )
    shelf = [f" [{name}]" if name else "" for name in category]
    support, query = (np.unique(dataset.item[part]) for part in (tasks.support(task), tasks.query(task)))
    was = np.empty(len(before), np.int64)
    was[np.argsort(-before, kind="stable")] = np.arange(1, len(before) + 1)
    best = np.argsort(-after, kind="stable")[:k]
    user = dataset.users[int(tasks.user[task])]
    lines = [
        f"User {user}: known are {len(support)} items in {dataset.basket[tasks.split[task] - 1] + 1} basket(s): "
        + "; ".join(f"{titles[i]}{shelf[i]}" for i in support[:8])
        + (" ..." if len(support) > 8 else ""),
        f"  bought next: {len(query)} items. After adapting, the first {k} offered (rank before -> after; * bought next):",
    ]
    offered = []
    for rank, item in enumerate(best, 1):
        move = int(was[item]) - rank
        sign = "=" if move == 0 else f"{'up' if move > 0 else 'down'} {abs(move)}"
        hit, again = item in query, item in support
        mark = "*" if hit else " "
        lines.append(f"  {was[item]:>4} -> {rank:<3}{sign:<8}{mark} {titles[item]}{shelf[item]}{' (had it)' if again else ''}")
        offered.append(
            {
                "item": titles[item],
                "category": category[item],
                "before": int(was[item]),
                "after": rank,
                "hit": bool(hit),
                "had": bool(again),
            }
        )
    told = {
        "user": str(user),
        "known": [titles[i] for i in support],
        "offered": offered,
        "bought_next": [titles[i] for i in query],
    }
    return "\n".join(lines), told
