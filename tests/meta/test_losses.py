from __future__ import annotations

import numpy as np
import pytest
import torch

from llmrec.encoder.loss import multi_target
from llmrec.meta.losses import mean_by, pairwise, pointwise, softmax

TARGETS = {0: [2], 1: [0, 5], 3: [1, 2, 3]}  # readout 2 asks for nothing


@pytest.fixture
def asked():
    scores = torch.from_numpy(np.random.default_rng(0).normal(size=(4, 6)) * 2).float()
    owner = torch.tensor([m for m, items in TARGETS.items() for _ in items])
    return scores, torch.tensor([i for items in TARGETS.values() for i in items]), owner


def ranked(m: int, among) -> list[int]:
    return [i for i in range(6) if among is None or among[m, i]]


def slow(kind: str, scores: np.ndarray, among) -> list[float]:
    def sigmoid(x: float) -> float:
        return 1 / (1 + np.exp(-x))

    found = []
    for m in range(4):
        right = TARGETS.get(m, [])
        wrong = [i for i in ranked(m, among) if i not in right]
        s = scores[m]
        if not right:
            found.append(0.0)
        elif kind == "softmax":
            total = np.log(sum(np.exp(s[i]) for i in ranked(m, among)))
            found.append(np.mean([total - s[i] for i in right]))
        elif kind == "pairwise":
            found.append(np.mean([-np.log(sigmoid(s[i] - s[j])) for i in right for j in wrong]))
        else:
            found.append(np.mean([-np.log(sigmoid(s[i])) for i in right]) + np.mean([-np.log(sigmoid(-s[j])) for j in wrong]))
    return found


@pytest.mark.parametrize("loss", [softmax, pairwise, pointwise])
@pytest.mark.parametrize("narrow", [False, True])
def test_losses_against_one_pair_at_a_time(asked, loss, narrow):
    scores, target, owner = asked
    among = None
    if narrow:
        among = torch.rand(4, 6, generator=torch.Generator().manual_seed(1)) < 0.5
        among[owner, target] = True
        among[:, 4] = True
    found = loss(scores, target, owner, among)
    np.testing.assert_allclose(found, slow(loss.__name__, scores.numpy(), among), rtol=1e-5)


def test_the_full_softmax_is_that_of_training(asked):
    assert torch.equal(softmax(*asked), multi_target(*asked))


@pytest.mark.parametrize("loss", [softmax, pairwise, pointwise])
def test_the_slope_lifts_targets_and_lowers_the_others(asked, loss):
    scores, target, owner = asked
    slope = torch.autograd.grad(loss(scores.requires_grad_(), target, owner).sum(), scores)[0]
    right = torch.zeros(4, 6, dtype=torch.bool)
    right[owner, target] = True
    assert (slope[[0, 1, 3]][~right[[0, 1, 3]]] > 0).all()
    assert (slope[2] == 0).all()
    if loss is not softmax:  # there a target that already has more than its share comes down
        assert (slope[right] < 0).all()


@pytest.mark.parametrize("loss", [pairwise, pointwise])
def test_a_readout_whose_targets_are_all_there_is_has_no_pair_to_lose(loss):
    scores = torch.tensor([[30.0, 30.0]])
    found = loss(scores, torch.tensor([0, 1]), torch.tensor([0, 0]))
    assert float(found) == pytest.approx(0.0, abs=1e-6)


def test_means_of_groups():
    found = mean_by(torch.tensor([1.0, 2.0, 6.0]), torch.tensor([2, 0, 2]), 4)
    assert found.tolist() == [2.0, 0.0, 3.5, 0.0]


@pytest.mark.parametrize("loss", [softmax, pairwise, pointwise])
def test_a_target_that_counts_twice_teaches_twice_and_one_that_counts_nothing_nothing(asked, loss):
    scores, target, owner = asked
    assert torch.allclose(loss(*asked, weight=torch.ones(len(target))), loss(*asked))
    assert torch.allclose(loss(*asked, weight=torch.full((len(target),), 2.0)), 2 * loss(*asked))
    weight = (owner != 1).float()
    found = loss(*asked, weight=weight)
    slope = torch.autograd.grad(loss(scores.requires_grad_(), target, owner, weight=weight).sum(), scores)[0]
    assert found[1] == 0 and (slope[1] == 0).all()
    assert torch.allclose(found[[0, 3]], loss(*asked)[[0, 3]])


@pytest.mark.parametrize("loss", [softmax, pairwise, pointwise])
def test_the_heavier_of_two_targets_is_pulled_harder(loss):
    scores = torch.zeros(1, 4, requires_grad=True)
    weight = torch.tensor([1.0, 0.25])
    slope = torch.autograd.grad(loss(scores, torch.tensor([0, 1]), torch.tensor([0, 0]), weight=weight).sum(), scores)[0][0]
    assert slope[0] < slope[1] and slope[0] < 0 < slope[2]
