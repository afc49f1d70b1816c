"""Full-softmax cross-entropy with several targets."""

from __future__ import annotations

import torch
from torch import Tensor


def multi_target(logits: Tensor, target: Tensor, owner: Tensor, weight: Tensor | None = None) -> Tensor:
    """Loss (M,) of M readouts: mean over a readout's targets of weight times -log softmax.

    logits: (M, N). target: int64 (P,), items. owner: int64 (P,), the readout each target belongs to.
    weight: float32 (P,), what each target counts; None for 1 each. It is not made to sum to one: a readout whose targets count
        little is one that little is learned from.
    A readout without targets has loss 0. The softmax is taken in float32.
    """
    logits = logits.float()
    hit = logits[owner, target]
    count = torch.zeros(len(logits), device=logits.device).index_add_(0, owner, torch.ones_like(hit))
    share = (1 if weight is None else weight.float()) / count.clamp(min=1)[owner]
    zero = torch.zeros(len(logits), device=logits.device)
    return torch.logsumexp(logits, 1) * zero.index_add(0, owner, share) - zero.index_add(0, owner, share * hit)
