"""What an episode's scores are judged by: full softmax, pairwise or pointwise, each over the whole catalogue.

Axis convention: `M` readouts, `N` items, `P` targets (several a readout). All scores are there anyway, so negatives are not
drawn: every item that is no target of the readout is one, which is what a draw would give on average. So a loss is a function
of the scores alone, a step is repeatable, and nobody's target is held against them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import softplus

from llmrec.encoder.loss import multi_target

Loss = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]
"""scores (M, N), target (P,), owner (P,), among: bool (M, N) or None -> loss (M,); 0 for a readout without targets.

target: int64, items; owner: int64, the readout each belongs to. among: the items that are ranked at all, None for all; targets
are among them. Hard negatives are an `among` of the targets and the candidates that were retrieved.
"""


def softmax(scores: Tensor, target: Tensor, owner: Tensor, among: Tensor | None = None) -> Tensor:
    """Mean over a readout's targets of -log softmax."""
    return multi_target(scores if among is None else scores.masked_fill(~among, -1e9), target, owner)


def pairwise(scores: Tensor, target: Tensor, owner: Tensor, among: Tensor | None = None) -> Tensor:
    """Mean over a readout's targets and its negatives of -log sigmoid(target's score - negative's score).

    Rendle et al.: BPR, Bayesian personalized ranking from implicit feedback, arXiv 1205.2618.
    """
    scores = scores.float()
    others = negatives(scores, target, owner, among)[owner]
    each = softplus(scores[owner] - scores[owner, target][:, None]) * others
    return mean_by(each.sum(1) / others.sum(1).clamp(min=1), owner, len(scores))


def pointwise(scores: Tensor, target: Tensor, owner: Tensor, among: Tensor | None = None) -> Tensor:
    """Binary cross-entropy: mean of -log sigmoid(score) over targets, plus mean of -log sigmoid(-score) over negatives.

    Each side counts as much as the other, as with one negative drawn for each target.
    """
    scores = scores.float()
    others = negatives(scores, target, owner, among)
    wrong = (softplus(scores) * others).sum(1) / others.sum(1).clamp(min=1)
    asked = torch.zeros(len(scores), device=scores.device).index_fill(0, owner, 1.0)
    return mean_by(softplus(-scores[owner, target]), owner, len(scores)) + wrong * asked


def negatives(scores: Tensor, target: Tensor, owner: Tensor, among: Tensor | None) -> Tensor:
    """float32 (M, N): 1 for the ranked items that are no target of the readout."""
    others = torch.ones(scores.shape, device=scores.device) if among is None else among.float()
    return others.index_put((owner, target), torch.zeros((), device=scores.device))


def mean_by(values: Tensor, group: Tensor, groups: int) -> Tensor:
    """Mean (groups,) of values by group, int64; 0 for a group without any."""
    zero = torch.zeros(groups, device=values.device, dtype=values.dtype)
    return zero.index_add(0, group, values) / zero.index_add(0, group, torch.ones_like(values)).clamp(min=1)
