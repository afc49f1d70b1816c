"""Soft prompts as values: virtual tokens in front of the prompt, whose embeddings are what adapts.

Source: Lester et al., The power of scale for parameter-efficient prompt tuning, arXiv 2104.08691.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from llmrec.adapters.values import Value
from llmrec.errors import AdapterError
from llmrec.language.model import LanguageModel


@dataclass(frozen=True)
class SoftPrompt(Value):
    """Virtual tokens of U users. tokens: (U, n, d), in place of input embeddings of words."""

    tokens: Tensor

    def __len__(self) -> int:
        return len(self.tokens)

    def leaves(self) -> list[Tensor]:
        return [self.tokens]

    def with_leaves(self, leaves: list[Tensor]) -> SoftPrompt:
        return SoftPrompt(*leaves)


def soft_prompt(language_model: LanguageModel, text: str, n_tokens: int) -> SoftPrompt:
    """A start for U = 1: embeddings of the words of a text, cut or repeated to `n_tokens`.

    Raises AdapterError for a text without words, or fewer than one token.
    """
    ids = language_model.words(text)
    if not ids or n_tokens < 1:
        raise AdapterError(f"soft prompt: expected words and n_tokens >= 1, got {text!r} and {n_tokens}")
    ids = (ids * -(-n_tokens // len(ids)))[:n_tokens]
    with torch.no_grad():
        words = language_model.model.get_input_embeddings()(torch.tensor(ids, device=language_model.device))
    return SoftPrompt(words.float()[None].clone())
