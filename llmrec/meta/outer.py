"""The outer loop: learn the initialisation and the rates from the query loss at every inner step.

First-order MAML (Finn et al., arXiv 1703.03400; Nichol et al., arXiv 1803.02999) with the multi-step loss and the learned rates
of MAML++ (arXiv 1810.09502). With `first_order=False` it differentiates through the inner gradients. `algorithms.py` names the
settings that give each paper's algorithm; Reptile, which needs no gradient of the query, is among the studies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Generic

import torch
from torch import Tensor

from llmrec.encoder.train import SINGLE_PROCESS, Shard
from llmrec.meta.inner import Initialisation, SupportLoss, V, trajectory

EpisodeLoss = Callable[[V], tuple[Tensor, Tensor]]
"""Value of U tasks -> support loss (U,), query loss (U,)."""


@dataclass(frozen=True)
class Episode(Generic[V]):
    """A batch of tasks with its losses. Support and query share no event.

    tasks: how many values are adapted side by side, U.
    loss: both losses of every task under given values. apart: the loss of the support and that of the query, where each has a
        forward pass of its own: the support's is then not computed after the last step. None where one pass gives both.
    """

    tasks: int
    loss: EpisodeLoss[V]
    apart: tuple[SupportLoss[V], SupportLoss[V]] | None = None


@dataclass(frozen=True)
class OuterSettings:
    """How the outer loop learns.

    episodes: outer steps. learning_rate: of Adam on the initialisation.
    inner_lr_learning_rate: of Adam on the inner rates: per number where the initialisation has a factor, otherwise per layer
        and step, in logs; 0 leaves them as they are.
    anneal: share of the episodes after which only the last step's query loss counts (at first all steps count alike); with 0
        only the last one counts from the start.
    first_order: without the second derivatives.
    """

    episodes: int = 60
    learning_rate: float = 1e-3
    inner_lr_learning_rate: float = 5e-2
    anneal: float = 0.6
    first_order: bool = True


@dataclass
class MetaState(Generic[V]):
    """The mutable state of meta-learning; `train_step` changes it.

    init: what is learned, whose tensors are the optimiser's. optimiser: Adam over them. losses: mean query loss after each
        number of steps, of every episode so far.
    """

    init: Initialisation[V]
    optimiser: torch.optim.Adam
    losses: list[list[float]]

    @property
    def tensors(self) -> list[Tensor]:
        """All that is learned, in one order."""
        return [tensor for group in self.optimiser.param_groups for tensor in group["params"]]


def init_state(init: Initialisation[V], settings: OuterSettings) -> MetaState[V]:
    """Meta-learning before its first episode; `init` itself never changes."""
    fast = settings.inner_lr_learning_rate > 0
    learns = init.outer or (True,) * len(init.adapter.leaves())
    leaves = [_own(leaf, learn) for leaf, learn in zip(init.adapter.leaves(), learns, strict=True)]
    factor = None if init.factor is None else tuple(_own(t, fast) for t in init.factor)
    log_rate = _own(init.log_rate, fast and factor is None)
    learned = replace(init, adapter=init.adapter.with_leaves(leaves), log_rate=log_rate, factor=factor)
    slow, rates = ([t for t in tensors if t.requires_grad] for tensors in (leaves, [log_rate, *(factor or ())]))
    groups = [(slow, settings.learning_rate), (rates, settings.inner_lr_learning_rate)]
    optimiser = torch.optim.Adam([{"params": tensors, "lr": lr, "rate": lr} for tensors, lr in groups if tensors])
    return MetaState(learned, optimiser, [])


def train_step(
    learning: MetaState[V], episode: Episode[V], settings: OuterSettings, shard: Shard = SINGLE_PROCESS, weight: float = 1.0
) -> list[float]:
    """Learn from one episode; its mean query loss after 0, 1, ..., steps inner steps.

    shard, weight: with several processes, how their gradients are summed, and the fraction of the episode's tasks in this one.
    """
    init, done = learning.init, len(learning.losses)
    losses = query_losses(init, episode, settings.first_order)
    weights = step_weights(init.steps, done / settings.episodes, settings.anneal).to(losses)
    learning.optimiser.zero_grad()
    (weight * (weights * losses).sum()).backward()
    mean = _summed(learning.tensors, weight * losses.detach(), shard)
    norm = torch.nn.utils.clip_grad_norm_(learning.tensors, 1.0)
    if not torch.isfinite(norm):
        learning.optimiser.zero_grad()  # one user's overflow must not spoil what others taught: this episode teaches nothing
    for group in learning.optimiser.param_groups:
        group["lr"] = group["rate"] * (1.0 - done / max(settings.episodes, 1))
    learning.optimiser.step()
    learning.losses.append(mean.tolist())
    return learning.losses[-1]


def finalize(learning: MetaState[V]) -> Initialisation[V]:
    """What was learned, as a value of its own."""
    init = learning.init
    factor = None if init.factor is None else tuple(t.detach().clone() for t in init.factor)
    return replace(init, adapter=init.adapter.detach(), log_rate=init.log_rate.detach().clone(), factor=factor)


def meta_train(
    init: Initialisation[V],
    episodes: Iterator[Episode[V]],
    settings: OuterSettings,
    watch: Callable[[int, list[float]], None] | None = None,
) -> Initialisation[V]:
    """A learned initialisation from `settings.episodes` episodes.

    watch: called with the episode's number and the mean query loss after 0, 1, ..., steps inner steps.
    """
    learning = init_state(init, settings)
    for i in range(settings.episodes):
        losses = train_step(learning, next(episodes), settings)
        if watch is not None:
            watch(i, losses)
    return finalize(learning)


def query_losses(init: Initialisation[V], episode: Episode[V], first_order: bool = True) -> Tensor:
    """Mean query loss (steps + 1,) of an episode after 0, 1, ..., steps inner steps; differentiable in `init`."""
    return torch.stack([query.mean() for query in query_path(init, episode, True, first_order)])


def query_path(
    init: Initialisation[V], episode: Episode[V], differentiable: bool = False, first_order: bool = True
) -> Iterator[Tensor]:
    """Query loss (U,) of every task at theta_0, ..., theta_K. One forward pass gives it and the support loss of the next step.

    differentiable, first_order: as in `trajectory`.
    """
    if episode.apart is not None:
        before_of, query_of = episode.apart
        for theta in trajectory(init, before_of, episode.tasks, differentiable=differentiable, first_order=first_order):
            yield query_of(theta)
        return
    support: list[Tensor] = []
    for theta in trajectory(
        init, lambda _: support.pop(), episode.tasks, differentiable=differentiable, first_order=first_order
    ):
        before, query = episode.loss(theta)
        support.append(before)
        yield query


def step_weights(steps: int, progress: float, anneal: float) -> Tensor:
    """Weights (steps + 1,) of the query losses, summing to 1: alike at first, all on the last step from `anneal` on."""
    even = max(0.0, 1.0 - progress / anneal) if anneal > 0 else 0.0
    weights = torch.full((steps + 1,), even / (steps + 1))
    weights[-1] += 1.0 - even
    return weights


def _summed(tensors: list[Tensor], losses: Tensor, share: Shard) -> Tensor:
    """The losses summed over all processes, and every gradient too; all are sent at once."""
    if share.reduce is None:
        return losses
    grads = [torch.zeros_like(t) if t.grad is None else t.grad for t in tensors]
    flat = share.reduce(torch.cat([losses, *(g.flatten() for g in grads)]))
    parts = flat.split([len(losses), *(g.numel() for g in grads)])
    for tensor, grad in zip(tensors, parts[1:], strict=True):
        tensor.grad = grad.view_as(tensor)
    return parts[0]


def _own(tensor: Tensor, learn: bool) -> Tensor:
    return tensor.detach().clone().requires_grad_(learn)
