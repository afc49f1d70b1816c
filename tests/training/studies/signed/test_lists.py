"""Lists with and without regard to dislikes: their NDCG against values by hand, and who is asked about."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from worlds import build

from llmrec.data.tasks import Tasks
from studies.signed.lists import histories, name_of, ndcg


class Listing:
    """A recommender whose lists are known beforehand, in any order of rows."""

    def __init__(self, lists: dict[str, list[int]]):
        self.lists, self.asked = lists, []

    def recommend(self, histories, k, avoid_disliked):
        self.asked.append((histories, k, avoid_disliked))
        rows = [(user, item, rank + 1) for user, items in self.lists.items() for rank, item in enumerate(items)]
        return pd.DataFrame(rows, columns=["user_id", "item_id", "rank"]).sample(frac=1, random_state=0)


@pytest.fixture
def tasks() -> Tasks:
    """Two users with two known films each, and what they liked later: 2 and 3; 0 and 4."""
    data = build([[{0}, {1}, {2}, {3}], [{2}, {1}, {0}, {4}]], 5)
    data.attributes["rating"] = np.array([5, 1, 4, 4, 2, 5, 4, 4], np.float32)
    return Tasks(data, data.start[:-1], data.start[:-1] + 2, data.start[1:])


def test_ndcg_is_that_of_the_lists_by_rank(tasks):
    ids = tasks.dataset.catalogue.ids.values
    lists = {name_of(0): [ids[4], ids[2], ids[3]], name_of(1): [ids[3]]}
    found = Listing(lists)
    gain = 1 / np.log2([2, 3, 4])
    np.testing.assert_allclose(ndcg(found, tasks, True), [gain[1:].sum() / gain[:2].sum(), 0.0])
    assert found.asked[0][1:] == (10, True)


def test_histories_are_what_was_known_under_ids_of_nobody_in_training(tasks):
    told = histories(tasks)
    assert told["rating"].tolist() == [5, 1, 2, 5] and told["user_id"].tolist() == [name_of(0)] * 2 + [name_of(1)] * 2
    assert not set(told["user_id"]) & set(tasks.dataset.users.values)
