"""A planted world of two kinds of users, and settings that learn it in moments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest


@pytest.fixture(scope="session")
def two_groups(shop: Callable[..., Any]) -> Any:
    """60 users; the even ones take items 0 to 5, the odd ones 6 to 11, all alike often, without repeats."""
    rng = np.random.default_rng(0)
    return shop([[[int(item)] for item in 6 * (user % 2) + rng.permutation(6)] for user in range(60)], 12)


@pytest.fixture(scope="session")
def plan() -> Any:
    """`TrainSettings` with which 40 users of `two_groups` teach what the two kinds take."""
    from llmrec.encoder.train import TrainSettings

    return TrainSettings(
        max_steps=60,
        batch_size=16,
        known=(1, 3),
        horizon=2,
        max_slots=16,
        learning_rate=3e-3,
        bias_learning_rate=1e-2,
        dropout=0.0,
        ema_decay=0.0,
    )
