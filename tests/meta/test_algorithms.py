"""Each published algorithm out of the one loop, against what its paper says of a problem that can be worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import repeat

import numpy as np
import pytest
import torch

from llmrec.adapters.values import Plain
from llmrec.meta.algorithms import anil, cavia, fomaml, maml, maml_pp, meta_sgd
from llmrec.meta.inner import adapt, initialisation, ready
from llmrec.meta.outer import Episode, OuterSettings, meta_train, query_losses, step_weights

STEPS, RATE = 3, 0.2
SETTINGS = OuterSettings(episodes=4, learning_rate=0.05)


@pytest.fixture
def episode(bowls) -> Episode:
    support, query = bowls(3, 0), bowls(3, 1)
    return Episode(3, lambda theta: (support.loss(theta), query.loss(theta)))


@pytest.fixture
def affine(bowls, start, numbers):
    """On quadratic losses a step is an affine map, so that the last point and its derivative by the start are matrix products:
    user -> (point, derivative), both in numpy."""
    support = bowls(3, 0)

    def run(user: int, rate: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
        x, by_start = numbers(start)[0], np.eye(14)
        for _ in range(STEPS):
            x = x - rate * support.slope(user, x)
            by_start = (np.eye(14) - np.reshape(rate, (-1, 1)) * support.form[user]) @ by_start
        return x, by_start

    return run


def outer_gradient(init, episode, first_order: bool) -> np.ndarray:
    """Of the query loss after the last step, by all numbers of the start."""
    adapter = init.adapter.map(lambda t: t.clone().requires_grad_())
    loss = query_losses(replace(init, adapter=adapter), episode, first_order)[-1]
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, adapter.leaves())]).numpy()


def learned(recipe, episode):
    init, settings = recipe
    return meta_train(init, repeat(episode), settings)


def same(one, other) -> bool:
    return all(torch.equal(x, y) for x, y in zip(one.leaves(), other.leaves(), strict=True))


def test_the_gradient_of_maml_and_of_its_first_order(start, episode, bowls, affine):
    query = bowls(3, 1)
    second, first = np.zeros(14), np.zeros(14)
    for user in range(3):
        x, by_start = affine(user, RATE)
        first += query.slope(user, x) / 3
        second += by_start.T @ query.slope(user, x) / 3
    init, settings = maml(start, STEPS, RATE, max_grad_norm=math.inf)
    np.testing.assert_allclose(outer_gradient(init, episode, settings.first_order), second, rtol=1e-6)
    init, settings = fomaml(start, STEPS, RATE, max_grad_norm=math.inf)
    np.testing.assert_allclose(outer_gradient(init, episode, settings.first_order), first, rtol=1e-6)
    assert np.abs(first - second).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", [maml, fomaml])
def test_fixed_rates_stay_and_only_the_last_step_counts(start, episode, algorithm):
    init, settings = algorithm(start, STEPS, RATE, SETTINGS)
    assert step_weights(STEPS, 0.0, settings.anneal).tolist() == [0, 0, 0, 1]
    after = learned((init, settings), episode)
    assert torch.equal(after.log_rate, init.log_rate)
    assert not same(after.adapter, start)


def test_maml_plus_plus_learns_a_rate_per_layer_and_step_and_counts_every_step(start, episode):
    init, settings = maml_pp(start, STEPS, RATE, SETTINGS)
    after = learned((init, settings), episode)
    assert settings.first_order is False
    assert step_weights(STEPS, 0.0, settings.anneal).tolist() == [0.25] * 4
    assert after.log_rate.shape == (STEPS, 2) and len(np.unique(after.log_rate.numpy())) == 2 * STEPS


def test_anil_leaves_all_but_the_head_bit_equal_and_learns_both(start, episode, bowls):
    init, settings = anil(start, STEPS, RATE, (False, True), SETTINGS)
    adapted = adapt(init, bowls(3, 0).loss, 3)
    body, head = adapted.leaves()
    assert torch.equal(body, start.leaves()[0].expand_as(body))
    assert not any(torch.equal(head[user], start.leaves()[1][0]) for user in range(3))
    after = learned((init, settings), episode).adapter
    assert not any(torch.equal(x, y) for x, y in zip(after.leaves(), start.leaves(), strict=True))


def test_anil_is_the_inner_loop_on_the_head_alone(start, bowls, numbers):
    """The body's coordinates are held, the head's walk as if there were no others: by hand."""
    support = bowls(3, 0)
    init, _ = anil(start, STEPS, RATE, (False, True), max_grad_norm=math.inf)
    found = numbers(adapt(init, support.loss, 3))
    for user in range(3):
        x = numbers(start)[0].copy()
        for _ in range(STEPS):
            x[6:] -= RATE * support.slope(user, x)[6:]
        np.testing.assert_allclose(found[user], x, rtol=1e-6)


def test_a_head_that_is_clipped_is_clipped_by_its_own_norm(start, bowls, numbers):
    support = bowls(1, 0)
    init, _ = anil(start, 1, RATE, (False, True), max_grad_norm=0.1)
    moved = numbers(adapt(init, support.loss, 1))[0] - numbers(start)[0]
    np.testing.assert_allclose(np.linalg.norm(moved), 0.1 * RATE, rtol=1e-6)


def test_meta_sgd_with_equal_rates_is_maml(start, episode, bowls):
    one, exact = maml(start, STEPS, RATE)
    other, settings = meta_sgd(start, STEPS, RATE)
    assert same(adapt(one, bowls(3, 0).loss, 3), adapt(other, bowls(3, 0).loss, 3))
    assert settings.first_order == exact.first_order
    np.testing.assert_array_equal(outer_gradient(one, episode, False), outer_gradient(other, episode, False))


def test_meta_sgd_moves_each_number_at_its_own_rate_either_way(start, bowls, numbers, affine):
    factor = np.random.default_rng(0).normal(size=14)
    init, _ = meta_sgd(start, STEPS, RATE, max_grad_norm=math.inf)
    tensors = (torch.from_numpy(factor[:6]).view(1, 2, 3), torch.from_numpy(factor[6:]).view(1, 4, 2))
    found = numbers(adapt(replace(init, factor=tensors), bowls(3, 0).loss, 3))
    for user in range(3):
        np.testing.assert_allclose(found[user], affine(user, RATE * factor)[0], rtol=1e-6)


def test_meta_sgd_learns_a_rate_per_number_and_no_other(start, episode):
    init, settings = meta_sgd(start, STEPS, RATE, SETTINGS)
    after = learned((init, settings), episode)
    assert torch.equal(after.log_rate, init.log_rate)
    assert not any((x == y).any() for x, y in zip(after.factor, init.factor, strict=True))
    assert all(torch.equal(t, torch.ones_like(t)) for t in init.factor)  # what it was made from stays
    assert not any(t.requires_grad for t in after.factor)


def test_the_rates_of_meta_sgd_against_finite_differences(start, episode):
    init, _ = meta_sgd(start, 2, RATE, max_grad_norm=math.inf)
    factor = torch.linspace(0.5, 1.5, 14, dtype=torch.float64)

    def loss(flat: torch.Tensor) -> torch.Tensor:
        return query_losses(replace(init, factor=(flat[:6].view(1, 2, 3), flat[6:].view(1, 4, 2))), episode, False)[-1]

    assert torch.autograd.gradcheck(loss, factor.requires_grad_())


def test_cavia_adapts_the_context_and_learns_the_rest(start, episode, bowls):
    init, settings = cavia(start, STEPS, RATE, (True, False), SETTINGS)
    context, shared = adapt(init, bowls(3, 0).loss, 3).leaves()
    assert torch.equal(shared, start.leaves()[1].expand_as(shared))
    assert not torch.equal(context, start.leaves()[0].expand_as(context))
    after = learned((init, settings), episode).adapter.leaves()
    assert torch.equal(after[0], start.leaves()[0])
    assert not torch.equal(after[1], start.leaves()[1])


@pytest.mark.parametrize("algorithm", [maml, fomaml, maml_pp, meta_sgd])
def test_any_value_will_do(algorithm):
    """Users' optima spread around 1. The best start is their mean; a step of rate r leaves (1 - 2 r)^2 of the loss, and a
    learned rate leaves less of it than a fixed one."""
    rng = torch.Generator().manual_seed(0)

    def draw(users: int) -> Episode:
        centre = 1 + torch.randn(users, 5, generator=rng)
        return Episode(users, lambda theta: 2 * ((theta.tensors[0] - centre).square().sum(1),))

    settings = OuterSettings(episodes=200, learning_rate=0.05)
    init, settings = algorithm(Plain((torch.zeros(1, 5),)), 1, 0.1, settings, max_grad_norm=math.inf)
    after = meta_train(init, (draw(64) for _ in range(200)), settings)
    np.testing.assert_allclose(after.adapter.tensors[0], 1.0, atol=0.1)
    before, stepped = query_losses(after, draw(4096)).tolist()
    fixed = (1 - 2 * 0.1) ** 2
    assert stepped < 0.9 * fixed * before if algorithm in (maml_pp, meta_sgd) else stepped == pytest.approx(fixed * before)


def test_leaves_that_need_no_gradient_can_be_walked_from(start):
    theta = ready(initialisation(start, 1, RATE), start.expand(2))
    assert all(leaf.requires_grad for leaf in theta.leaves())
    assert not any(leaf.requires_grad for leaf in start.leaves())
