"""What an episode's scores are judged by: full softmax, pairwise or pointwise, each over the whole catalogue.

Axis convention: `M` readouts, `N` items, `P` targets (several a readout). All scores are there anyway, so negatives are not
drawn: every item that is no target of the readout is one, which is what a draw would give on average. So a loss is a function
of the scores alone, a step is repeatable, and nobody's target is held against them.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import softplus

from llmrec.encoder.loss import multi_target


class Loss(Protocol):
    """What every loss here is."""

    def __call__(
        self, scores: Tensor, target: Tensor, owner: Tensor, among: Tensor | None = None, weight: Tensor | None = None
    ) -> Tensor:
        """Loss (M,) of scores (M, N); 0 for a readout without targets.

        target: int64 (P,), items; owner: int64 (P,), the readout each belongs to. among: bool (M, N), the items that are
        ranked at all, None for all; targets are among them. Hard negatives are an `among` of the targets and the candidates
        that were retrieved. weight: float32 (P,), what each target counts, None for 1 each; not made to sum to one, so that a
        step on events that count little is a small one.
        """
        ...


def softmax(scores: Tensor, target: Tensor, owner: Tensor, among: Tensor | None = None, weight: Tensor | None = None) -> Tensor:
    """Mean over a readout's targets of -log softmax."""
    return multi_target(scores if among is None else scores.masked_fill(~among, -1e9), target, owner, weight)


def pairwise(
    scores: Tensor, target: Tensor, owner: Tensor, among: Tensor | None = None, weight: Tensor | None = None
) -> Tensor:
    """Mean over a readout's targets and its negatives of -log sigmoid(target's score - negative's score).

    Rendle et al.: BPR, Bayesian personalized ranking from implicit feedback, arXiv 1205.2618.
    """
    scores = scores.float()
    others = negatives(scores, target, owner, among)[owner]
    each = softplus(scores[owner] - scores[owner, target][:, None]) * others
    return mean_by(_weighed(each.sum(1) / others.sum(1).clamp(min=1), weight), owner, len(scores))


def pointwise(
    scores: Tensor, target: Tensor, owner: Tensor, among: Tensor | None = None, weight: Tensor | None = None
) -> Tensor:
    """Binary cross-entropy: mean of -log sigmoid(score) over targets, plus mean of -log sigmoid(-score) over negatives.

    Each side counts as much as the other, as with one negative drawn for each target; the negatives' side counts what the
    readout's targets do on average.
    """
    scores = scores.float()
    others = negatives(scores, target, owner, among)
    wrong = (softplus(scores) * others).sum(1) / others.sum(1).clamp(min=1)
    right = softplus(-scores[owner, target])
    counted = mean_by(_weighed(torch.ones_like(right), weight), owner, len(scores))
    return mean_by(_weighed(right, weight), owner, len(scores)) + wrong * counted


def negatives(scores: Tensor, target: Tensor, owner: Tensor, among: Tensor | None) -> Tensor:
    """float32 (M, N): 1 for the ranked items that are no target of the readout."""
    others = torch.ones(scores.shape, device=scores.device) if among is None else among.float()
    return others.index_put((owner, target), torch.zeros((), device=scores.device))


def _weighed(values: Tensor, weight: Tensor | None) -> Tensor:
    return values if weight is None else values * weight


def mean_by(values: Tensor, group: Tensor, groups: int) -> Tensor:
    """Mean (groups,) of values by group, int64; 0 for a group without any."""
    zero = torch.zeros(groups, device=values.device, dtype=values.dtype)
    return zero.index_add(0, group, values) / zero.index_add(0, group, torch.ones_like(values)).clamp(min=1)
