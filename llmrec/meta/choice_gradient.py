"""A loss over more rows than fit into memory: its gradient is made beside its value, part by part.

Autograd keeps every state of the adapted blocks until the backward pass, some hundred kilobytes a token. Each user's loss
depends on that user's numbers alone, so a part's gradient can be made at once and its states let go; what comes from outside is
one number a user. The inner and the outer loop see an ordinary tensor. It cannot be differentiated twice: first order only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from llmrec.meta.inner import V

Parts = Callable[[V], Tensor]
"""Value of U users -> what a part adds to each user's loss, (U,)."""


def loss_by_parts(value: V, parts: Sequence[Parts[V]]) -> Tensor:
    """The sum (U,) of the parts, one part after the other; differentiable once in the leaves of `value`, each (U, ...)."""
    found: Any = _ByParts.apply(value, parts, torch.is_grad_enabled(), *value.leaves())
    return found


class _ByParts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Any, parts: Sequence[Parts], recording: bool, *leaves: Tensor) -> Tensor:
        wanted = recording and any(ctx.needs_input_grad)
        mine = [leaf.detach().requires_grad_(wanted) for leaf in leaves]
        total, slopes = (
            torch.zeros(len(mine[0]), device=mine[0].device),
            [torch.zeros_like(leaf) for leaf in mine] if wanted else [],
        )
        for part in parts:
            with torch.set_grad_enabled(wanted):
                loss = part(value.with_leaves(mine))
                found = torch.autograd.grad(loss.sum(), mine) if wanted else []
            total += loss.detach()
            for slope, gradient in zip(slopes, found, strict=True):
                slope += gradient
        ctx.save_for_backward(*slopes)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, None, *(slope * outer.view(-1, *(1,) * (slope.dim() - 1)) for slope in ctx.saved_tensors)
