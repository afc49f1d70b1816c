"""The inner loop: gradient steps on the support, for all users of a batch at once.

    theta_0 = init
    theta_k = theta_{k-1} - rate_k * (grad L_support(theta_{k-1}) + pull * (theta_{k-1} - init))

MAML's (Finn et al., arXiv 1703.03400). Rates may be one for all, one per layer and step (Antoniou et al., How to train your
MAML, arXiv 1810.09502) or one per number (Li et al., Meta-SGD, arXiv 1707.09835); all leaves move, or only some (Raghu et al.,
ANIL, arXiv 1909.09157); the pull to the initialisation is the proximal term of Rajeswaran et al., arXiv 1909.04630.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import torch
from torch import Tensor

from llmrec.adapters.values import Shared, Value

V = TypeVar("V", bound=Value)
SupportLoss = Callable[[V], Tensor]
"""Value of U users -> support loss (U,) of each; user u's loss depends on user u's rows, and on what all share, alone."""


@dataclass(frozen=True)
class Initialisation(Generic[V]):
    """Where every adaptation starts, and how far it goes. Learned by the outer loop, never changed by adapting.

    adapter: U = 1; a LoRA adapter, or any other `Value`.
    log_rate: (steps, tensors): log of the step size for each step and each of `adapter.leaves()`.
    proximal: strength of the pull back to the initialisation.
    max_grad_norm: largest norm of one user's gradient over all its numbers that move; `math.inf` for none.
    factor: what each number's step is multiplied by on top (Meta-SGD; it may be negative), one (1, ...) per leaf; None for 1.
    inner: which leaves adapting moves; None for all. Shared tensors never move.
    outer: which leaves the outer loop learns; None for all.
    """

    adapter: V
    log_rate: Tensor
    proximal: float = 0.0
    max_grad_norm: float = 1.0
    factor: tuple[Tensor, ...] | None = None
    inner: tuple[bool, ...] | None = None
    outer: tuple[bool, ...] | None = None

    def to(self, device: str) -> Initialisation[V]:
        """The same numbers on another device."""
        factor = None if self.factor is None else tuple(t.to(device) for t in self.factor)
        return replace(self, adapter=self.adapter.map(lambda t: t.to(device)), log_rate=self.log_rate.to(device), factor=factor)

    @property
    def steps(self) -> int:
        return len(self.log_rate)

    @property
    def moving(self) -> list[int]:
        """Places of the leaves that adapting moves."""
        own = self.adapter.own if isinstance(self.adapter, Shared) else len(self.adapter.leaves())
        return [i for i in range(own) if self.inner is None or self.inner[i]]

    def rates(self, k: int) -> list[Tensor]:
        """Step sizes of step k (of the last one after that), one a leaf: (), or (1, ...) with a factor."""
        rates = list(self.log_rate[min(k, self.steps - 1)].exp().unbind())
        return rates if self.factor is None else [rate * factor for rate, factor in zip(rates, self.factor, strict=True)]


def initialisation(adapter: V, steps: int, rate: float, proximal: float = 0.0, max_grad_norm: float = 1.0) -> Initialisation[V]:
    """An initialisation with one rate for every layer and step, to be learned from or used as it is."""
    return Initialisation(adapter, torch.full((steps, len(adapter.leaves())), rate).log(), proximal, max_grad_norm)


def adapt(
    init: Initialisation[V], support: SupportLoss[V], users: int, steps: int | None = None, share: Tensor | None = None
) -> V:
    """Values of `users` after `steps` gradient steps on their support (None: all learned steps); detached.

    share: (steps, users), what each user's rates are multiplied by in each step; 0 where a user does not move. None for 1.
    Zero steps is the initialisation.
    """
    if steps is not None and steps <= 0:
        return init.adapter.expand(users).detach()
    for theta in trajectory(init, support, users, steps, share):
        last = theta
    return last.detach()


def trajectory(
    init: Initialisation[V],
    support: SupportLoss[V],
    users: int,
    steps: int | None = None,
    share: Tensor | None = None,
    differentiable: bool = False,
    first_order: bool = True,
) -> Iterator[V]:
    """theta_0, theta_1, ..., theta_K of `users`: the inner loop that adapting, the outer loop and the gate share.

    support: called with theta_k to compute theta_{k+1}, so never with the last. steps, share: as in `adapt`.
    differentiable: keep the graph back to the initialisation and the rates. first_order: take the inner gradient as a constant
        in it.
    """
    count, theta = init.steps if steps is None else max(steps, 0), init.adapter.expand(users)
    for k in range(count + 1):
        theta = ready(init, theta if differentiable else theta.map(torch.Tensor.detach))
        yield theta
        if k < count:
            theta = step(theta, init, support(theta), k, first_order, None if share is None else share[k])


def ready(init: Initialisation[V], theta: V) -> V:
    """The same value, with the leaves that a step moves fit to be differentiated by."""
    leaves = theta.leaves()
    for i in init.moving:
        leaves[i] = leaves[i] if leaves[i].requires_grad else leaves[i].detach().requires_grad_()
    return theta.with_leaves(leaves)


def step(theta: V, init: Initialisation[V], loss: Tensor, k: int, first_order: bool = True, share: Tensor | None = None) -> V:
    """One step from `theta`, whose support loss (U,) is `loss`; differentiable in the initialisation and the rates.

    first_order: take the gradient as a constant when the outer loop differentiates through the step.
    share: (U,), what each user's rates are multiplied by; None for 1.
    """
    leaves, home = theta.leaves(), init.adapter.leaves()
    through = [leaves[i] for i in init.moving]
    found = torch.autograd.grad(loss.sum(), through, create_graph=not first_order, retain_graph=True)
    rates = init.rates(k)
    for i, gradient in zip(init.moving, _bounded(list(found), init.max_grad_norm), strict=True):
        rate = rates[i]
        if share is not None:
            rate = rate * _as(share, leaves[i])
        if init.proximal:
            gradient = gradient + init.proximal * (leaves[i] - home[i])
        leaves[i] = leaves[i] - rate * gradient
    return theta.with_leaves(leaves)


def _bounded(grads: list[Tensor], most: float) -> list[Tensor]:
    """Gradients with each user's norm over all tensors at most `most`; a user with a non-finite gradient does not move."""
    square = torch.stack([g.flatten(1).square().sum(1) for g in grads]).sum(0)
    if not square.requires_grad and bool((square <= min(most * most, torch.finfo(square.dtype).max)).all()):
        return grads  # finite and short, so that all below leaves them as they are
    finite = torch.isfinite(square)
    if math.isinf(most):  # inf / norm has no derivative, and nothing needs one
        return [torch.where(_as(finite, g), g, 0.0) for g in grads]
    shrink = torch.where(finite, (most / square.clamp(min=1e-24).sqrt()).clamp(max=1.0), 0.0)
    return [torch.where(_as(finite, g), g, 0.0) * _as(shrink, g) for g in grads]


def _as(per_user: Tensor, like: Tensor) -> Tensor:
    return per_user.view(-1, *(1,) * (like.dim() - 1))
