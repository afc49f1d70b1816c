"""Reptile: move the initialisation towards where the users' steps lead. No gradient of the query, no second derivatives.

    init <- init + rate_i * mean over users (theta_u - init),    rate_i falls linearly to 0

Nichol, Achiam, Schulman: On first-order meta-learning algorithms, arXiv 1803.02999, algorithm 2. A task is learned as a whole:
its steps go down the mean of support and query loss. With one step it is plain training on the users' mean loss.

A trap with LoRA: where B = 0 the gradient of A is 0. With one inner step A then learns nothing from the first outer step, nor
from any later one while the users' steps of B cancel out. Start from a small B, or take two steps or more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from torch import Tensor

from llmrec.meta.inner import Initialisation, V, adapt
from llmrec.meta.outer import Episode


@dataclass(frozen=True)
class ReptileSettings:
    """episodes: outer steps. rate: share of the way to the users' mean that the first outer step goes."""

    episodes: int = 200
    rate: float = 0.5


def reptile(
    init: Initialisation[V],
    episodes: Iterator[Episode[V]],
    settings: ReptileSettings,
    watch: Callable[[int, float], None] | None = None,
) -> Initialisation[V]:
    """A learned initialisation; its rates, and the leaves that adapting does not move, stay as they are.

    watch: told the episode's number and how far the outer step went: the Euclidean norm over all numbers.
    """
    for i in range(settings.episodes):
        share = settings.rate * (1.0 - i / settings.episodes)
        moved = outer_step(init, next(episodes), share)
        if watch is not None:
            watch(i, _distance(moved.adapter.leaves(), init.adapter.leaves()))
        init = moved
    return replace(init, adapter=init.adapter.detach())


def outer_step(init: Initialisation[V], episode: Episode[V], share: float) -> Initialisation[V]:
    """`share` of the way from the initialisation to the mean of the users' adapted values."""

    def whole(theta: V) -> Tensor:
        support, query = episode.loss(theta)
        return (support + query) / 2

    adapted, leaves = adapt(init, whole, episode.tasks).leaves(), init.adapter.leaves()
    for i in init.moving:
        leaves[i] = leaves[i].detach() + share * (adapted[i].mean(0, keepdim=True) - leaves[i].detach())
    return replace(init, adapter=init.adapter.with_leaves(leaves))


def _distance(one: list[Tensor], other: list[Tensor]) -> float:
    return float(sum((x - y).square().sum() for x, y in zip(one, other, strict=True))) ** 0.5
