"""A linear head: the dot product of its weights with the last state of a candidate is added to the candidate's score.

No state depends on it. So a gradient step needs no pass through the model, and a user has as many weights as a state is wide.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from llmrec.adapters.peft_format import TENSORS, checked_base, fingerprint, in_one_order, one_tensor, read_tensors
from llmrec.adapters.values import Value
from llmrec.errors import AdapterError
from llmrec.language.model import LanguageModel

KEY = "weight"


@dataclass(frozen=True)
class LinearHead(Value):
    """Linear heads of U users. weight: (U, d). States are scaled to a mean square of 1; the product is in nats."""

    weight: Tensor

    def __len__(self) -> int:
        return len(self.weight)

    def leaves(self) -> list[Tensor]:
        return [self.weight]

    def with_leaves(self, leaves: list[Tensor]) -> LinearHead:
        return LinearHead(*leaves)

    def scores(self, states: Tensor, row: Tensor) -> Tensor:
        """float32 (C,): what is added to the scores of C candidates.

        states: (C, d), last states at the last token of each candidate. row: int64 (C,), the user of each candidate; ignored
        for U = 1.
        """
        ready = states.float()
        ready = ready * ready.square().mean(1, keepdim=True).clamp(min=1e-12).rsqrt()
        weight = self.weight.to(ready.device)
        return ready @ weight[0] if len(weight) == 1 else (ready * weight[row]).sum(1)


def linear_head(language_model: LanguageModel) -> LinearHead:
    """A head (U = 1) of zeros, which leaves scores as they are."""
    return LinearHead(torch.zeros(1, language_model.width))


def save_linear_head(folder: Path, head: LinearHead, language_model: LanguageModel) -> None:
    """Write one user's head (U = 1), with a hash of the model that it belongs to. Raises AdapterError when U is not 1."""
    if len(head) != 1:
        raise AdapterError(f"expected the linear head of one user, got {len(head)}: save `head.take(...)` of one at a time")
    folder.mkdir(parents=True, exist_ok=True)
    metadata = {"format": "pt", "llmrec_base": fingerprint(language_model)}
    (folder / TENSORS).write_bytes(in_one_order(save({KEY: head.weight[0].detach().cpu().contiguous()}, metadata)))


def load_linear_head(folder: Path, language_model: LanguageModel) -> LinearHead:
    """The head (U = 1) of a folder, checked against the model that it belongs to. Raises AdapterError, which names the file."""
    base, tensors = read_tensors(folder)
    if base is None:
        raise AdapterError(f"{folder / TENSORS}: expected the hash of its language model, got none; save the adapter again")
    checked_base(folder, base, language_model, foreign=False)
    return LinearHead(one_tensor(folder, tensors, KEY, (language_model.width,))[None])
