"""An adapter of a language model as one value: LoRA, a soft prompt, a linear head, or several of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from llmrec.adapters.linear_head import LinearHead
from llmrec.adapters.lora import Adapter, init_lora, lora_hook
from llmrec.adapters.soft_prompt import SoftPrompt
from llmrec.adapters.values import Value
from llmrec.encoder.bert import LoraHook
from llmrec.errors import AdapterError
from llmrec.language.model import LanguageModel


@dataclass(frozen=True)
class LanguageAdapter(Value):
    """What adapts a language model for U users: LoRA, a soft prompt, a linear head, or several of them; None for a part that is
    not there.

    Raises AdapterError if all are None, or for parts of different numbers of users.
    """

    lora: Adapter | None = None
    prompt: SoftPrompt | None = None
    head: LinearHead | None = None

    def __post_init__(self) -> None:
        if len({len(part) for part in self._parts}) != 1:
            found = ", ".join(str(len(part)) for part in self._parts) or "none"
            raise AdapterError(f"lora, prompt, head: expected at least one, all of as many users, got {found}")

    @property
    def _parts(self) -> list[Value]:
        return [part for part in (self.lora, self.prompt, self.head) if part is not None]

    @property
    def n_params(self) -> int:
        """How many numbers one user has."""
        return sum(leaf[0].numel() for leaf in self.leaves())

    def __len__(self) -> int:
        return len(self._parts[0])

    def leaves(self) -> list[Tensor]:
        """Those of LoRA, then those of the soft prompt and of the head."""
        return [leaf for part in self._parts for leaf in part.leaves()]

    def with_leaves(self, leaves: list[Tensor]) -> LanguageAdapter:
        first = 0 if self.lora is None else len(self.lora.leaves())
        second = first + (0 if self.prompt is None else 1)
        return LanguageAdapter(
            None if self.lora is None else self.lora.with_leaves(leaves[:first]),
            None if self.prompt is None else self.prompt.with_leaves(leaves[first:second]),
            None if self.head is None else self.head.with_leaves(leaves[second:]),
        )

    def adds(self, language_model: LanguageModel) -> tuple[LoraHook | None, Tensor | None]:
        """What U rows are read with, in the model's number type: LoRA's hook and virtual tokens (U, n, d)."""
        ready = self.map(lambda leaf: leaf.to(language_model.device, language_model.dtype))
        hook = None if ready.lora is None else lora_hook(ready.lora)
        return hook, None if ready.prompt is None else ready.prompt.tokens

    def n_blocks(self, language_model: LanguageModel) -> int | None:
        """How many of the last blocks it adapts: None for all, as with a soft prompt, which changes all; 0 for a head."""
        if self.prompt is not None:
            return None
        if self.lora is None:
            return 0
        family = language_model.family
        return language_model.n_blocks - min(
            int(path.removeprefix(f"{family.blocks}.").split(".")[0]) for path in self.lora.paths
        )


def start_lora(
    language_model: LanguageModel, rank: int, scale: float, n_blocks: int, generator: torch.Generator, b_std: float = 0.0
) -> Adapter:
    """`init_lora` over the linear layers of the last `n_blocks` blocks."""
    return init_lora(language_model.linear_paths(n_blocks), rank, scale, generator, b_std)
