"""The inner loop: gradient steps on the support, for all users of a batch at once.

    theta_0 = init
    theta_k = theta_{k-1} - rate_k * (grad L_support(theta_{k-1}) + pull * (theta_{k-1} - init))

Rates are learned per layer and step (Antoniou et al., How to train your MAML, arXiv 1810.09502); the pull to the initialisation
is the proximal term of Rajeswaran et al., arXiv 1909.04630.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from llmrec.adapters.lora import Adapter

SupportLoss = Callable[[Adapter], Tensor]
"""Adapter of U users -> support loss (U,) of each; user u's loss depends on user u's tensors alone."""


@dataclass(frozen=True)
class Initialisation:
    """Where every adaptation starts, and how far it goes. Learned by the outer loop, never changed by adapting.

    adapter: U = 1.
    log_rate: (steps, tensors): log of the step size for each step and each of `adapter.leaves()`.
    pull: strength of the pull back to the initialisation.
    clip: largest norm of one user's gradient over all its numbers.
    """

    adapter: Adapter
    log_rate: Tensor
    pull: float = 0.0
    clip: float = 1.0

    def to(self, device: str) -> Initialisation:
        """The same numbers on another device."""
        return replace(self, adapter=self.adapter.map(lambda t: t.to(device)), log_rate=self.log_rate.to(device))

    @property
    def steps(self) -> int:
        return len(self.log_rate)


def initialisation(adapter: Adapter, steps: int, rate: float, pull: float = 0.0, clip: float = 1.0) -> Initialisation:
    """An initialisation with one rate for every layer and step, to be learned from or used as it is."""
    return Initialisation(adapter, torch.full((steps, len(adapter.leaves())), rate).log(), pull, clip)


def adapt(init: Initialisation, support: SupportLoss, users: int, steps: int | None = None) -> Adapter:
    """Adapters of `users` after `steps` gradient steps on their support (all that were learned when None); detached.

    Zero steps is the initialisation.
    """
    theta = init.adapter.expand(users)
    for k in range(init.steps if steps is None else steps):
        theta = theta.map(lambda tensor: tensor.detach().requires_grad_())
        theta = step(theta, init, support(theta), k)
    return theta.detach()


def step(theta: Adapter, init: Initialisation, loss: Tensor, k: int, first_order: bool = True) -> Adapter:
    """One step from `theta`, whose support loss (U,) is `loss`; differentiable in the initialisation and the rates.

    first_order: take the gradient as a constant when the outer loop differentiates through the step.
    """
    leaves = theta.leaves()
    found = torch.autograd.grad(loss.sum(), leaves, create_graph=not first_order, retain_graph=True)
    grads = _bounded(list(found), init.clip)
    home = init.adapter.leaves()
    rates = init.log_rate[min(k, init.steps - 1)].exp()
    moved = [t - rate * (g + init.pull * (t - h)) for t, g, h, rate in zip(leaves, grads, home, rates, strict=True)]
    return theta.with_leaves(moved)


def _bounded(grads: list[Tensor], most: float) -> list[Tensor]:
    """Gradients with each user's norm over all tensors at most `most`; a user with a non-finite gradient does not move."""
    square = torch.stack([g.flatten(1).square().sum(1) for g in grads]).sum(0)
    finite = torch.isfinite(square)
    shrink = torch.where(finite, (most / square.clamp(min=1e-24).sqrt()).clamp(max=1.0), 0.0)
    return [torch.where(_as(finite, g), g, 0.0) * _as(shrink, g) for g in grads]


def _as(per_user: Tensor, like: Tensor) -> Tensor:
    return per_user.view(-1, *(1,) * (like.dim() - 1))
