"""What rankers are asked in the tests of this folder, over `random_shop`."""

from __future__ import annotations

import pytest
from ranker_contract import asked, some_candidates

from llmrec.data.dataset import Dataset
from llmrec.data.tasks import Tasks
from llmrec.index.candidates import Candidates


@pytest.fixture
def tasks(random_shop: Dataset) -> Tasks:
    return asked(random_shop)


@pytest.fixture
def found(tasks: Tasks, random_shop: Dataset) -> Candidates:
    return some_candidates(len(tasks), random_shop.n_items)
