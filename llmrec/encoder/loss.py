"""Full-softmax cross-entropy with several right answers."""

from __future__ import annotations

import torch
from torch import Tensor


def multi_target(logits: Tensor, target: Tensor, owner: Tensor) -> Tensor:
    """Loss (M,) of M readouts: mean over a readout's targets of -log softmax.

    logits: (M, N). target: int64 (P,), items. owner: int64 (P,), the readout each target belongs to.
    A readout without targets has loss 0. The softmax is taken in float32.
    """
    logits = logits.float()
    hit = logits[owner, target]
    count = torch.zeros(len(logits), device=logits.device).index_add_(0, owner, torch.ones_like(hit))
    mean = torch.zeros(len(logits), device=logits.device).index_add_(0, owner, hit) / count.clamp(min=1)
    return (torch.logsumexp(logits, 1) - mean) * (count > 0)
