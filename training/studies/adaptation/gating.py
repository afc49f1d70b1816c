"""The gate over ways to adapt: what pays beyond noise on users who are not asked, at one size of support; otherwise nothing."""

from __future__ import annotations

import numpy as np

from llmrec.meta.fit_gate import fit_gate
from llmrec.meta.gate import Choice

DEEP = 100  # depth of the NDCG that the gate learns from: the first ten places of a few hundred users are mostly noise


def taken_by_gate(worth: np.ndarray, events: int, rng: np.random.Generator) -> int:
    """Number of the way that the gate takes for users with supports of so many events; 0 where none pays.

    worth: (T, C), what each way is worth to each of the users it learns from, higher is better; the first is zero steps, and
    the others stand for steps in the gate's choices.
    """
    ways = [Choice(steps=number) for number in range(worth.shape[1])]
    gate = fit_gate(ways, np.full(len(worth), events), worth, [events], rng)
    return int(gate.choose(np.array([events]))[0])
