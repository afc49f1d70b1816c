"""A causal language model as a value: its weights, its tokenizer and its family, frozen."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from llmrec.encoder.backbone import load_causal
from llmrec.encoder.precision import check_device, faster_dtype
from llmrec.encoder.weights import Weights
from llmrec.language.families import MODEL_TYPES, Family, family_of, lora_targets
from llmrec.language.weights import weights_of
from llmrec.prompts.chat import turn_tokens

NUMBERS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""Types of weights by their names in saved files."""


@dataclass(frozen=True, eq=False)
class LanguageModel:
    """Any number of threads may read it at once.

    model: of transformers, with its head, without gradients. tokenizer: of transformers.
    """

    model: Any
    tokenizer: Any

    @property
    def family(self) -> Family:
        return family_of(self.model)

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        return self.model.dtype

    @property
    def width(self) -> int:
        """Size d of a hidden state."""
        return int(self.model.config.hidden_size)

    @property
    def max_length(self) -> int:
        """Longest prompt that it was made for, in tokens."""
        return int(self.model.config.max_position_embeddings)

    @property
    def n_blocks(self) -> int:
        return len(self.model.get_submodule(self.family.blocks))

    def linear_paths(self, n_adapted_blocks: int) -> dict[str, tuple[int, int]]:
        """Paths of the linear layers in the last `n_adapted_blocks` blocks -> (d_in, d_out)."""
        return lora_targets(self.model, self.family, n_adapted_blocks)

    def start(self, text: str) -> list[int]:
        """Token ids of the beginning of a prompt, after the token that the model's own prompts begin with, where it has one.

        Words in the text that spell one of the model's special tokens stay words, here and in `words`.
        """
        found = self.tokenizer(text, split_special_tokens=True)["input_ids"]
        return found[:-1] if found and found[-1] == self.tokenizer.eos_token_id else found

    @cached_property
    def turns(self) -> tuple[list[int], list[int]]:
        """Token ids before the user's message of a chat, and after it up to the model's answer. Raises as `turn_tokens`."""
        return turn_tokens(self.tokenizer)

    def words(self, text: str) -> list[int]:
        """Token ids of a later piece of a prompt. A piece should begin with the space before its first word."""
        return self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]


def load_language_model(
    source: Weights | str | Path, dtype: torch.dtype | None = torch.float32, device: str | torch.device = "cpu"
) -> LanguageModel:
    """A causal language model of one of FAMILIES.

    source: `Weights`, a folder in the Hugging Face layout, a file `*.gguf`, or the name of a packaged model, such as `smollm2`,
        if no folder has that name. The last two are dequantised once and kept in the cache folder. A name on the hub is
        `Weights.hub(name)`: nothing else goes to the network.
    dtype: of the weights and of the computation; float32 or bfloat16. None for the faster one on the device, see
        `faster_dtype`: on CPUs with AMX bfloat16 reads SmolLM2 three times as fast, on others it is slow.

    Raises WeightsError for weights that are missing, damaged or of another family; MissingExtraError for a GGUF file or a
    packaged model without the package gguf; DataError for a device that is not available.
    """
    check_device(device)
    model, tokenizer = load_causal(weights_of(source), MODEL_TYPES, faster_dtype(str(device)) if dtype is None else dtype)
    return LanguageModel(model.to(device), tokenizer)
