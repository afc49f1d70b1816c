"""The loss of an episode: softmax cross-entropy over the whole catalogue.

Axis convention: `M` readouts, `N` items, `P` targets (several a readout). All scores are there anyway, so negatives are not
drawn: every item that is no target of the readout is one, which is what a draw would give on average. So a loss is a function
of the scores alone, a step is repeatable, and nobody's target is held against them.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from llmrec.encoder.loss import multi_target


class Loss(Protocol):
    """What every loss here is."""

    def __call__(
        self, scores: Tensor, target: Tensor, owner: Tensor, among: Tensor | None = None, weight: Tensor | None = None
    ) -> Tensor:
        """Loss (M,) of scores (M, N); 0 for a readout without targets.

        target: int64 (P,), items; owner: int64 (P,), the readout each belongs to. among: bool (M, N), the items that are
        ranked at all, None for all; targets are among them. Hard negatives are an `among` of the targets and the candidates
        that were retrieved. weight: float32 (P,), what each target counts, None for 1 each; not made to sum to one, so that a
        step on events that count little is a small one.
        """
        ...


def softmax(scores: Tensor, target: Tensor, owner: Tensor, among: Tensor | None = None, weight: Tensor | None = None) -> Tensor:
    """Mean over a readout's targets of -log softmax."""
    return multi_target(scores if among is None else scores.masked_fill(~among, -1e9), target, owner, weight)


def mean_by(values: Tensor, group: Tensor, groups: int) -> Tensor:
    """Mean (groups,) of values by group, int64; 0 for a group without any."""
    zero = torch.zeros(groups, device=values.device, dtype=values.dtype)
    return zero.index_add(0, group, values) / zero.index_add(0, group, torch.ones_like(values)).clamp(min=1)
