"""The outer loop: learn the initialisation and the rates from the query loss at every inner step.

First-order MAML (Finn et al., arXiv 1703.03400; Nichol et al., arXiv 1803.02999) with the multi-step loss and the learned rates
of MAML++ (arXiv 1810.09502). With `first_order=False` it differentiates through the inner gradients. `algorithms.py` names the
settings that give each paper's algorithm; `reptile.py` has the one that needs no gradient of the query.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Generic

import torch
from torch import Tensor

from llmrec.meta.inner import Initialisation, V, ready, step

EpisodeLoss = Callable[[V], tuple[Tensor, Tensor]]
"""Value of U tasks -> support loss (U,), query loss (U,)."""


@dataclass(frozen=True)
class Episode(Generic[V]):
    """A batch of tasks with the losses that belong to it. Support and query share no event.

    tasks: how many values are adapted side by side, U.
    loss: both losses of every task under given values.
    """

    tasks: int
    loss: EpisodeLoss[V]


@dataclass(frozen=True)
class OuterSettings:
    """How the outer loop learns.

    episodes: outer steps. rate: step size of Adam on the initialisation.
    rate_of_rates: step size of Adam on the inner rates: per number where the initialisation has a factor, otherwise per layer
        and step, in logs; 0 leaves them as they are.
    anneal: share of the episodes after which only the last step's query loss counts (it starts with all steps alike); with 0
        it counts alone from the start.
    first_order: without the second derivatives.
    """

    episodes: int = 200
    rate: float = 1e-3
    rate_of_rates: float = 5e-2
    anneal: float = 0.6
    first_order: bool = True


def meta_train(
    init: Initialisation[V],
    episodes: Iterator[Episode[V]],
    settings: OuterSettings,
    watch: Callable[[int, list[float]], None] | None = None,
) -> Initialisation[V]:
    """A learned initialisation from `settings.episodes` episodes.

    watch: told the episode's number and the mean query loss after 0, 1, ..., steps inner steps.
    """
    fast = settings.rate_of_rates > 0
    learns = init.outer or (True,) * len(init.adapter.leaves())
    leaves = [_own(leaf, learn) for leaf, learn in zip(init.adapter.leaves(), learns, strict=True)]
    factor = None if init.factor is None else tuple(_own(t, fast) for t in init.factor)
    log_rate = _own(init.log_rate, fast and factor is None)
    learned = replace(init, adapter=init.adapter.with_leaves(leaves), log_rate=log_rate, factor=factor)
    slow, rates = ([t for t in tensors if t.requires_grad] for tensors in (leaves, [log_rate, *(factor or ())]))
    optimiser = torch.optim.Adam(
        [{"params": group, "lr": lr} for group, lr in ((slow, settings.rate), (rates, settings.rate_of_rates)) if group]
    )
    decay = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda i: 1.0 - i / max(settings.episodes, 1))
    for i in range(settings.episodes):
        losses = query_losses(learned, next(episodes), settings.first_order)
        total = (step_weights(init.steps, i / settings.episodes, settings.anneal).to(losses) * losses).sum()
        optimiser.zero_grad()
        total.backward()
        norm = torch.nn.utils.clip_grad_norm_([*slow, *rates], 1.0)
        if not torch.isfinite(norm):
            optimiser.zero_grad()  # one user's overflow must not spoil what all others taught: this episode teaches nothing
        optimiser.step()
        decay.step()
        if watch is not None:
            watch(i, losses.detach().tolist())
    factor = None if factor is None else tuple(t.detach().clone() for t in factor)
    return replace(init, adapter=learned.adapter.detach(), log_rate=log_rate.detach().clone(), factor=factor)


def query_losses(init: Initialisation[V], episode: Episode[V], first_order: bool = True) -> Tensor:
    """Mean query loss (steps + 1,) of an episode after 0, 1, ..., steps inner steps; differentiable in `init`."""
    theta, found = ready(init, init.adapter.expand(episode.tasks)), []
    for k in range(init.steps + 1):
        support, query = episode.loss(theta)
        found.append(query.mean())
        if k < init.steps:
            theta = step(theta, init, support, k, first_order)
    return torch.stack(found)


def step_weights(steps: int, progress: float, anneal: float) -> Tensor:
    """Weights (steps + 1,) of the query losses, summing to 1: alike at first, all on the last step from `anneal` on."""
    even = max(0.0, 1.0 - progress / anneal) if anneal > 0 else 0.0
    weights = torch.full((steps + 1,), even / (steps + 1))
    weights[-1] += 1.0 - even
    return weights


def _own(tensor: Tensor, learn: bool) -> Tensor:
    return tensor.detach().clone().requires_grad_(learn)
