"""The outer loop: learn the initialisation and the rates from the query loss at every inner step.

First-order MAML (Finn et al., arXiv 1703.03400; Nichol et al., arXiv 1803.02999) with the multi-step loss and the learned rates
of MAML++ (arXiv 1810.09502). With `first_order=False` it differentiates through the inner gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from llmrec.adapters.lora import Adapter
from llmrec.meta.inner import Initialisation, step

EpisodeLoss = Callable[[Adapter], tuple[Tensor, Tensor]]
"""Adapter of U tasks -> support loss (U,), query loss (U,)."""


@dataclass(frozen=True)
class Episode:
    """A batch of tasks with the losses that belong to it. Support and query share no event.

    tasks: how many adapters are adapted side by side, U.
    loss: both losses of every task under given adapters.
    """

    tasks: int
    loss: EpisodeLoss


@dataclass(frozen=True)
class OuterSettings:
    """How the outer loop learns.

    episodes: outer steps. rate: step size of Adam on the initialisation; the log-rates learn `rate_of_rates` as fast.
    anneal: share of the episodes after which only the last step's query loss counts (it starts with all steps alike).
    first_order: without the second derivatives.
    """

    episodes: int = 200
    rate: float = 1e-3
    rate_of_rates: float = 5e-2
    anneal: float = 0.6
    first_order: bool = True


def meta_train(
    init: Initialisation,
    episodes: Iterator[Episode],
    settings: OuterSettings,
    watch: Callable[[int, list[float]], None] | None = None,
) -> Initialisation:
    """A learned initialisation from `settings.episodes` episodes.

    watch: told the episode's number and the mean query loss after 0, 1, ..., steps inner steps.
    """
    adapter = init.adapter.map(lambda tensor: tensor.detach().clone().requires_grad_())
    log_rate = init.log_rate.detach().clone().requires_grad_()
    learned = Initialisation(adapter, log_rate, init.pull, init.clip)
    optimiser = torch.optim.Adam(
        [{"params": adapter.leaves(), "lr": settings.rate}, {"params": [log_rate], "lr": settings.rate_of_rates}]
    )
    decay = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda i: 1.0 - i / max(settings.episodes, 1))
    for i in range(settings.episodes):
        losses = query_losses(learned, next(episodes), settings.first_order)
        total = (step_weights(init.steps, i / settings.episodes, settings.anneal).to(losses) * losses).sum()
        optimiser.zero_grad()
        total.backward()
        norm = torch.nn.utils.clip_grad_norm_([*adapter.leaves(), log_rate], 1.0)
        if not torch.isfinite(norm):
            optimiser.zero_grad()  # one user's overflow must not spoil what all others taught: this episode teaches nothing
        optimiser.step()
        decay.step()
        if watch is not None:
            watch(i, losses.detach().tolist())
    return Initialisation(adapter.detach(), log_rate.detach().clone(), init.pull, init.clip)


def query_losses(init: Initialisation, episode: Episode, first_order: bool = True) -> Tensor:
    """Mean query loss (steps + 1,) of an episode after 0, 1, ..., steps inner steps; differentiable in `init`."""
    theta, found = init.adapter.expand(episode.tasks), []
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
