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
    where the catalogue holds one item."""
    index = find_items(state.catalogue, as_ids(items, "items"))
    most = min(k, len(state.catalogue) - 1)
    check_process()
    score, found = np.zeros((len(index), 0), np.float32), np.zeros((len(index), 0), np.int64)
    if most:
        nearest = state.similarity_index
        score, found = search(nearest, nearest.vectors[index], most, None, [np.array([i]) for i in index])
    ids = state.catalogue.ids
    asked = pa.array(ids.take(index).values)
    table = {
        "item_id": asked.take(pa.array(np.repeat(np.arange(len(index)), most))),
        "similar_item_id": pa.array(ids.take(found.ravel()).values, asked.type),
        "score": score.ravel(),
        "rank": np.tile(np.arange(1, most + 1), len(index)),
    }
    answer = pa.table(table)
    return with_titles(answer, state.catalogue, found.ravel()) if titles else answer
