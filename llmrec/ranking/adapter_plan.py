"""Settings of a language model's adapter: its size and training."""

from __future__ import annotations

from dataclasses import dataclass

from llmrec.data.numbers import check_number, check_whole
from llmrec.errors import DataError


@dataclass(frozen=True)
class AdapterPlan:
    """An adapter of a language model that `Recommender.fit` or `Scenes.fit` learns, see `LLMRanker.plan`.

    r, n_blocks: rank of LoRA, in the last blocks; 0 for none. n_tokens: virtual tokens of a soft prompt; 0 for none. head:
        whether there is a linear head on the last state of each candidate.
    users: number of training users at most, with one choice each; for `Scenes` over all known scenes. negatives: items besides
        the one taken, drawn by popularity, or for `Scenes` from those that a scene ranks first; fewer if a small shop
        has fewer.
    max_steps, batch_size: optimiser steps, and choices in each. learning_rate: of Adam, which decays to zero.
    Raises DataError for a number out of range, and for a plan with none of LoRA, soft prompt and head.
    """

    r: int = 8
    n_blocks: int = 8
    n_tokens: int = 0
    users: int = 256
    negatives: int = 7
    max_steps: int = 64
    batch_size: int = 8
    learning_rate: float = 1e-3
    head: bool = False

    def __post_init__(self) -> None:
        for name in ("r", "n_blocks", "n_tokens"):
            check_whole(f"AdapterPlan.{name}", getattr(self, name), 0)
        for name in ("users", "negatives", "max_steps", "batch_size"):
            check_whole(f"AdapterPlan.{name}", getattr(self, name), 1)
        check_number("AdapterPlan.learning_rate", self.learning_rate, 0, above=True)
        if not isinstance(self.head, bool):
            raise DataError(f"AdapterPlan.head is {self.head!r}; expected True or False")
        if not self.lora and not self.n_tokens and not self.head:
            raise DataError("AdapterPlan: expected LoRA (r and n_blocks), a soft prompt (n_tokens) or a head, got none of them")

    @property
    def lora(self) -> bool:
        """Whether there is LoRA."""
        return self.r > 0 and self.n_blocks > 0

    def __str__(self) -> str:
        blocks = "the last block" if self.n_blocks == 1 else f"the last {self.n_blocks} blocks"
        lora = [f"LoRA of rank {self.r} in {blocks}"] if self.lora else []
        prompt = [f"a soft prompt of {self.n_tokens} tokens"] if self.n_tokens else []
        return " and ".join([*lora, *prompt, *(["a linear head"] if self.head else [])])
