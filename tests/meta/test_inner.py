from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from llmrec.meta.core import core
from llmrec.meta.inner import Initialisation, _bounded, adapt, initialisation, step, trajectory

RATES = np.array([[0.3, 0.1], [0.2, 0.4], [0.05, 0.6]])


@pytest.fixture
def init(start) -> Initialisation:
    return Initialisation(start, torch.from_numpy(RATES).log(), proximal=0.7, max_grad_norm=1.5)


@pytest.mark.parametrize("pull", [0.0, 0.7, 50.0])
@pytest.mark.parametrize("clip", [0.3, 1.5, 1e9])
def test_steps_against_the_formula(start, bowls, walk, numbers, pull, clip):
    world = bowls(4, 0)
    init = Initialisation(start, torch.from_numpy(RATES).log(), pull, clip)
    home = numbers(start)[0]
    for steps in range(4):
        found = numbers(adapt(init, world.loss, 4, steps))
        for user in range(4):
            expected = walk(home, lambda x, u=user: world.slope(u, x), RATES[:steps], pull, clip)[-1]
            np.testing.assert_allclose(found[user], expected, rtol=1e-9)


def test_a_trajectory_goes_through_every_number_of_steps_and_asks_no_loss_of_its_end(init, bowls, numbers):
    world, asked = bowls(4, 0), []

    def loss(theta):
        asked.append(numbers(theta))
        return world.loss(theta)

    path = [numbers(theta) for theta in trajectory(init, loss, 4, 5)]
    assert len(path) == 6 and len(asked) == 5
    for steps, found in enumerate(path):
        assert np.array_equal(found, numbers(adapt(init, world.loss, 4, steps)))
    assert all(np.array_equal(one, other) for one, other in zip(asked, path, strict=False))


@pytest.mark.parametrize("differentiable", [False, True])
def test_a_trajectory_reaches_back_to_the_initialisation_only_if_asked_to(init, bowls, differentiable):
    init.log_rate.requires_grad_(True)
    last = [*trajectory(init, bowls(2, 0).loss, 2, 2, differentiable=differentiable)][-1]
    total = sum(leaf.sum() for leaf in last.leaves())
    found = torch.autograd.grad(total, init.log_rate, allow_unused=True)[0]
    assert (found is not None) == differentiable


def test_all_learned_steps_when_none_are_said(init, bowls, numbers):
    world = bowls(3, 0)
    assert init.steps == 3
    assert np.array_equal(numbers(adapt(init, world.loss, 3)), numbers(adapt(init, world.loss, 3, 3)))


def test_more_steps_than_were_learned_go_on_with_the_last_rates(init, bowls, walk, numbers):
    world = bowls(1, 0)
    rates = np.concatenate([RATES, RATES[-1:], RATES[-1:]])
    expected = walk(numbers(init.adapter)[0], lambda x: world.slope(0, x), rates, init.proximal, init.max_grad_norm)[-1]
    np.testing.assert_allclose(numbers(adapt(init, world.loss, 1, 5))[0], expected, rtol=1e-9)


def test_zero_steps_is_the_initialisation(init, bowls):
    found = adapt(init, bowls(3, 0).loss, 3, 0)
    assert len(found) == 3
    for tensor, home in zip(found.leaves(), init.adapter.leaves(), strict=True):
        assert torch.equal(tensor, home.expand_as(tensor))


@pytest.mark.parametrize("learning", [False, True])
def test_the_initialisation_is_never_changed(init, bowls, learning):
    tensors = [*init.adapter.leaves(), init.log_rate]
    for tensor in tensors:
        tensor.requires_grad_(learning)
    before = [tensor.detach().numpy().tobytes() for tensor in tensors]
    for steps in (0, 1, 3):
        found = adapt(init, bowls(3, 0).loss, 3, steps)
        for leaf in found.leaves():
            assert not leaf.requires_grad
            leaf.add_(1.0)  # what comes back is its own
    assert [tensor.detach().numpy().tobytes() for tensor in tensors] == before
    assert all(tensor.grad is None for tensor in tensors)


def test_each_user_in_a_batch_is_as_if_alone(init, bowls, numbers):
    world = bowls(5, 1)
    together = numbers(adapt(init, world.loss, 5))
    for user in range(5):
        np.testing.assert_allclose(numbers(adapt(init, world.take([user]).loss, 1))[0], together[user], rtol=1e-12)
    assert np.linalg.norm(together[0] - together[1]) > 0.1


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_user_whose_loss_is_not_finite_stays_and_disturbs_nobody(init, bowls, numbers, bad):
    world = bowls(3, 0)

    def loss(adapter):
        spoilt = world.loss(adapter)
        return torch.stack([spoilt[0], spoilt[1] * bad, spoilt[2]])

    found, expected = numbers(adapt(init, loss, 3)), numbers(adapt(init, world.loss, 3))
    assert np.array_equal(found[1], numbers(init.adapter)[0])
    assert np.array_equal(found[[0, 2]], expected[[0, 2]])


def test_one_gradient_that_is_not_finite_holds_all_of_its_users_tensors(init, numbers):
    def loss(adapter):
        a, b = adapter.leaves()
        return torch.sqrt(a - a).flatten(1).sum(1) + b.flatten(1).sum(1)  # the slope of a root at zero is infinite

    assert np.array_equal(numbers(adapt(init, loss, 2)), np.repeat(numbers(init.adapter), 2, 0))


def test_a_pull_alone_goes_home(start, numbers):
    """With rate * pull = 1 and nothing to learn, one step is all the way back, wherever one stands."""
    init = initialisation(start, 1, rate=0.25, proximal=4.0)
    away = start.expand(2).map(lambda tensor: (tensor + torch.randn(2, *tensor.shape[1:])).requires_grad_())
    nothing = sum((leaf * 0).flatten(1).sum(1) for leaf in away.leaves())
    np.testing.assert_allclose(numbers(step(away, init, nothing, 0)), np.repeat(numbers(start), 2, 0), atol=1e-12)


def test_steps_go_down(init, bowls):
    world = bowls(3, 0)
    losses = [world.loss(adapt(Initialisation(init.adapter, init.log_rate), world.loss, 3, steps)) for steps in range(4)]
    assert all((after < before).all() for before, after in pairwise(losses))


def test_one_rate_for_every_layer_and_step(start):
    init = initialisation(start, 4, rate=0.2, proximal=0.1, max_grad_norm=3.0)
    assert init.steps == 4 and init.proximal == 0.1 and init.max_grad_norm == 3.0
    np.testing.assert_allclose(init.log_rate.exp().numpy(), np.full((4, 2), 0.2), rtol=1e-6)


def test_each_users_rates_may_be_multiplied(init, bowls, numbers):
    """By nothing, which holds them; by one, which changes nothing; by two, which is twice the rates."""
    world = bowls(3, 0)
    found = numbers(adapt(init, world.loss, 3, share=torch.tensor([[0.0, 1.0, 2.0]]).double().expand(3, -1)))
    assert np.array_equal(found[0], numbers(init.adapter)[0])
    assert np.array_equal(found[1], numbers(adapt(init, world.loss, 3))[1])
    faster = replace(init, log_rate=init.log_rate + np.log(2.0))
    np.testing.assert_allclose(found[2], numbers(adapt(faster, world.loss, 3))[2], rtol=1e-12)


def test_without_a_clip_the_steps_are_those_of_a_clip_too_large_to_matter(init, bowls, numbers):
    world = bowls(3, 0)
    free, wide = (numbers(adapt(replace(init, max_grad_norm=clip), world.loss, 3)) for clip in (math.inf, 1e9))
    assert np.array_equal(free, wide)


def test_what_users_share_never_moves(exact):
    """A core's features are everybody's: one user's support must not change another's."""
    start = core(torch.randn(7, 3, generator=torch.Generator().manual_seed(0)))
    found = adapt(initialisation(start, 2, 0.5), lambda theta: (theta.add() - 1).square().sum(1), 4)
    assert torch.equal(found.features, start.features) and torch.equal(found.log_spread, start.log_spread)
    assert found.z.abs().min() > 0 and len(found) == 4


def test_moving_to_a_device_keeps_all_that_was_said(init):
    ones = tuple(torch.ones_like(leaf) for leaf in init.adapter.leaves())
    made = replace(init, factor=ones, inner=(True, False), outer=(False, True)).to("cpu")
    assert made.inner == (True, False) and made.outer == (False, True) and made.proximal == init.proximal
    assert all(torch.equal(x, y) for x, y in zip(made.factor, ones, strict=True))
    assert made.moving == [0]


def test_a_gradient_that_is_short_enough_is_not_touched_and_one_that_is_not_finite_moves_nobody():
    short, long = torch.tensor([[0.3, 0.4]]), torch.tensor([[3.0, 4.0]])
    assert _bounded([short], 0.5)[0] is short
    torch.testing.assert_close(_bounded([long], 0.5)[0], torch.tensor([[0.3, 0.4]]))
    both = _bounded([torch.cat([short, torch.tensor([[math.inf, 1.0]])])], math.inf)[0]
    assert both.tolist() == [short[0].tolist(), [0.0, 0.0]]
