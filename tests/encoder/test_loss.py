from __future__ import annotations

import torch
from torch.nn.functional import cross_entropy

from llmrec.encoder.loss import multi_target

LOGITS = torch.randn(4, 6, generator=torch.Generator().manual_seed(0)) * 5
TARGETS = [[2], [0, 3, 5], [], [1, 4]]
TARGET = torch.tensor([item for items in TARGETS for item in items])
OWNER = torch.tensor([m for m, items in enumerate(TARGETS) for _ in items])


def test_it_is_the_mean_cross_entropy_of_each_readouts_targets():
    found = multi_target(LOGITS, TARGET, OWNER)
    for m, items in enumerate(TARGETS):
        each = [cross_entropy(LOGITS[m : m + 1], torch.tensor([item])) for item in items]
        torch.testing.assert_close(found[m], sum(each) / len(each) if each else torch.tensor(0.0))


def test_a_readout_without_targets_is_zero_and_has_no_gradient():
    logits = LOGITS.clone().requires_grad_()
    found = multi_target(logits, TARGET, OWNER)
    assert found[2] == 0
    (gradient,) = torch.autograd.grad(found.sum(), logits)
    assert (gradient[2] == 0).all() and (gradient[[0, 1, 3]] != 0).all()


def test_a_target_counts_what_its_weight_says_and_nothing_makes_up_for_the_rest():
    weight = torch.tensor([0.5, 1.0, 0.0, 2.0, 3.0, 0.25])
    found = multi_target(LOGITS, TARGET, OWNER, weight)
    each = cross_entropy(LOGITS[OWNER], TARGET, reduction="none") * weight
    torch.testing.assert_close(found, torch.stack([each[0], each[1:4].sum() / 3, torch.tensor(0.0), each[4:].sum() / 2]))
    torch.testing.assert_close(multi_target(LOGITS, TARGET, OWNER, torch.ones(6)), multi_target(LOGITS, TARGET, OWNER))


def test_no_readouts_and_no_targets():
    none = torch.zeros(0, dtype=torch.int64)
    assert multi_target(LOGITS, none, none).tolist() == [0, 0, 0, 0]
    assert multi_target(LOGITS[:0], none, none).shape == (0,)


def test_the_softmax_is_float32_whatever_comes():
    rounded = LOGITS.bfloat16()
    assert torch.equal(multi_target(rounded, TARGET, OWNER), multi_target(rounded.float(), TARGET, OWNER))


def test_large_logits_are_finite():
    found = multi_target(torch.tensor([[3e4, -3e4]]), torch.tensor([1]), torch.tensor([0]))
    assert found.tolist() == [6e4]
