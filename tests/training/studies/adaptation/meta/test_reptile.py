"""Reptile on tasks whose optima are known: where it goes, and how far each outer step takes it, in closed form."""

from __future__ import annotations

from itertools import repeat

import numpy as np
import pytest
import torch

from llmrec.adapters.lora import Adapter, init_lora
from llmrec.meta.inner import Initialisation, adapt, initialisation
from llmrec.meta.outer import Episode
from studies.adaptation.reptile import ReptileSettings, outer_step, reptile

STEPS, RATE, OUTER = 3, 0.2, 0.6


@pytest.fixture
def init(start) -> Initialisation:
    return initialisation(start, STEPS, RATE, max_grad_norm=1e9)


def round_bowls(centre: np.ndarray, height: float) -> Episode:
    """Loss of user u: height / 2 * |x - centre_u|^2, for support and query alike."""

    def loss(adapter: Adapter) -> torch.Tensor:
        gap = torch.cat([leaf.flatten(1) for leaf in adapter.leaves()], 1) - torch.from_numpy(centre)
        return height * gap.square().sum(1) / 2

    return Episode(len(centre), lambda theta: (loss(theta), loss(theta)))


def test_towards_the_mean_optimum_by_the_share_that_is_known(init, numbers):
    """A step shrinks the gap to each optimum by 1 - rate * height, so an outer step shrinks the gap to their mean by a known
    factor; after many there is nothing left of it."""
    centre, height = np.random.default_rng(0).normal(size=(5, 14)), 0.7
    inside = 1 - (1 - RATE * height) ** STEPS
    for episodes in (1, 4, 60):
        found = reptile(init, repeat(round_bowls(centre, height)), ReptileSettings(episodes, OUTER))
        left = np.prod([1 - OUTER * (1 - i / episodes) * inside for i in range(episodes)])
        expected = centre.mean(0) + left * (numbers(init.adapter)[0] - centre.mean(0))
        np.testing.assert_allclose(numbers(found.adapter)[0], expected, rtol=1e-6, atol=1e-9)
    assert left < 1e-3


def test_uneven_bowls_rest_where_the_users_steps_cancel(init, bowls, numbers):
    """The fixed point solves sum_u (1 - (1 - rate H_u)^k) (x - c_u) = 0, a linear system."""
    world = bowls(4, 0)
    episode = Episode(4, lambda theta: (world.loss(theta), world.loss(theta)))
    pulls = [np.eye(14) - np.linalg.matrix_power(np.eye(14) - RATE * form, STEPS) for form in world.form]
    rest = np.linalg.solve(sum(pulls), sum(pull @ centre for pull, centre in zip(pulls, world.centre, strict=True)))
    there = Initialisation(init.adapter.with_leaves(split(rest)), init.log_rate, max_grad_norm=1e9)
    np.testing.assert_allclose(numbers(outer_step(there, episode, 1.0).adapter)[0], rest, rtol=1e-6)
    assert np.abs(numbers(outer_step(init, episode, 1.0).adapter)[0] - numbers(init.adapter)[0]).max() > 1e-2


def split(flat: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(flat[:6]).view(1, 2, 3), torch.from_numpy(flat[6:]).view(1, 4, 2)]


def test_one_inner_step_is_plain_training_on_the_mean_of_both_losses(start, bowls, numbers):
    support, query = bowls(4, 0), bowls(4, 1)
    episode = Episode(4, lambda theta: (support.loss(theta), query.loss(theta)))
    found = outer_step(initialisation(start, 1, RATE, max_grad_norm=1e9), episode, OUTER)
    x = numbers(start)[0]
    slope = np.mean([(support.slope(u, x) + query.slope(u, x)) / 2 for u in range(4)], 0)
    np.testing.assert_allclose(numbers(found.adapter)[0], x - OUTER * RATE * slope, rtol=1e-6)


def test_what_it_starts_from_stays(init, bowls):
    world = bowls(3, 0)
    before = [leaf.clone() for leaf in init.adapter.leaves()]
    seen: list[float] = []
    found = reptile(
        init,
        repeat(Episode(3, lambda theta: (world.loss(theta), world.loss(theta)))),
        ReptileSettings(5, 0.5),
        lambda i, far: seen.append(far),
    )
    assert all(torch.equal(x, y) for x, y in zip(init.adapter.leaves(), before, strict=True))
    assert torch.equal(found.log_rate, init.log_rate)
    assert len(seen) == 5 and seen == sorted(seen, reverse=True)


@pytest.mark.parametrize("steps", [1, 2])
def test_lora_with_b_at_zero_needs_two_steps_to_move_a(exact, steps):
    """The trap: where B = 0, one step leaves A bit-equal, for every user and so for the outer step."""
    start = init_lora({"layer": (3, 4)}, 2, 1.0, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    wanted = torch.randn(5, 4, 3, generator=generator)

    def loss(adapter: Adapter) -> torch.Tensor:
        return (adapter.b["layer"] @ adapter.a["layer"] - wanted).square().sum((1, 2))

    init = initialisation(start, steps, 0.1)
    a, b = adapt(init, loss, 5).leaves()
    assert torch.equal(a, start.a["layer"].expand_as(a)) is (steps == 1)
    after = outer_step(init, Episode(5, lambda theta: (loss(theta), loss(theta))), OUTER).adapter
    assert torch.allclose(after.a["layer"], start.a["layer"], rtol=0, atol=1e-7) is (steps == 1)
    assert b.abs().min() > 0 and after.b["layer"].abs().max() > 0
