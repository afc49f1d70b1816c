"""Learn the gate on users held out of base training and meta-learning: what helps at each support size, and how many steps."""

from __future__ import annotations

import numpy as np

from llmrec.data.dataset import Dataset
from llmrec.meta.fit_gate import fit_gate
from llmrec.meta.gate import Choice, Gate
from llmrec.recommender.adapting import Adapting
from llmrec.recommender.pipeline import windows
from llmrec.recommender.settings import Settings

EDGES = (1, 4, 10, 25, 60)  # events known, from which on a choice of its own is made
WINDOWS = 4  # of each user
MOST = 2000  # windows in all


def learn_gate(adapting: Adapting, dataset: Dataset, users: np.ndarray, settings: Settings, rng: np.random.Generator) -> Gate:
    """What to take of `adapting.every` for each size of a support, zero steps where nothing helped beyond noise.

    What helps is told by the chance that the transformer gives to what came next. A user's windows of alike sizes count as one.
    Steps of one adapter are in order of strength, so that a larger support takes no fewer; two adapters have no such order.
    """
    tasks = windows(dataset, users, settings, min(WINDOWS * len(users), MOST), rng)
    starts = edges(adapting)
    size = tasks.split - tasks.start
    place = np.searchsorted(starts, size, side="right") - 1
    key, group = np.unique(tasks.user.astype(np.int64) * len(starts) + place, return_inverse=True)
    choices = adapting.every
    total = np.zeros((len(key), len(choices)))
    np.add.at(total, group, adapting.query_log_likelihood(tasks))
    mean = total / np.bincount(group)[:, None]
    ordered = len({choice.adapter for choice in choices}) == 1
    return fit_gate(choices, np.array(starts)[key % len(starts)], mean, starts, rng, monotone=ordered)


def edges(adapting: Adapting) -> tuple[int, ...]:
    """The sizes from which on a choice of its own is made: with a core also those that the prompt is too short for, since it
    goes by the whole history."""
    if adapting.core is None:
        return EDGES
    longer = adapting.base.settings.max_slots + 1
    return (*(edge for edge in EDGES if 1.5 * edge <= longer), longer, 4 * longer)


def describe(gate: Gate) -> str:
    """The gate in words, for a stage's line."""
    said = ((gate.choices[b.chosen], b.least) for b in gate.bins)
    return ", ".join(f"{named(choice)} from {least} events on" for choice, least in said)


def named(choice: Choice) -> str:
    """A choice in words: the number of its steps, and whose they are where that is not LoRA."""
    return f"{choice.steps} of the core" if choice.adapter == "core" and choice.steps else str(choice.steps)
