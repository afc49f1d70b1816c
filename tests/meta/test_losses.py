"""The loss against its definition, one readout at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from llmrec.encoder.loss import multi_target
from llmrec.meta.losses import mean_by, softmax

TARGETS = {0: [2], 1: [0, 5], 3: [1, 2, 3]}  # readout 2 asks for nothing


@pytest.fixture
def asked():
    scores = torch.from_numpy(np.random.default_rng(0).normal(size=(4, 6)) * 2).float()
    owner = torch.tensor([m for m, items in TARGETS.items() for _ in items])
    return scores, torch.tensor([i for items in TARGETS.values() for i in items]), owner


@pytest.mark.parametrize("narrow", [False, True])
def test_the_loss_against_its_definition(asked, narrow):
    scores, target, owner = asked
    among = torch.ones(4, 6, dtype=torch.bool)
    if narrow:
        among = torch.rand(4, 6, generator=torch.Generator().manual_seed(1)) < 0.5
        among[owner, target] = True
        among[:, 4] = True
    expected = []
    for m in range(4):
        s = scores[m].numpy()
        total = np.log(sum(np.exp(s[i]) for i in range(6) if among[m, i]))
        expected.append(np.mean([total - s[i] for i in TARGETS[m]]) if m in TARGETS else 0.0)
    np.testing.assert_allclose(softmax(scores, target, owner, among if narrow else None), expected, rtol=1e-5)


def test_the_full_softmax_is_that_of_training(asked):
    assert torch.equal(softmax(*asked), multi_target(*asked))


def test_the_slope_lowers_what_is_no_target(asked):
    scores, target, owner = asked
    slope = torch.autograd.grad(softmax(scores.requires_grad_(), target, owner).sum(), scores)[0]
    right = torch.zeros(4, 6, dtype=torch.bool)
    right[owner, target] = True
    assert (slope[[0, 1, 3]][~right[[0, 1, 3]]] > 0).all()
    assert (slope[2] == 0).all()


def test_means_of_groups():
    found = mean_by(torch.tensor([1.0, 2.0, 6.0]), torch.tensor([2, 0, 2]), 4)
    assert found.tolist() == [2.0, 0.0, 3.5, 0.0]


def test_a_target_of_weight_two_teaches_twice_and_one_of_weight_zero_nothing(asked):
    scores, target, owner = asked
    assert torch.allclose(softmax(*asked, weight=torch.ones(len(target))), softmax(*asked))
    assert torch.allclose(softmax(*asked, weight=torch.full((len(target),), 2.0)), 2 * softmax(*asked))
    weight = (owner != 1).float()
    found = softmax(*asked, weight=weight)
    slope = torch.autograd.grad(softmax(scores.requires_grad_(), target, owner, weight=weight).sum(), scores)[0]
    assert found[1] == 0 and (slope[1] == 0).all()
    assert torch.allclose(found[[0, 3]], softmax(*asked)[[0, 3]])


def test_the_heavier_of_two_targets_is_pulled_harder():
    scores = torch.zeros(1, 4, requires_grad=True)
    weight = torch.tensor([1.0, 0.25])
    slope = torch.autograd.grad(softmax(scores, torch.tensor([0, 1]), torch.tensor([0, 0]), weight=weight).sum(), scores)[0][0]
    assert slope[0] < slope[1] and slope[0] < 0 < slope[2]
