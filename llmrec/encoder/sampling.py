"""Which items of a large catalogue a training step compares: those of its windows, and a sample of the others.

The sum over the catalogue in the softmax is estimated without bias: an item that is drawn with probability p stands for 1 / p
items (Horvitz and Thompson, JASA 1952; for sampled softmax Bengio and Senecal, IEEE Transactions on Neural Networks 2008).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llmrec.data.tasks import Tasks, expand_ranges

EVENLY = 0.5  # share of the sample that is drawn evenly; the rest is drawn by popularity


@dataclass(frozen=True)
class ItemSample:
    """Some of N items. item: int64 (n,), ascending. log_weight: float32 (n,), log of how many items each stands for.
    place: int64 (N,), where each item is among them; 0 for one that is not."""

    item: np.ndarray
    log_weight: np.ndarray
    place: np.ndarray


def sample_items(tasks: Tasks, max_slots: int, size: int, rng: np.random.Generator) -> ItemSample:
    """All items of the last `max_slots` events of the supports and of the queries, and about `size` others."""
    events = tasks.dataset.item_events
    share = EVENLY / len(events) + (1 - EVENLY) * events / max(events.sum(), 1)
    chance = np.minimum(size * share, 1.0)
    _, row = expand_ranges(np.maximum(tasks.start, tasks.split - max_slots), tasks.stop)
    chance[tasks.dataset.item[row]] = 1.0
    item = np.flatnonzero(rng.random(len(chance)) < chance)
    place = np.zeros(len(chance), np.int64)
    place[item] = np.arange(len(item))
    return ItemSample(item, -np.log(chance[item]).astype(np.float32), place)
