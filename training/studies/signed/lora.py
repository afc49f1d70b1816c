"""A small network from films to likes, whose LoRA weights and bias are a user's: its inner loop on likes and dislikes.

    log odds of a like = start + out(tanh(mid(tanh(in(x))))) + line(x) + bias_u

x describes a film: factors, effect, text, marks, and what was expected of it before (`studies.signed.lora_tasks`). All four
layers carry LoRA (Hu et al., arXiv 2106.09685). start is 0, or the log odds of somebody else's answer, of which the network
then learns what is missing. A support of ratings is read as ordered levels: level c or more has the log odds less a cut point,
which is 0 for a like (McCullagh, 1980, proportional odds). Network, cut points and the start of LoRA are learned by the outer
loop of `llmrec.meta.outer`.

Axis convention: `U` users, `n` films of each, `F` numbers of a film, `C` cut points between C + 1 levels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits as log_loss

from llmrec.adapters.lora import Adapter, init_lora, lora_hook
from llmrec.adapters.values import Shared
from llmrec.meta.outer import Episode

LAYERS = ("in", "mid", "out", "line")
TINY = 1e-6
LIKES, LEVELS = "likes", "levels"


@dataclass(frozen=True, eq=False)
class Side:
    """A support or a query, padded to n films. x: (U, n, F). start: (U, n). level: int64 (U, n). there: (U, n), 1 or 0."""

    x: Tensor
    start: Tensor
    level: Tensor
    there: Tensor


@dataclass(frozen=True)
class Taste(Shared):
    """adapter: LoRA of LAYERS. bias: (U, 1). weights: of each layer (1, d_out, d_in) and (1, d_out). gaps: (1, C - 1), log of
    the distances of cut points. pull: (1, 1), log of the number of labels that the start is worth."""

    own: ClassVar[int] = 2 * len(LAYERS) + 1
    adapter: Adapter
    bias: Tensor
    weights: tuple[Tensor, ...]
    gaps: Tensor
    pull: Tensor

    def __len__(self) -> int:
        return len(self.bias)

    def leaves(self) -> list[Tensor]:
        return [*self.adapter.leaves(), self.bias, *self.weights, self.gaps, self.pull]

    def with_leaves(self, leaves: list[Tensor]) -> Taste:
        n = 2 * len(LAYERS)
        return Taste(self.adapter.with_leaves(leaves[:n]), leaves[n], tuple(leaves[n + 1 : -2]), leaves[-2], leaves[-1])


def fresh(f: int, cuts: Tensor, hidden: int, rank: int, seed: int, b_std: float = 0.05) -> Taste:
    """A start for U = 1 that says what `start` says, but for small random numbers. cuts: (C,), of which one is 0."""
    made = torch.Generator().manual_seed(seed)
    sizes = {"in": (f, hidden), "mid": (hidden, hidden), "out": (hidden, 1), "line": (f, 1)}
    weights = []
    for name, (d_in, d_out) in sizes.items():
        weights += [torch.randn(1, d_out, d_in, generator=made) / d_in**0.5 * (name in ("in", "mid")), torch.zeros(1, d_out)]
    adapter = init_lora(sizes, rank, 1.0, made, b_std)
    return Taste(adapter, torch.zeros(1, 1), tuple(weights), cuts.diff().log()[None], torch.full((1, 1), 16.0).log())


def log_odds(taste: Taste, side: Side) -> Tensor:
    """Of a like, (U, n)."""
    hook, x = lora_hook(taste.adapter), side.x

    def layer(name: str, h: Tensor) -> Tensor:
        at = 2 * LAYERS.index(name)
        moved = hook(name, h)
        assert moved is not None
        return h @ taste.weights[at].transpose(1, 2) + taste.weights[at + 1][:, None] + moved

    told = layer("out", torch.tanh(layer("mid", torch.tanh(layer("in", x))))) + layer("line", x)
    return side.start + told[..., 0] + taste.bias


def cut_points(taste: Taste, liked: int) -> Tensor:
    """(C,), ascending; that of a like, at place `liked`, is 0."""
    steps = torch.cat([torch.zeros_like(taste.gaps[:, :1]), taste.gaps.exp()], 1).cumsum(1)[0]
    return steps - steps[liked]


def surprise(taste: Taste, side: Side, liked: int, read: str) -> Tensor:
    """-log probability (U, n) of each label, read as LEVELS or as LIKES; 0 where there is none. liked: place of the cut point
    of a like."""
    found = log_odds(taste, side)
    if read == LIKES:
        return log_loss(found, (side.level > liked).to(found), reduction="none") * side.there
    above = torch.sigmoid(found[..., None] - cut_points(taste, liked))
    above = torch.cat([torch.ones_like(above[..., :1]), above, torch.zeros_like(above[..., :1])], -1)
    place = side.level[..., None]
    likely = (above.gather(-1, place) - above.gather(-1, place + 1))[..., 0]
    return -likely.clamp(min=TINY).log() * side.there


def support_loss(side: Side, liked: int, read: str) -> Callable[[Taste], Tensor]:
    """(U,): the sum over the labels, over their number and `pull`: more labels move a user further, but not in proportion."""

    def loss(taste: Taste) -> Tensor:
        return surprise(taste, side, liked, read).sum(1) / (side.there.sum(1) + taste.pull.exp()[:, 0])

    return loss


def episode(known: Side, asked: Side, liked: int, inner: str, outer: str) -> Episode[Taste]:
    """inner, outer: how the labels of supports and of queries are read."""
    support = support_loss(known, liked, inner)

    def query(taste: Taste) -> Tensor:
        return surprise(taste, asked, liked, outer).sum(1) / asked.there.sum(1)

    return Episode(len(known.x), lambda taste: (support(taste), query(taste)), (support, query))
