"""Full-softmax loss over a catalogue and its gradient, block by block, without a matrix of all logits in memory.

Axis convention: `M` readouts, `N` items, `d` width, `P` pairs of a readout and one of its targets.

Each block of logits is needed for the loss and for its gradient, so both are made together while it is in the cache. Against
autograd through an (M, N) matrix that is two to five times as fast on a CPU, and takes the memory of a block.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

CELLS = {"cpu": 1 << 22, "cuda": 1 << 27}  # logits held at once
FEW = 8  # readouts, up to which a product with the items on the left takes half the time
HIDDEN = -1e9  # the score of an item that is not compared
ROWS = 64  # readouts are filled up to a multiple: see `slots.slots` on shapes that were there before

Extra = tuple[Tensor, Tensor]
"""What else a few items score at each readout: item int64 (M, L), value float32 (M, L), added up where an item stands twice."""


def catalogue_loss(
    users: Tensor,
    vectors: Tensor,
    target: Tensor,
    owner: Tensor,
    bias: Tensor | None = None,
    extra: Extra | None = None,
    dtype: torch.dtype = torch.float32,
    weight: Tensor | None = None,
) -> Tensor:
    """Scalar: mean over readouts of `multi_target(users @ vectors.T + bias + extra, target, owner, weight)`.

    users: float32 (M, d). vectors: float32 (N, d). bias: float32 (N,). target: int64 (P,), items; owner: int64 (P,), ascending,
    the readout of each target; a readout without targets counts as 0. dtype: of the matrix products; all else is float32.
    weight: float32 (P,), what each target counts; None for 1 each.
    It can be differentiated once, in `users`, `vectors`, `bias` and the values of `extra`.
    """
    if bias is None:
        bias = torch.zeros(len(vectors), device=vectors.device)
    if extra is None:
        empty = torch.zeros(len(users), 0, device=users.device)
        extra = empty.long(), empty
    more = -len(users) % ROWS
    users, index, value = (pad(part, (0, 0, 0, more)) for part in (users.float(), extra[0], extra[1].float()))
    if weight is None:
        weight = torch.ones(len(target), device=users.device)
    whole = _CatalogueLoss.apply(users, vectors.float(), bias.float(), index, value, target, owner, weight.float(), dtype)
    return whole * (len(users) / max(len(users) - more, 1))  # the mean is over the readouts that there are


@dataclass(frozen=True)
class Targets:
    """The P targets of some readouts, and what each readout compares them with: `S` items of which one is `stride` items.

    owner: int64 (P,), the readout of each target. share: float32 (P,), what each target counts in the sum of all losses.
    vectors: float32 (P, d). bias: float32 (P,). place: int64 (P,), which of its readout's targets each one is, from 0.
    known: int64 (2, Q), readouts and those of the S items that are targets of theirs, so that they are compared once.
    """

    owner: Tensor
    share: Tensor
    vectors: Tensor
    bias: Tensor
    place: Tensor
    known: Tensor


def sampled_loss(users: Tensor, vectors: Tensor, bias: Tensor, targets: Targets, stride: int) -> Tensor:
    """(M,): each readout's sum over its targets of share times -log softmax, among them and the items compared.

    users: float32 (M, d). vectors: float32 (S, d). bias: float32 (S,). It can be differentiated once, in `users` alone: its
    gradient is made beside it. For the readouts of one user that takes two thirds of autograd's time.
    """
    return _SampledLoss.apply(users, vectors, bias, targets, stride)


class _SampledLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, users: Tensor, vectors: Tensor, bias: Tensor, targets: Targets, stride: int) -> Tensor:
        owner, share = targets.owner, targets.share
        scores = ((vectors @ users.T).T.contiguous() if len(users) <= FEW else users @ vectors.T).add_(bias)
        scores.index_put_(tuple(targets.known), scores.new_full((), HIDDEN))
        hit = (users[owner] * targets.vectors).sum(1) + targets.bias
        own = scores.new_full((len(users), int(targets.place.max()) + 1), HIDDEN).index_put_((owner, targets.place), hit)
        top = scores.amax(1)
        total = scores.sub_(top[:, None]).exp_().sum(1)
        whole = torch.logaddexp(top + total.log() + math.log(stride), torch.logsumexp(own, 1))
        weight = share.new_zeros(len(users)).index_add_(0, owner, share)
        slope = (weight * stride * (top - whole).exp())[:, None] * (scores @ vectors)
        of_hit = weight[owner] * (hit - whole[owner]).exp() - share
        ctx.save_for_backward(slope.index_add_(0, owner, of_hit[:, None] * targets.vectors))
        return (weight * whole).index_add_(0, owner, share * hit, alpha=-1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        (slope,) = ctx.saved_tensors
        return upstream[:, None] * slope, None, None, None, None


class _CatalogueLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        users: Tensor,
        vectors: Tensor,
        bias: Tensor,
        index: Tensor,
        value: Tensor,
        target: Tensor,
        owner: Tensor,
        counts: Tensor,
        dtype: torch.dtype,
    ) -> Tensor:
        m, n = len(users), len(vectors)
        rows = max(ROWS, CELLS.get(users.device.type, 1 << 22) // max(n, 1) // ROWS * ROWS)
        count = torch.bincount(owner, minlength=m)
        share = counts / count.clamp(min=1)[owner] / max(m, 1)  # of a target
        weight = users.new_zeros(m).index_add_(0, owner, share)  # of a readout
        edge = torch.cat([count.new_zeros(1), count.cumsum(0)]).tolist()
        left, right = users.to(dtype), vectors.to(dtype)
        by_user, by_item = torch.empty_like(users), torch.zeros_like(vectors)
        by_bias, by_value = torch.zeros_like(bias), torch.empty_like(value)
        # The same two buffers for every block: fresh ones of this size cost more in page faults than the arithmetic.
        logits, low = users.new_empty(min(rows, m), n), left.new_empty(min(rows, m), n)
        loss = users.new_zeros((), dtype=torch.float64)
        for first in range(0, m, rows):
            block = slice(first, min(first + rows, m))
            size = block.stop - first
            mine = slice(edge[first], edge[block.stop])
            row, column = owner[mine] - first, target[mine]
            slope, short = logits[:size], low[:size]
            slope.copy_(torch.mm(left[block], right.T, out=short))
            slope.add_(bias).scatter_add_(1, index[block], value[block])
            hit = slope[row, column]
            top = slope.amax(1, keepdim=True)
            whole = slope.sub_(top).exp_().sum(1)
            loss += (weight[block] * (whole.log() + top[:, 0])).sum() - (share[mine] * hit).sum()
            slope.mul_((weight[block] / whole)[:, None])  # the softmax, and then less what it should have been
            slope.index_put_((row, column), -share[mine], accumulate=True)
            by_bias += slope.sum(0)
            by_value[block] = slope.gather(1, index[block])
            short.copy_(slope)
            by_user[block] = short @ right
            by_item += short.T @ left[block]
        ctx.save_for_backward(by_user, by_item, by_bias, by_value)
        return loss.float()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        by_user, by_item, by_bias, by_value = (upstream * slope for slope in ctx.saved_tensors)
        return by_user, by_item, by_bias, None, by_value, None, None, None, None
