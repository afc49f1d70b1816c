"""What a support can move: one protocol for users and for scenes, and LoRA as its first member.

A member says where adapting starts, how a support moves it, and which user vectors come of it; the outer loop, the gate and
every answer ask for nothing else. `user_core.py` has the closed-form core.

Axis convention: `T` histories, `S` scenes, `d` width of the transformer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from torch import Tensor

from llmrec.adapters.lora import Adapter, lora_hook
from llmrec.adapters.values import Value
from llmrec.data.tasks import Tasks
from llmrec.encoder.model import Items, SlotModel
from llmrec.encoder.moved import MovedItems
from llmrec.encoder.users import PromptReading, Prompts, prompt_reading, prompts, user_vectors
from llmrec.meta.episodes import EpisodeSettings, SceneRows, scene_loss, user_episode, user_support
from llmrec.meta.gate import Choice, adapt_by
from llmrec.meta.inner import Initialisation, adapt
from llmrec.meta.outer import Episode, query_path

W = TypeVar("W", bound=Value)


@dataclass(frozen=True, eq=False)
class Base:
    """A frozen base over one catalogue, and how histories are read by it.

    moved: items that candidates are scored by at other vectors; histories are read and adapted to by those of `items`. None
        for none.
    """

    model: SlotModel
    items: Items
    settings: EpisodeSettings
    moved: MovedItems | None = None

    def prompts(self, tasks: Tasks) -> Prompts:
        """The supports of T tasks as prompts, run through the blocks that nothing adapts."""
        return prompts(self.model, self.items, tasks, self.settings.max_slots, self.settings.n_adapted_blocks)

    def vectors(self, made: Prompts, adapter: Adapter | None = None) -> Tensor:
        """User vectors (T, d) of prompts under adapters of T users or of one; None for the base alone."""
        return user_vectors(self.model, made, None if adapter is None else lora_hook(adapter))

    def reading(self, made: Prompts, vectors: Tensor) -> PromptReading:
        """The reading of prompts whose user vectors (T, d) are known."""
        return prompt_reading(self.model, self.items, vectors, made.batch, self.moved)

    def read(self, tasks: Tasks) -> PromptReading:
        """The supports of T tasks as the base alone reads them."""
        made = self.prompts(tasks)
        return self.reading(made, self.vectors(made))


class Adaptable(Protocol[W]):
    """Something that a support can move, on one base: a value `W` for each user, or for each scene."""

    @property
    def steps(self) -> int:
        """Steps that were learned; more may be taken."""
        ...

    def adapted(self, tasks: Tasks, choices: Sequence[Choice]) -> tuple[W, PromptReading]:
        """Values of T users, each adapted by a choice of its own to nothing but its support, and what is read under them."""
        ...

    def adapted_scenes(self, rows: SceneRows, steps: int | None = None) -> W:
        """Values of S scenes, each adapted to what the users of its rows took; None for all steps that were learned."""
        ...

    def vectors(self, made: Prompts, value: W) -> Tensor:
        """User vectors (T, d) of prompts under values of T users or of one; those of scenes come by `value.take(owner)`."""
        ...

    def query_losses(self, tasks: Tasks) -> Iterator[Tensor]:
        """Query loss (T,) after 0, 1, ..., all learned steps on the support: what the gate chooses by."""
        ...

    def episode(self, tasks: Tasks) -> Episode[W]:
        """What the outer loop learns from."""
        ...


@dataclass(frozen=True, eq=False)
class Lora:
    """LoRA weights of the upper blocks by gradient steps: an `Adaptable`. init: where they start, and the rates."""

    base: Base
    init: Initialisation[Adapter]

    @property
    def steps(self) -> int:
        return self.init.steps

    def adapted(self, tasks: Tasks, choices: Sequence[Choice]) -> tuple[Adapter, PromptReading]:
        made, support = user_support(self.base.model, self.base.items, tasks, self.base.settings)
        adapter = adapt_by(self.init, support, choices)
        return adapter, self.base.reading(made, self.vectors(made, adapter))

    def adapted_scenes(self, rows: SceneRows, steps: int | None = None) -> Adapter:
        support = scene_loss(self.base.model, self.base.items, rows, self.base.settings)
        return adapt(self.init, support, len(rows.allowed), steps)

    def vectors(self, made: Prompts, value: Adapter) -> Tensor:
        return self.base.vectors(made, value)

    def query_losses(self, tasks: Tasks) -> Iterator[Tensor]:
        return query_path(self.init, self.episode(tasks))

    def episode(self, tasks: Tasks) -> Episode[Adapter]:
        return user_episode(self.base.model, self.base.items, tasks, self.base.settings)
