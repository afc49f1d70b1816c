"""Study `headroom`, the first to be run: what adapting could add at the most, before anything is meta-trained.

For each regime, on validation users: the base as it is; a core that nothing was learned for, adapted to the user's own support,
to another user's, and, as an oracle, to the later events themselves, which are what is asked. Where not even the oracle gains a
twentieth, a regime is dropped.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from studies.adaptation import arms, cores
from studies.adaptation.bank import Bank
from studies.adaptation.cores import Place, core_on
from studies.adaptation.counting import ndcg

ZERO, OWN, OTHER, ORACLE = "zero steps", "own support", "another's support", "oracle: the later events"
LEAST = 1.05  # times zero steps, for the oracle: below it a regime is dropped
NEWTON = 2


def measured(features: np.ndarray, place: Place) -> dict[str, np.ndarray]:
    """Way to adapt -> NDCG@10 (T,) of the users of a place. features: float32 (N, D) of the core."""
    start, wanted = core_on(features), place.bank.query.target
    swapped, told = (replace(place, bank=bank) for bank in (place.bank.swapped(), oracle(place.bank)))
    ways = {
        ZERO: arms.zero(place),
        OWN: cores.adapted(start, place, NEWTON),
        OTHER: cores.adapted(start, swapped, NEWTON),
        ORACLE: cores.adapted(start, told, NEWTON),
    }
    return {name: ndcg(scores, wanted) for name, scores in ways.items()}


def oracle(bank: Bank) -> Bank:
    """The same users with what is asked as their support."""
    return Bank(bank.matrix, np.arange(len(bank) + 1), bank.query, bank.query)
