"""CPU threads by the size of the work: a second thread speeds up large matrix products, and slows small ones on a busy machine.

On two cores a step whose largest product has 14 million multiplications took 80 ms with one thread and 66 ms with two; one of
54 million 163 and 125 ms; one of 122 million 315 and 192 ms. Beside busy processes the answer to one user, of 1 million, took
84 ms with two threads and 20 ms with one; after three gradient steps, of 12 million, 513 and 41 ms. `llmrec/__init__.py` sets
how long threads spin.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

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


class _Outside:
    """How many threads torch takes outside of all `threads_for` blocks.

    torch keeps one number for the process: a Python thread that enters while another is inside would otherwise take the other's
    number for it, and leave it behind.
    """

    def __init__(self) -> None:
        self.lock, self.inside, self.count = threading.Lock(), 0, 0

    def enter(self) -> int:
        with self.lock:
            if self.inside == 0:
                self.count = torch.get_num_threads()
            self.inside += 1
            return self.count

    def leave(self, back_to: int | None) -> None:
        with self.lock:
            torch.set_num_threads(self.count if back_to is None else back_to)
            self.inside -= 1


_OUTSIDE = _Outside()
_TAKEN: ContextVar[int | None] = ContextVar("llmrec_threads", default=None)  # by the block that this one is inside of


@contextmanager
def threads_for(multiplications: float) -> Iterator[int]:
    """Use one thread for every PER_THREAD multiplications of the largest product inside the `with` block: at least one, and at
    most as many as torch uses outside. Yields their number, which does not depend on how busy the machine is, so that a run can
    be repeated to the bit. Blocks may nest, and several Python threads may be inside at a time."""
    most, outer = _OUTSIDE.enter(), _TAKEN.get()
    count = max(1, min(most if outer is None else outer, int(multiplications / PER_THREAD)))
    torch.set_num_threads(count)
    token = _TAKEN.set(count)
    try:
        yield count
    finally:
        _TAKEN.reset(token)
        _OUTSIDE.leave(outer)
