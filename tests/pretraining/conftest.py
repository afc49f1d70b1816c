"""A tiny run that is trained in this process, and the same run by processes that tests start."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest


@pytest.fixture
def tiny_run(lively_bodies: dict[str, Any], random_shop: Any, new_slot_model: Any) -> Any:
    """`tiny_run.model()` is a fresh model, `dataset`, `users`, `settings`, `seed` are what it is trained with."""
    from llmrec.encoder.train import TrainSettings

    settings = TrainSettings(
        max_steps=6, batch_size=5, known=(1, 3), horizon=2, max_slots=6, learning_rate=3e-4, dropout=0.0, ema_decay=0.9
    )
    return SimpleNamespace(
        model=lambda: new_slot_model(copy.deepcopy(lively_bodies["bert"]), random_shop),
        dataset=random_shop,
        users=np.arange(15),
        settings=settings,
        seed=2**40 + 7,
    )
