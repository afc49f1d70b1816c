"""How the histories of users are read and adapted to: LoRA and the core behind one gate, for the gate's own learning and for
every answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from llmrec.adapters.lora import Adapter
from llmrec.data.tasks import Tasks
from llmrec.encoder.users import PromptReading, batches, joined
from llmrec.errors import DataError
from llmrec.meta.adaptable import Adaptable, Base, Lora
from llmrec.meta.gate import Choice, Gate
from llmrec.meta.inner import Initialisation
from llmrec.meta.user_core import Cores, UserCore


@dataclass(frozen=True, eq=False)
class Adapting:
    """A base, what a support may move on it, and the gate, which says what and how far.

    lora, core: what there is; without both the base reads alone, and with both zero steps of either are LoRA's initialisation.
    gate: None where it could not be learned: then each support takes all steps that were learned, of LoRA where there is both.
    """

    base: Base
    lora: Lora | None = None
    core: Cores | None = None
    gate: Gate | None = None

    @property
    def every(self) -> list[Choice]:
        """What a gate chooses from: zero steps, then each number of steps of LoRA, then of the core."""
        found = [Choice(adapter="core" if self.lora is None else "lora")]
        for name, member in (("lora", self.lora), ("core", self.core)):
            found += [] if member is None else [Choice(steps, adapter=name) for steps in range(1, member.steps + 1)]
        return found

    def choices(self, tasks: Tasks, steps: int | None = None) -> list[Choice]:
        """How each of T tasks is adapted: by so many steps of `forced`, or where None, by the gate's choice for its support's
        size, or without a gate, by all steps that were learned.

        Raises DataError for `steps` of LoRA where no step was learned.
        """
        if steps is None and self.gate is not None:
            return [self.gate.choices[number] for number in self.gate.choose(tasks.split - tasks.start)]
        learned = self._member(self.forced)
        full = 0 if learned is None else learned.steps
        if steps and learned is self.lora is not None and not full:
            raise DataError(
                f'steps is {steps}, but LoRA was fitted without inner steps; expected "auto" or 0, or fit with '
                "LoraSettings(inner_steps=3)"
            )
        return [Choice(full if steps is None else steps, adapter=self.forced)] * len(tasks)

    @property
    def forced(self) -> str:
        """What moves when a caller names a number of steps: LoRA, where there is LoRA and the gate does not choose the core
        alone."""
        chosen = set() if self.gate is None else {self.gate.choices[b.chosen] for b in self.gate.bins}
        adapters = {choice.adapter for choice in chosen if choice.steps}
        return "core" if self.core is not None and (self.lora is None or adapters == {"core"}) else "lora"

    def read(self, tasks: Tasks, how: Sequence[Choice]) -> PromptReading:
        """The supports of T tasks, at least one, each under what it is adapted to by its own choice."""
        names = np.array([choice.adapter for choice in how])
        parts, order = [], []
        for name in dict.fromkeys(names.tolist()):
            rows, member = np.flatnonzero(names == name), self._member(name)
            some = tasks if len(rows) == len(tasks) else tasks.take(rows)
            read = self.base.read(some) if member is None else member.adapted(some, [how[row] for row in rows.tolist()])[1]
            parts.append(read)
            order.append(rows)
        if len(parts) == 1:
            return parts[0]
        return joined(parts).take(np.argsort(np.concatenate(order)))

    def reader(self, steps: int | None = None) -> Callable[[Tasks], PromptReading]:
        """Read histories in batches, each adapted as `choices` says; at least one task at a time."""

        def read(tasks: Tasks) -> PromptReading:
            return joined([self.read(part, self.choices(part, steps)) for part in batches(tasks)])

        return read

    def query_log_likelihood(self, tasks: Tasks) -> np.ndarray:
        """float64 (T, C): minus the query loss of T tasks after each choice of `every`."""
        found = []
        for part in batches(tasks):
            columns: list[np.ndarray] = []
            for member in (self.lora, self.core):
                losses = [] if member is None else [-loss.detach().double().cpu().numpy() for loss in member.query_losses(part)]
                columns += losses[1:] if columns else losses
            found.append(np.stack(columns, 1))
        return np.concatenate(found)

    def largest_product(self, tasks: Tasks, how: Sequence[Choice]) -> float:
        """Multiplications of the largest product in the answer to T tasks, by which its threads are chosen: a second thread
        makes the answer to one user no faster, and on a busy machine many times slower."""
        model, settings = self.base.model, self.base.settings
        slots = min(int((tasks.split - tasks.start).max(initial=1)), settings.max_slots)
        largest = len(tasks) * (len(model.prefix_ids) + slots) * 4.0 * model.body.width**2
        compared = len(self.base.items.compared[1].bias)
        for name, each in (("lora", settings.reads * model.body.width), ("core", self._numbers**2)):
            moved = sum(choice.steps > 0 and choice.adapter == name for choice in how)
            largest = max(largest, float(moved) * each * compared)
        return largest

    @property
    def _numbers(self) -> int:
        return 0 if self.core is None else self.core.start.z.shape[1]

    def _member(self, name: str) -> Adaptable | None:
        return self.core if name == "core" else self.lora


def adapting(
    base: Base, init: Initialisation[Adapter] | None, core: UserCore | None = None, newton: int = 1, gate: Gate | None = None
) -> Adapting:
    """What was learned on a base, LoRA's `init` and a core of so many steps of Newton's, with its gate."""
    lora = None if init is None else Lora(base, init)
    cores = None if core is None else Cores(base, core, newton, None if init is None else init.adapter)
    return Adapting(base, lora, cores, gate)
