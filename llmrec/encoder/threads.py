"""CPU threads by the size of the work: a second thread speeds up large matrix products, and slows small ones on a busy machine.

On two cores a step whose largest product has 14 million multiplications took 80 ms with one thread and 66 ms with two; one of
54 million 163 and 125 ms; one of 122 million 315 and 192 ms. `llmrec/__init__.py` sets how long threads spin.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

PER_THREAD = 30e6  # multiplications of the largest product, for each thread


def spinning_note() -> str | None:
    """What to do on a busy machine where threads spin for long, for torch was imported before llmrec; None elsewhere."""
    if sys.platform != "linux" or os.environ.keys() & {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}:
        return None
    load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    if load <= cores or torch.get_num_threads() == 1:
        return None
    return (
        f"NOTE: other programs use this machine (load {load:.1f} on {cores} cores), and torch was imported before llmrec: "
        "training may be 20 times slower. Import llmrec first, or set GOMP_SPINCOUNT=20000 in the environment"
    )


@contextmanager
def threads_for(multiplications: float) -> Iterator[int]:
    """At most one thread for every PER_THREAD multiplications of the largest product, inside the `with` block; never more than
    torch uses now. It receives their number, which depends on the work alone, so that a run can be repeated to the bit."""
    before = torch.get_num_threads()
    count = max(1, min(before, int(multiplications / PER_THREAD)))
    torch.set_num_threads(count)
    try:
        yield count
    finally:
        torch.set_num_threads(before)
