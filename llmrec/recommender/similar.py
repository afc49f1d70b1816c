"""Similar items, as a pure function of the state."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from llmrec.data.requests import as_ids, find_items, with_titles
from llmrec.index.faiss_index import search
from llmrec.index.forks import check_process
from llmrec.recommender.state import State


def similar(state: State, items: Iterable[Any], k: int, titles: bool) -> pa.Table:
    """The k items nearest to each of `items` by the cosine of their vectors, as `Recommender.similar_items` answers; no rows
    where no other item is offered."""
    index = find_items(state.catalogue, as_ids(items, "items"))
    most = min(k, len(state.catalogue) - 1)
    check_process()
    score, found = np.zeros((len(index), 0), np.float32), np.zeros((len(index), 0), np.int64)
    if most:
        nearest = state.similarity_index
        score, found = search(nearest, nearest.vectors[index], most, state.offered, [np.array([i]) for i in index])
    row, place = np.nonzero(found >= 0)
    near, ids = found[row, place], state.catalogue.ids
    asked = pa.array(ids.take(index).values)
    table = {
        "item_id": asked.take(pa.array(row)),
        "similar_item_id": pa.array(ids.take(near).values, asked.type),
        "score": score[row, place],
        "rank": place + 1,
    }
    answer = pa.table(table)
    return with_titles(answer, state.catalogue, near) if titles else answer
