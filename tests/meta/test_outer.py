"""Meta-gradients against ones worked out by hand and against finite differences; and a world where adapting is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from llmrec.adapters.lora import Adapter, init_lora
from llmrec.adapters.values import Plain
from llmrec.meta import outer
from llmrec.meta.inner import Initialisation, initialisation
from llmrec.meta.outer import Episode, OuterSettings, meta_train, query_losses, step_weights

RATES = np.array([[0.3, 0.1], [0.2, 0.4], [0.05, 0.6]])
WEIGHTS = np.array([0.4, 0.3, 0.2, 0.1])


@pytest.mark.parametrize("pull", [0.0, 0.7])
@pytest.mark.parametrize("clip", [0.5, 1e9])
def test_first_order_gradients_against_ones_by_hand(start, bowls, walk, numbers, pull, clip):
    """With the inner gradients as constants, a point moves as the initialisation moves, and a rate moves all points after its
    step, each step of which then pulls back a share of the way."""
    support, query, users = bowls(3, 0), bowls(3, 1), 3
    home, size = numbers(start)[0], numbers(start).shape[1]
    value, by_home, by_rate = np.zeros(4), np.zeros(size), np.zeros((3, 2))
    of_a = np.arange(size) < start.leaves()[0].numel()
    for user in range(users):
        points = walk(home, lambda x, u=user: support.slope(u, x), RATES, pull, clip)
        for k, x in enumerate(points):
            gap = x - query.centre[user]
            value[k] += gap @ query.form[user] @ gap / 2 / users
            slope = WEIGHTS[k] * query.slope(user, x) / users
            by_home += slope
            for j in range(k):
                moved = points[j + 1] - points[j]  # by one more unit of the log of the rate, as much again
                for later in range(j + 1, k):
                    moved = moved * (1 - np.where(of_a, *RATES[later]) * pull)
                by_rate[j] += [(slope * moved)[of_a].sum(), (slope * moved)[~of_a].sum()]

    adapter = start.map(lambda tensor: tensor.requires_grad_())
    log_rate = torch.from_numpy(RATES).log().requires_grad_()
    episode = Episode(users, lambda theta: (support.loss(theta), query.loss(theta)))
    losses = query_losses(Initialisation(adapter, log_rate, pull, clip), episode)
    np.testing.assert_allclose(losses.detach().numpy(), value, rtol=1e-9)
    found = torch.autograd.grad((torch.from_numpy(WEIGHTS) * losses).sum(), [*adapter.leaves(), log_rate])
    np.testing.assert_allclose(torch.cat([g.flatten() for g in found[:2]]).numpy(), by_home, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found[2].numpy(), by_rate, rtol=1e-9, atol=1e-12)


def regression(users: int, seed: int, dtype: torch.dtype = torch.float64, points: int = 6) -> Episode:
    """Task u: y = x w_u, where w_u is 1 on average. The adapter's product B A must become w_u: a loss of the fourth degree."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, users, points, 3, generator=generator, dtype=dtype)
    y = x @ (1 + torch.randn(users, 3, 4, generator=generator, dtype=dtype))

    def loss(adapter: Adapter) -> tuple[torch.Tensor, torch.Tensor]:
        a, b = adapter.leaves()
        error = (x @ a.transpose(1, 2) @ b.transpose(1, 2) - y).square().mean((2, 3))
        return error[0], error[1]

    return Episode(users, loss)


def finite_differences(total: Callable[[list[torch.Tensor]], torch.Tensor], values: list[torch.Tensor]) -> np.ndarray:
    """Slopes of `total` with respect to each number of `values` in turn."""
    slopes = []
    for which, tensor in enumerate(values):
        for place in range(tensor.numel()):
            sides = []
            for small in (1e-5, -1e-5):
                moved = [value.clone() for value in values]
                moved[which].view(-1)[place] += small
                sides.append(float(total([value.requires_grad_() for value in moved]).detach()))
            slopes.append((sides[0] - sides[1]) / 2e-5)
    return np.array(slopes)


@pytest.mark.parametrize("clip", [0.8, 1e9])
def test_second_order_gradients_against_finite_differences(start, clip):
    episode, weights = regression(2, 0), torch.from_numpy(WEIGHTS)
    values = [*start.leaves(), torch.from_numpy(RATES).log()]

    def total(tensors: list[torch.Tensor], first_order: bool) -> torch.Tensor:
        init = Initialisation(start.with_leaves(tensors[:2]), tensors[2], proximal=0.3, max_grad_norm=clip)
        return (weights * query_losses(init, episode, first_order)).sum()

    def gradient(first_order: bool) -> torch.Tensor:
        tensors = [tensor.clone().requires_grad_() for tensor in values]
        return torch.cat([g.flatten() for g in torch.autograd.grad(total(tensors, first_order), tensors)])

    slopes = finite_differences(lambda tensors: total(tensors, True), values)
    np.testing.assert_allclose(gradient(first_order=False).numpy(), slopes, rtol=1e-5, atol=1e-7)
    assert not np.allclose(gradient(first_order=True).numpy(), slopes, rtol=1e-2)


def test_step_weights():
    for steps in range(5):
        for progress in (0.0, 0.3, 0.59, 0.6, 1.0):
            assert float(step_weights(steps, progress, 0.6).sum()) == pytest.approx(1.0)
    assert step_weights(3, 0.0, 0.6).tolist() == [0.25] * 4
    for progress, anneal in ((0.6, 0.6), (1.0, 0.6), (0.0, 0.0)):
        assert step_weights(3, progress, anneal).tolist() == [0, 0, 0, 1]
    ahead = [float(step_weights(3, progress, 0.6)[-1]) for progress in (0.0, 0.2, 0.4, 0.6)]
    assert ahead == sorted(ahead) and len(set(ahead)) == 4


def world(seed: int) -> Iterator[Episode]:
    while True:
        yield regression(16, seed, torch.float32)
        seed += 1


@pytest.fixture
def small_start(exact) -> Adapter:
    return init_lora({"layer": (3, 4)}, 3, 1.0, torch.Generator().manual_seed(0), b_std=0.1)


@pytest.mark.slow
def test_learning_to_adapt_beats_learning_to_fit(small_start):
    """Without a step only what the tasks have in common can be known of a new one, with three steps much more."""
    settings = OuterSettings(episodes=150, learning_rate=2e-2)
    begin = initialisation(small_start, 3, 0.1)
    seen: list[list[float]] = []
    learned = meta_train(begin, world(1), settings, lambda i, losses: seen.append(losses))
    shared = meta_train(initialisation(small_start, 0, 0.1), world(1), settings).adapter
    test = regression(64, 10**6, torch.float32)

    def after(init: Initialisation) -> list[float]:
        adapter = init.adapter.map(lambda tensor: tensor.clone().requires_grad_())
        return query_losses(Initialisation(adapter, init.log_rate), test).tolist()

    to_adapt, to_fit = after(learned), after(initialisation(shared, 3, 0.1))
    assert to_adapt[-1] < min(to_fit)
    assert to_adapt[-1] < min(after(begin))
    assert to_adapt == sorted(to_adapt, reverse=True)
    assert to_fit[0] < after(begin)[0]
    assert len(seen) == 150 and {len(losses) for losses in seen} == {4}


def test_same_episodes_same_initialisation(small_start):
    settings = OuterSettings(episodes=5)
    one, same, other = (meta_train(initialisation(small_start, 2, 0.1), world(seed), settings) for seed in (1, 1, 50))
    assert all(torch.equal(x, y) for x, y in zip(one.adapter.leaves(), same.adapter.leaves(), strict=True))
    assert torch.equal(one.log_rate, same.log_rate)
    assert not torch.equal(one.log_rate, other.log_rate)


def test_what_it_starts_from_stays_and_what_it_returns_is_a_value(small_start):
    begin = initialisation(small_start, 2, 0.1, proximal=0.2, max_grad_norm=3.0)
    before = [tensor.clone() for tensor in (*small_start.leaves(), begin.log_rate)]
    learned = meta_train(begin, world(1), OuterSettings(episodes=3))
    assert all(torch.equal(x, y) for x, y in zip((*small_start.leaves(), begin.log_rate), before, strict=True))
    assert (learned.proximal, learned.max_grad_norm, learned.steps) == (0.2, 3.0, 2)
    moved = (*learned.adapter.leaves(), learned.log_rate)
    assert not any(tensor.requires_grad or torch.equal(tensor, old) for tensor, old in zip(moved, before, strict=True))


@pytest.mark.parametrize("at", [0, 2])
def test_an_episode_that_is_not_finite_teaches_nothing(small_start, at):
    """With it or without it, the others teach the same."""

    def spoilt() -> Iterator[Episode]:
        for i, episode in enumerate(world(1)):
            yield Episode(16, lambda theta, e=episode: tuple(x * float("nan") for x in e.loss(theta))) if i == at else episode

    learned = meta_train(initialisation(small_start, 2, 0.1), spoilt(), OuterSettings(episodes=4))
    tensors = [*learned.adapter.leaves(), learned.log_rate]
    assert all(torch.isfinite(tensor).all() for tensor in tensors)
    assert not any(torch.equal(x, y) for x, y in zip(tensors, small_start.leaves(), strict=False))


def test_meta_training_of_second_order_follows_the_slopes_of_finite_differences(start):
    """The gradient that an episode's step of Adam is given, bounded in length; to first order it is another."""
    episode, values = regression(4, 3), [*start.leaves(), torch.from_numpy(RATES).log()]

    def total(tensors: list[torch.Tensor]) -> torch.Tensor:
        init = Initialisation(start.with_leaves(tensors[:2]), tensors[2])
        return query_losses(init, episode).mean()  # at first all steps count alike

    def given(first_order: bool) -> np.ndarray:
        settings = OuterSettings(episodes=1, first_order=first_order)
        learning = outer.init_state(Initialisation(start, values[2]), settings)
        losses = outer.train_step(learning, episode, settings)
        np.testing.assert_allclose(np.mean(losses), float(total([v.clone().requires_grad_() for v in values]).detach()))
        return torch.cat([tensor.grad.flatten() for tensor in learning.tensors]).numpy()

    slopes = finite_differences(total, values)
    expected = slopes / max(np.linalg.norm(slopes), 1.0)
    np.testing.assert_allclose(given(first_order=False), expected, rtol=1e-4, atol=1e-6)
    assert not np.allclose(given(first_order=True), expected, rtol=1e-2)


def test_losses_that_stand_apart_give_the_same_and_no_support_after_the_last_step():
    asked: list[str] = []

    def loss(name: str, scale: float):
        def of(value: Plain) -> torch.Tensor:
            asked.append(name)
            return (scale * value.tensors[0] - 1).square().sum(1)

        return of

    before, after = loss("support", 1.0), loss("query", 2.0)
    init = initialisation(Plain((torch.zeros(1, 3),)), 2, 0.1)
    whole = Episode(2, lambda value: (before(value), after(value)))
    wanted = query_losses(init, whole)
    asked.clear()
    torch.testing.assert_close(query_losses(init, replace(whole, apart=(before, after))), wanted)
    assert asked == ["query", "support", "query", "support", "query"]
