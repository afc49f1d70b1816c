"""Two worlds of 24 items with a random base: users who keep to one half of the items, and users who take anything."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest

from llmrec.data.dataset import Dataset
from studies.adaptation.bank import Base

ITEMS, KNOWN, USERS = 24, 8, 240


@pytest.fixture(scope="session")
def world(shop) -> Callable[[bool], Dataset]:
    """`world(structure)`: ten events a user, each item once; users alternate between the halves, or take any item."""

    def make(structure: bool) -> Dataset:
        rng = np.random.default_rng(0)
        half = [np.arange(ITEMS // 2), np.arange(ITEMS // 2, ITEMS)]
        mine = [half[user % 2] if structure else np.arange(ITEMS) for user in range(USERS)]
        return shop([[[int(item)] for item in rng.permutation(some)[: KNOWN + 2]] for some in mine], ITEMS)

    return make


@pytest.fixture
def base_of(lively_bodies, new_slot_model) -> Callable[[Dataset], Base]:
    """A base that was never trained."""

    def make(dataset: Dataset) -> Base:
        import torch

        model = new_slot_model(copy.deepcopy(lively_bodies["bert"]), dataset).requires_grad_(False).eval()
        with torch.no_grad():
            return Base(model, model.items(), 16)

    return make
