"""Learn the gate on users held out of base training and meta-learning: how many steps help at each support size."""

from __future__ import annotations

import numpy as np

from llmrec.adapters.lora import Adapter
from llmrec.data.dataset import Dataset
from llmrec.data.tasks import Tasks, sample_windows
from llmrec.encoder.model import Items, SlotModel
from llmrec.encoder.users import batches
from llmrec.meta.episodes import user_episode
from llmrec.meta.fit_gate import fit_gate
from llmrec.meta.gate import Choice, Gate
from llmrec.meta.inner import Initialisation
from llmrec.meta.outer import query_path
from llmrec.recommender.settings import Settings

EDGES = (1, 4, 10, 25, 60)  # events known, from which on a choice of its own is made
WINDOWS = 4  # of each user
MOST = 2000  # windows in all


def learn_gate(
    model: SlotModel,
    items: Items,
    init: Initialisation[Adapter],
    dataset: Dataset,
    users: np.ndarray,
    settings: Settings,
    rng: np.random.Generator,
) -> Gate:
    """Zero to `init.steps` steps for each size of a support, none where they did not help beyond noise.

    What helps is told by the chance that the transformer gives to what came next. A user's windows of alike sizes count as one.
    """
    draw = settings.train
    count = min(WINDOWS * len(users), MOST)
    tasks = sample_windows(dataset, users, draw.known, draw.horizon, count, rng, draw.from_start)
    size = tasks.split - tasks.start
    place = np.searchsorted(EDGES, size, side="right") - 1
    key, group = np.unique(tasks.user.astype(np.int64) * len(EDGES) + place, return_inverse=True)
    total = np.zeros((len(key), init.steps + 1))
    np.add.at(total, group, query_log_likelihood(model, items, init, tasks, settings))
    mean = total / np.bincount(group)[:, None]
    choices = [Choice(steps) for steps in range(init.steps + 1)]
    return fit_gate(choices, np.array(EDGES)[key % len(EDGES)], mean, EDGES, rng)


def query_log_likelihood(
    model: SlotModel, items: Items, init: Initialisation[Adapter], tasks: Tasks, settings: Settings
) -> np.ndarray:
    """float64 (T, steps + 1): minus the query loss after 0, 1, ... steps on the support."""
    found = []
    for part in batches(tasks):
        episode = user_episode(model, items, part, settings.episode)
        rows = [-query.detach().double().cpu().numpy() for query in query_path(init, episode)]
        found.append(np.stack(rows, 1))
    return np.concatenate(found)


def describe(gate: Gate) -> str:
    """The gate in words, for a stage's line."""
    return ", ".join(f"{gate.choices[b.chosen].steps} from {b.least} events on" for b in gate.bins)
