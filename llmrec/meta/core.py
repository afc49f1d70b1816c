"""The core: 16 to 64 numbers per user on shared features, under a Gaussian prior.

    scores_u = base_u + sum_d spread_d * z_ud * feature_d,        z_u ~ N(0, 1)

The user adapts z alone, as the context of Zintgraf et al. (CAVIA, arXiv 1810.03642); features and spreads are what the outer
loop learns (`algorithms.cavia`). With few events the prior is most of what is known, so z shrinks by itself, and unlike LoRA's
B = 0 a start at z = 0 hides nothing from the first gradient. z goes by gradient steps (`choice_loss` in the inner loop), or in
closed form by Newton's step (Laplace's approximation; the loss is convex in z). Ratings have an exact form: `llmrec.signed`.

Axis convention: `U` users, `N` items, `D` numbers of a user, `M` readouts of several users, `P` targets.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from llmrec.adapters.values import Shared
from llmrec.meta.losses import Loss, softmax
from llmrec.meta.outer import Episode

BLOCK = 32  # numbers of a core that are multiplied with the others side by side
HALVINGS = 6
CELLS = 30_000_000  # users x numbers x items that are held side by side
CONTEXT = (True, False, False)
"""Which of a core's leaves are the user's, for `algorithms.cavia`."""


@dataclass(frozen=True)
class Core(Shared):
    """Cores of U users and what they share.

    z: (U, D), in units of the prior's spread: 0 is the base. features: (1, N, D). log_spread: (1, D).
    """

    own: ClassVar[int] = 1

    z: Tensor
    features: Tensor
    log_spread: Tensor

    def __len__(self) -> int:
        return len(self.z)

    def leaves(self) -> list[Tensor]:
        return [self.z, self.features, self.log_spread]

    def with_leaves(self, leaves: list[Tensor]) -> Core:
        return Core(*leaves)

    @property
    def reach(self) -> Tensor:
        """(N, D): what one unit of z adds to each item's score."""
        return self.features[0] * self.log_spread.exp()

    def add(self) -> Tensor:
        """(U, N): what each user's core adds to the scores of all items."""
        return self.z @ self.reach.T


@dataclass(frozen=True)
class Choices:
    """What U users took, out of all items.

    base: (M, N), scores of each readout before any core. user: int64 (M,), whose readout it is.
    target: int64 (P,), items taken; owner: int64 (P,), the readout each belongs to. Every readout has a target.
    """

    base: Tensor
    user: Tensor
    target: Tensor
    owner: Tensor


@dataclass(frozen=True)
class Evidence:
    """What U users took, summed up: all that the closed form needs.

    base: (M, N), scores of each readout before any core; of an item that was not on offer far below all others.
    user: int64 (M,), whose readout it is. taken: (M, D), features of what was taken, each times how much it counts, summed.
    count: (M,), the sum of what they count.
    """

    base: Tensor
    user: Tensor
    taken: Tensor
    count: Tensor


def core(features: Tensor, spread: float = 1.0) -> Core:
    """The start of U = 1: z = 0, which is the base, on features (N, D)."""
    size = features.shape[1]
    return Core(features.new_zeros(1, size), features[None], features.new_full((1, size), math.log(spread)))


def random_core(items: int, size: int, generator: torch.Generator, spread: float = 1.0) -> Core:
    """A start on random features, each of unit length over the `size` numbers on average."""
    return core(torch.randn(items, size, generator=generator) / size**0.5, spread)


def choice_loss(core: Core, choices: Choices, loss: Loss = softmax) -> Tensor:
    """(U,): what z costs each user, a readout: the choices' loss and the prior's z^2 / 2, divided by the readouts (at least 1).

    Its minimum is the most likely z; a user without choices has it at 0, the prior's.
    """
    each = loss(choices.base + core.add()[choices.user], choices.target, choices.owner, None).to(core.z.dtype)
    total = (core.z.square().sum(1) / 2).index_add(0, choices.user, each)
    return total / _count(choices, core).clamp(min=1)


def choice_posterior(core: Core, choices: Choices, users: int, steps: int = 1) -> Core:
    """Cores of `users` after Newton's steps from where `core` is on the full softmax and the prior; differentiable in all."""
    one = torch.ones(len(choices.user), dtype=core.z.dtype, device=core.z.device)
    evidence = Evidence(choices.base, choices.user, _mean_target(choices, core.features[0]), one)
    *_, last = newton(core, evidence, users, steps)
    return last


def newton(core: Core, evidence: Evidence, users: int, steps: int) -> Iterator[Core]:
    """Cores of `users` after 0, 1, ..., steps of Newton's steps from where `core` is; differentiable in all.

    One step is the closed form; more go on to the most likely z. From a peaked softmax and with much evidence a whole step
    overshoots: a user's step is halved until it costs less than none, up to HALVINGS times, and left out if it never does.
    """
    core = core.expand(users)
    reach, spread, zero = core.reach, core.log_spread.exp(), torch.zeros_like(core.z)
    count, hit = evidence.count[:, None], evidence.taken * spread
    yield core
    for _ in range(steps):
        scores = _scores(core.z, reach, evidence)
        share = torch.softmax(scores, 1)
        mean = share @ reach
        slope = core.z - zero.index_add(0, evidence.user, hit - count * mean)
        taken = torch.zeros(users, len(reach), dtype=zero.dtype, device=zero.device).index_add(0, evidence.user, count * share)
        outer = (count * mean)[:, :, None] * mean[:, None]
        curve = second_moment(taken, reach).index_add(0, evidence.user, outer, alpha=-1)
        curve = curve + torch.eye(reach.shape[1], dtype=zero.dtype, device=zero.device)
        step = torch.linalg.solve(curve, slope)
        core = replace(core, z=core.z - _share(core.z, scores, step, reach, hit, evidence)[:, None] * step)
        yield core


def _share(z: Tensor, scores: Tensor, step: Tensor, reach: Tensor, hit: Tensor, evidence: Evidence) -> Tensor:
    """(U,): how much of its step each user takes, 1, 1/2, 1/4, ... or 0, so that it does not cost more than before.

    scores: (M, N), see `_scores`, at z. hit: (M, D), as `Evidence.taken`, by what one unit of z adds to the scores of the
    items.
    """
    with torch.no_grad():
        before = _cost(z, scores, hit, evidence)
        most = before + 1e-5 * (1 + before.abs())  # a step at the minimum may cost more by rounding
        share = torch.ones_like(before)
        for _ in range(HALVINGS + 1):
            there = z - share[:, None] * step
            worse = ~(_cost(there, _scores(there, reach, evidence), hit, evidence) <= most)
            if not worse.any():
                return share
            share = torch.where(worse, share / 2, share)
        return torch.where(worse, 0.0, share)


def _cost(z: Tensor, scores: Tensor, hit: Tensor, evidence: Evidence) -> Tensor:
    """(U,): minus the log of prior and choices, but for a constant."""
    each = evidence.count * torch.logsumexp(scores, 1) - (hit * z[evidence.user]).sum(1)
    return (z.square().sum(1) / 2).index_add(0, evidence.user, each)


def _scores(z: Tensor, reach: Tensor, evidence: Evidence) -> Tensor:
    """(M, N): scores of each readout with the user's core."""
    return evidence.base + (z @ reach.T)[evidence.user]


def second_moment(weight: Tensor, reach: Tensor) -> Tensor:
    """(U, D, D): sum over items of weight (U, N) times the outer product of the item's reach (N, D) with itself.

    By blocks of rows, each from the diagonal on, and mirrored: up to half of the products are saved, and of the (U, D, N) that
    lies between there is only a block of some users at a time. This is most of what a step of Newton's costs.
    """
    some = max(1, CELLS // (len(reach) * min(BLOCK, reach.shape[1])))
    found = []
    for users in weight.split(some):
        rows = []
        for first in range(0, reach.shape[1], BLOCK):
            part = (users[:, None] * reach[:, first : first + BLOCK].T) @ reach[:, first:]
            rows.append(pad(part, (first, 0)))
        found.append(torch.cat(rows, 1))
    upper = torch.cat(found)
    return upper.triu() + upper.triu(1).mT


def choice_episode(
    support: Choices, query: Choices, users: int, steps: int | None = None, loss: Loss = softmax
) -> Episode[Core]:
    """An episode of U users; those of `query` without the prior's cost, for it is what z is for.

    steps: None for the inner loop to go down `choice_loss`; otherwise the query is met after so many of Newton's: then the
        initialisation has no inner steps.
    """

    def both(theta: Core) -> tuple[Tensor, Tensor]:
        adapted = theta if steps is None else choice_posterior(theta, support, users, steps)
        each = loss(query.base + adapted.add()[query.user], query.target, query.owner, None)
        total = torch.zeros(users, dtype=each.dtype, device=each.device).index_add(0, query.user, each)
        return choice_loss(theta.expand(users), support, loss), total / _count(query, theta.expand(users)).clamp(min=1)

    return Episode(users, both)


def _count(choices: Choices, core: Core) -> Tensor:
    return torch.bincount(choices.user, minlength=len(core)).to(core.z.dtype)


def _mean_target(choices: Choices, reach: Tensor) -> Tensor:
    """(M, D): mean over each readout's targets of their reach."""
    count = torch.bincount(choices.owner, minlength=len(choices.user)).to(reach.dtype).clamp(min=1)
    total = torch.zeros(len(choices.user), reach.shape[1], dtype=reach.dtype, device=reach.device)
    return total.index_add(0, choices.owner, reach[choices.target]) / count[:, None]
