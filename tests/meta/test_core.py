"""A core of few numbers: its closed forms against numpy and scipy, the same minimum by gradient steps; tastes that differ."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import logsumexp

from llmrec.meta import core as cores
from llmrec.meta.algorithms import cavia
from llmrec.meta.core import (
    CONTEXT,
    Choices,
    Core,
    Evidence,
    choice_episode,
    choice_loss,
    choice_posterior,
    core,
    newton,
    random_core,
)
from llmrec.meta.inner import adapt, initialisation
from llmrec.meta.outer import OuterSettings, meta_train

N, D, USERS = 7, 3, 3


@pytest.fixture
def start(exact) -> Core:
    features = torch.from_numpy(np.random.default_rng(0).normal(size=(N, D)))
    return replace(core(features), log_spread=torch.tensor([[0.3, -0.5, 0.1]], dtype=torch.float64))


@pytest.fixture
def choices() -> Choices:
    """User 0 made two choices, the second of two items at once; user 1 three; user 2 none."""
    base = torch.from_numpy(np.random.default_rng(1).normal(size=(5, N)))
    return Choices(base, torch.tensor([0, 1, 1, 0, 1]), torch.tensor([2, 2, 5, 0, 3, 6]), torch.tensor([0, 1, 2, 3, 3, 4]))


def cost(start: Core, choices: Choices, user: int, z: np.ndarray) -> float:
    """By hand: the negative log of prior times softmax."""
    reach = start.features[0].numpy() * start.log_spread.exp()[0].numpy()
    total = z @ z / 2
    for m in np.flatnonzero(choices.user.numpy() == user):
        scores = choices.base[m].numpy() + reach @ z
        taken = choices.target.numpy()[choices.owner.numpy() == m]
        total += logsumexp(scores) - scores[taken].mean()
    return float(total)


def test_loss_against_one_user_at_a_time(start, choices):
    z = torch.from_numpy(np.random.default_rng(2).normal(size=(USERS, D)))
    found = choice_loss(replace(start, z=z), choices)
    for user, count in enumerate((2, 3, 1)):
        assert float(found[user]) == pytest.approx(cost(start, choices, user, z[user].numpy()) / count)


def test_newton_finds_the_minimum_and_so_do_gradient_steps(start, choices):
    newton = choice_posterior(start, choices, USERS, steps=8).z
    init, _ = cavia(start, 400, 0.5, CONTEXT, max_grad_norm=math.inf)
    walked = adapt(init, lambda theta: choice_loss(theta, choices), USERS)
    for user in range(USERS):
        best = minimize(lambda z, u=user: cost(start, choices, u, z), np.zeros(D), tol=1e-12).x
        np.testing.assert_allclose(newton[user], best, atol=1e-5)
        np.testing.assert_allclose(walked.z[user], best, atol=1e-5)
    assert newton[:2].norm(dim=1).min() > 0.1
    assert torch.equal(walked.features, start.features)


def test_one_newton_step_by_hand(start, choices):
    """Slope and curvature of the cost by finite differences, then the step."""
    small, eye = 1e-4, np.eye(D)
    found = choice_posterior(start, choices, USERS).z
    for user in range(USERS):
        f = lambda z, u=user: cost(start, choices, u, z)  # noqa: E731
        slope = np.array([(f(small * e) - f(-small * e)) / (2 * small) for e in eye])
        curve = np.array(
            [[(f(small * (e + g)) - f(small * (e - g)) - f(small * (g - e)) + f(-small * (e + g))) for g in eye] for e in eye]
        ) / (4 * small**2)
        np.testing.assert_allclose(found[user], -np.linalg.solve(curve, slope), atol=1e-5)


def test_no_step_from_a_peaked_softmax_costs_more_than_none(exact, monkeypatch):
    """Whole steps of Newton's run away here: the base is sure, and a thousand choices say otherwise."""
    rng = np.random.default_rng(0)
    features, base = torch.from_numpy(rng.normal(size=(300, 8))), torch.from_numpy(rng.normal(size=(1, 300)) * 8)
    chance = torch.softmax(features @ torch.from_numpy(rng.normal(size=8)), 0)
    taken = torch.from_numpy(rng.choice(300, 1000, p=chance.numpy()))
    evidence = Evidence(base, torch.zeros(1, dtype=torch.int64), features[taken].sum(0)[None], torch.tensor([1000.0]).double())

    def cost(z: torch.Tensor) -> float:
        return float(z @ z / 2 + 1000 * torch.logsumexp(base[0] + features @ z, 0) - (features[taken] @ z).sum())

    def costs() -> list[float]:
        return [cost(step.z[0]) for step in newton(core(features), evidence, 1, 8)]

    found = costs()
    assert all(after <= before + 1e-2 for before, after in pairwise(found)) and found[-1] < 0.9 * found[0]
    monkeypatch.setattr(cores, "_share", lambda core, *_: torch.ones(len(core), dtype=torch.float64))
    assert max(costs()) > found[0]


@pytest.mark.parametrize("block", [1, 2, 3, 32])
def test_second_moments_by_blocks_are_those_of_numpy(monkeypatch, exact, block):
    monkeypatch.setattr(cores, "BLOCK", block)
    rng = np.random.default_rng(3)
    weight, reach = rng.random((4, N)), rng.normal(size=(N, 5))
    found = cores.second_moment(torch.from_numpy(weight), torch.from_numpy(reach))
    np.testing.assert_allclose(found, np.einsum("un,ni,nj->uij", weight, reach, reach), atol=1e-12)


def test_no_support_is_the_prior_and_more_support_says_more(start, choices):
    found = choice_posterior(start, choices, USERS, steps=5).z
    assert torch.equal(found[2], torch.zeros(D))
    walked = adapt(initialisation(start, 1, 0.1), lambda theta: choice_loss(theta, choices), USERS)
    assert torch.equal(walked.z[2], torch.zeros(D))
    once = Choices(torch.zeros(1, N), torch.zeros(1, dtype=torch.int64), torch.tensor([2]), torch.tensor([0]))
    sizes = []
    for times in (1, 2, 4, 8):  # the same choice, so often
        zeros = torch.zeros(times, dtype=torch.int64)
        often = Choices(once.base.double().expand(times, -1), zeros, zeros + 2, torch.arange(times))
        sizes.append(float(choice_posterior(start, often, 1, steps=20).z.norm()))
    assert sizes == sorted(sizes) and len(set(sizes)) == 4


def test_a_narrow_prior_keeps_everybody_at_the_base(start, choices):
    narrow = replace(start, log_spread=torch.full((1, D), -12.0, dtype=torch.float64))
    assert choice_posterior(narrow, choices, USERS, steps=3).add().abs().max() < 1e-8


def test_the_closed_form_is_differentiable_in_all_that_is_shared(start, choices):
    def taste(features, log_spread, base):
        theta = Core(start.z, features, log_spread)
        return choice_posterior(theta, replace(choices, base=base), USERS, steps=2).add()

    inputs = [t.clone().requires_grad_() for t in (start.features, start.log_spread, choices.base)]
    assert torch.autograd.gradcheck(taste, inputs)


def taste_world(rng: np.random.Generator, users: int, known: int, structure: bool) -> tuple[Choices, Choices]:
    """Items 0 to 3 against 4 to 7: each user keeps to one side if there is structure, or takes any item at any time."""
    side = rng.integers(0, 2, users)
    parts = []
    for count in (known, 2):
        user = np.repeat(np.arange(users), count)
        taken = rng.integers(0, 4, len(user)) + 4 * (side[user] if structure else rng.integers(0, 2, len(user)))
        tensors = (torch.from_numpy(part) for part in (user, taken, np.arange(len(user))))
        parts.append(Choices(torch.zeros(len(user), 8), *tensors))
    return parts[0], parts[1]


@pytest.mark.parametrize("closed", [True, False])
def test_planted_tastes_flip_the_ranking(exact, closed):
    """The base has one answer for all. Learned features tell the sides apart, so that whatever a user took first, all of that
    side comes before all of the other, and from the same start the other user's ranking is the other way round."""
    rng = np.random.default_rng(0)
    start = random_core(8, 4, torch.Generator().manual_seed(0))

    def episodes():
        while True:
            support, query = taste_world(rng, 64, 2, structure=True)
            yield choice_episode(support, query, 64, 1 if closed else None)

    init, settings = cavia(
        start, 0 if closed else 3, 0.5, CONTEXT, OuterSettings(episodes=120, learning_rate=0.05), max_grad_norm=math.inf
    )
    learned = meta_train(init, episodes(), settings)
    item = torch.arange(8)
    support = Choices(torch.zeros(8, 8), item, item, item)
    if closed:
        found = choice_posterior(learned.adapter, support, 8).add()
    else:
        found = adapt(learned, lambda theta: choice_loss(theta, support), 8).add()
    assert (learned.adapter.expand(8).add() == 0).all()
    for user in range(8):
        ranked = found[user].argsort(descending=True)
        assert set((ranked[:4] // 4).tolist()) == {user // 4}


def test_without_structure_nothing_is_gained(exact):
    """Choices at random: what is learned to be made of two of them is next to nothing, and no better than zero steps."""
    rng = np.random.default_rng(0)
    start = random_core(8, 4, torch.Generator().manual_seed(0))
    episodes = (choice_episode(*taste_world(rng, 64, 2, structure=False), 64, 1) for _ in range(120))
    init, settings = cavia(start, 0, 0.5, CONTEXT, OuterSettings(episodes=120, learning_rate=0.05))
    learned = meta_train(init, episodes, settings).adapter
    support, query = taste_world(rng, 4000, 2, structure=False)
    lost = [float(choice_episode(support, query, 4000, steps).loss(learned.expand(4000))[1].mean()) for steps in (0, 1)]
    assert lost[0] == pytest.approx(math.log(8))
    assert lost[1] > lost[0] - 1e-3
    assert choice_posterior(learned, support, 4000).add().square().mean() < 0.1 * (
        choice_posterior(start, support, 4000).add().square().mean()
    )
