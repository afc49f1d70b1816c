"""Readings of single histories, kept for when the same history is asked for again: another page, another filter."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b

from llmrec.data.known import OBSERVED
from llmrec.data.tasks import Tasks
from llmrec.encoder.users import PromptReading
from llmrec.meta.gate import Choice

MOST = 1024  # readings kept, of some 2 KB each


class Remembered:
    """The readings asked for last, by history and by how the adapter was adapted to it; any number of threads may ask.

    It belongs to one state, whose model and initialisation never change, and a copy of it begins empty. Only single histories
    are kept: in a batch the same history is read with other roundings.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.known: OrderedDict[bytes, PromptReading] = OrderedDict()

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return Remembered, ()

    def read(self, tasks: Tasks, choice: Choice, read: Callable[[], PromptReading]) -> PromptReading:
        """What `read` gives for the one task, from memory where it was asked before."""
        key = history_key(tasks, choice)
        with self.lock:
            if key in self.known:
                self.known.move_to_end(key)
                return self.known[key]
        found = read()
        found.repeats.sort_indices()  # or threads would sort it in place beside one another
        with self.lock:
            self.known[key] = found
            while len(self.known) > MOST:
                self.known.popitem(last=False)
        return found


def history_key(tasks: Tasks, choice: Choice) -> bytes:
    """A hash of all that is read of the support of one task, with the attributes of its user and its request, and of how its
    adapter is adapted."""
    data, part = tasks.dataset, tasks.support(0)
    arrays = {"item": data.item, "time": data.time, "basket": data.basket, "counts": data.sample_weight, **data.attributes}
    found = blake2b(repr((choice, part.stop - part.start)).encode(), digest_size=16)
    for name in sorted(arrays.keys() - {OBSERVED}):
        if (values := arrays[name]) is not None:
            found.update(name.encode())
            found.update((values[part] - values[part.start] if name == "basket" else values[part]).tobytes())
    for name, given in (("user", tasks.user_attributes), ("context", tasks.context)):
        if given is not None:
            found.update(name.encode())
            found.update(given.codes.tobytes())
    return found.digest()
