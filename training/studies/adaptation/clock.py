"""What a request costs, and from how many requests on a short prompt with an adapted core is cheaper than a long prompt."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from llmrec.meta.core import Core, choice_posterior
from studies.adaptation.bank import Base, Readings, choices, read, scores
from studies.adaptation.cores import Place, widened
from studies.adaptation.regimes import Long, long_bank


def break_even(base: Base, core: Core, newton: int, long: Long, users: int = 30) -> dict[str, float | None]:
    """Milliseconds of one user's request, median over users, one at a time: reading and scoring from the prompt, the same
    from the longest prompt, and what adapting costs once. `requests`: after how many of them the core has paid for itself; None
    for never.

    A request with a core adds its product with all items' features, and that is counted.
    """
    times: dict[str, list[float]] = {"prompt": [], "longest": [], "adapting": []}
    whole, size = Long(long.tasks, base.most), core.z.shape[1]
    reach, z = core.reach, torch.zeros(1, size)
    for user in range(min(users, len(long.tasks))):
        one = Long(long.tasks.take(np.array([user])), long.prompt)
        all_of_it = Long(whole.tasks.take(np.array([user])), whole.prompt)
        place = Place(long_bank(base, one), max(1, int(one.older.length[0])))
        times["prompt"].append(_milliseconds(partial(_scored, base, one, z, reach)))
        times["longest"].append(_milliseconds(partial(_scored, base, all_of_it)))
        times["adapting"].append(_milliseconds(partial(_adapt, core, place, newton)))
    found: dict[str, float | None] = {name: float(np.median(some)) for name, some in times.items()}
    saved = float(np.median(times["longest"]) - np.median(times["prompt"]))
    found["requests"] = float(np.ceil(np.median(times["adapting"]) / saved)) if saved > 0 else None
    return found


def _scored(base: Base, one: Long, z: Tensor | None = None, reach: Tensor | None = None) -> Tensor:
    vector, extra = read(base, one.read)
    found = scores(base.matrix, Readings(one.read, vector, extra, extra))
    return found if z is None or reach is None else found + z @ reach.T


def _adapt(core: Core, place: Place, newton: int) -> None:
    with torch.no_grad():
        choice_posterior(widened(core, place.events), choices(place.bank)[0], 1, newton)


def _milliseconds(work: Callable[[], object]) -> float:
    """The fastest of five calls."""
    found = []
    for _ in range(5):
        began = time.perf_counter()
        work()
        found.append(1e3 * (time.perf_counter() - began))
    return min(found)
