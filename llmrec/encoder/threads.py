"""CPU threads by the size of the work: a second thread speeds up large matrix products, and slows small ones on a busy machine.

On two cores a step whose largest product has 14 million multiplications took 80 ms with one thread and 66 ms with two; one of
54 million 163 and 125 ms; one of 122 million 315 and 192 ms. The answer to one user, of 1
million, took 84 ms with two threads and 20 ms with one beside other busy processes; after three gradient steps, of 12 million,
513 and 41 ms. `llmrec/__init__.py` sets how long threads spin.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

PER_THREAD = 30e6  # multiplications of the largest product, for each thread


def spinning_note() -> str | None:
    """A note for a busy machine on which threads spin for long, since torch was imported before llmrec; otherwise None."""
    if sys.platform != "linux" or os.environ.keys() & {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}:
        return None
    try:
        load, cores = os.getloadavg()[0], os.cpu_count() or 1
    except OSError:  # not told here
        return None
    if load <= cores or torch.get_num_threads() == 1:
        return None
    return (
        f"NOTE: this machine is busy (load {load:.1f} on {cores} cores), and torch was imported before llmrec: training may be "
        "many times slower. Import llmrec first, or set GOMP_SPINCOUNT=20000 in the environment"
    )


@contextmanager
def threads_for(multiplications: float) -> Iterator[int]:
    """Use one thread for every PER_THREAD multiplications of the largest product inside the `with` block: at least one, and at
    most as many as torch uses now. Yields their number, which does not depend on how busy the machine is, so that a run can be
    repeated to the bit."""
    before = torch.get_num_threads()
    count = max(1, min(before, int(multiplications / PER_THREAD)))
    torch.set_num_threads(count)
    try:
        yield count
    finally:
        torch.set_num_threads(before)
