"""The closed-form head against numpy, one user at a time, and against the density that it is the posterior of."""

from __future__ import annotations

from dataclasses import replace
from itertools import repeat

import numpy as np
import pytest
import torch

from llmrec.meta.head import Prior, Rows, evidence, leave_one_out, posterior_mean, predict, prior, variance
from llmrec.meta.inner import initialisation
from llmrec.meta.outer import Episode, OuterSettings, meta_train

SIZES = [0, 1, 3, 7]  # rows of each user; of 5 features, so that both ways of solving have fewer and more
FEATURES = 5


def numbers(seed: int, *shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


@pytest.fixture
def believed(exact) -> Prior:
    return Prior(numbers(0, 1, FEATURES), numbers(1, 1, FEATURES) / 2, numbers(2, 1, 1) / 2)


def padded(width: int) -> Rows:
    """Users of SIZES rows among `width`; what is padded holds numbers that must not matter."""
    filled = np.arange(width)[None] < np.array(SIZES)[:, None]
    weight = np.where(filled, 0.5 + np.random.default_rng(3).random((4, width)), 0.0)
    return Rows(numbers(4, 4, width, FEATURES), numbers(5, 4, width), torch.from_numpy(weight))


def by_hand(believed: Prior, rows: Rows, user: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and covariance (D, D) of the posterior, from the normal equations in numpy."""
    n = SIZES[user]
    x, y, weight = rows.x[user, :n].numpy(), rows.y[user, :n].numpy(), rows.weight[user, :n].numpy().astype(float)
    mean, spread, noise = believed.mean[0].numpy(), believed.log_spread[0].exp().numpy(), float(believed.log_noise.exp())
    inverse = np.linalg.inv(x.T @ np.diag(weight) @ x / noise**2 + np.diag(spread**-2))
    return np.linalg.solve(np.linalg.inv(inverse), x.T @ (weight * y) / noise**2 + mean / spread**2), inverse


@pytest.mark.parametrize("width", [7, 8, 3 + FEATURES])
def test_the_posterior_against_numpy(believed, width):
    rows, at = padded(width), numbers(6, 4, 2, FEATURES)
    found, spread = posterior_mean(believed, rows), variance(believed, rows, at)
    for user in range(4):
        mean, covariance = by_hand(believed, rows, user)
        np.testing.assert_allclose(found[user], mean, rtol=1e-9)
        asked = at[user].numpy()
        np.testing.assert_allclose(spread[user], np.einsum("qd,de,qe->q", asked, covariance, asked), rtol=1e-9)
        np.testing.assert_allclose(predict(found, at)[user], asked @ mean, rtol=1e-9)


def test_both_ways_of_solving_agree(believed):
    """Three rows are fewer than five features; eight with five of them padded are more, and the same."""
    wide, at = padded(8), numbers(6, 1, 2, FEATURES)
    few = torch.tensor([0, 1, 2])
    wide = Rows(wide.x[few], wide.y[few], wide.weight[few])
    narrow = Rows(wide.x[:, :3], wide.y[:, :3], wide.weight[:, :3])
    torch.testing.assert_close(posterior_mean(believed, wide), posterior_mean(believed, narrow))
    torch.testing.assert_close(variance(believed, wide, at), variance(believed, narrow, at))


@pytest.mark.parametrize("width", [0, 2, 9])
def test_no_support_gives_the_prior(believed, width):
    at = numbers(6, 1, 2, FEATURES)
    rows = Rows(numbers(7, 3, width, FEATURES), numbers(8, 3, width), torch.zeros(3, width, dtype=torch.bool))
    assert torch.equal(posterior_mean(believed, rows), believed.mean.expand(3, -1))
    expected = (at.square() * (2 * believed.log_spread).exp()).sum(-1).expand(3, -1)
    torch.testing.assert_close(variance(believed, rows, at), expected)
    assert torch.equal(evidence(believed, rows), torch.zeros(3))


def test_a_whole_weight_counts_as_so_many_rows(believed):
    x, y = numbers(4, 1, 3, FEATURES), numbers(5, 1, 3)
    twice = Rows(x[:, [0, 0, 1, 2]], y[:, [0, 0, 1, 2]], torch.ones(1, 4))
    torch.testing.assert_close(
        posterior_mean(believed, Rows(x, y, torch.tensor([[2.0, 1.0, 1.0]]))), posterior_mean(believed, twice)
    )


def test_a_users_answer_is_the_same_alone(believed):
    rows = padded(8)
    together = posterior_mean(believed, rows)
    for user in range(4):
        alone = Rows(rows.x[user : user + 1], rows.y[user : user + 1], rows.weight[user : user + 1])
        torch.testing.assert_close(posterior_mean(believed, alone)[0], together[user])


def test_evidence_is_the_density_of_the_targets(believed):
    rows = replace(padded(8), weight=padded(8).weight > 0)
    found = evidence(believed, rows)
    for user, n in enumerate(SIZES):
        if n == 0:
            continue
        x, noise = rows.x[user, :n], (2 * believed.log_noise).exp()
        cover = x @ torch.diag((2 * believed.log_spread[0]).exp()) @ x.T + noise * torch.eye(n)
        law = torch.distributions.MultivariateNormal(x @ believed.mean[0], cover)
        torch.testing.assert_close(found[user], law.log_prob(rows.y[user, :n]))


def test_weighted_evidence_is_the_density_with_less_noise(believed):
    rows = padded(8)
    x, weight = rows.x[3, :7], rows.weight[3, :7]
    cover = x @ torch.diag((2 * believed.log_spread[0]).exp()) @ x.T + torch.diag((2 * believed.log_noise[0]).exp() / weight)
    law = torch.distributions.MultivariateNormal(x @ believed.mean[0], cover)
    torch.testing.assert_close(evidence(believed, rows)[3], law.log_prob(rows.y[3, :7]))


def test_leaving_one_out_is_leaving_it_out(believed):
    rows = padded(8)
    mean, spread = leave_one_out(believed, rows)
    for user, n in enumerate(SIZES):
        for out in range(8):
            if out >= n:
                assert mean[user, out] == 0 and spread[user, out] == 0
                continue
            weight = rows.weight[user : user + 1].clone()
            noise = (2 * believed.log_noise).exp() / weight[0, out]
            weight[0, out] = 0
            others = Rows(rows.x[user : user + 1], rows.y[user : user + 1], weight)
            at = rows.x[user, out][None, None]
            torch.testing.assert_close(mean[user, out], predict(posterior_mean(believed, others), at)[0, 0])
            torch.testing.assert_close(spread[user, out], (variance(believed, others, at) + noise)[0, 0])


@pytest.mark.parametrize("width", [3, 8])
def test_gradients_of_the_solve_against_finite_differences_twice(believed, width):
    rows = padded(8)
    rows = Rows(rows.x[1:3, :width], rows.y[1:3, :width], rows.weight[1:3, :width])

    def found(mean, log_spread, log_noise, x, y):
        return posterior_mean(Prior(mean, log_spread, log_noise), Rows(x, y, rows.weight))

    inputs = [t.clone().requires_grad_() for t in (*believed.leaves(), rows.x, rows.y)]
    assert torch.autograd.gradcheck(found, inputs)
    assert torch.autograd.gradgradcheck(found, inputs[:3] + [t.detach() for t in inputs[3:]])


def test_the_prior_can_be_learned_from_what_it_predicts(exact):
    """Weights are drawn around known means with known spreads. Learned from the queries of many users through the solve, with
    no inner steps at all, the prior comes out as good as the true one: narrow, and in place, where users are alike."""
    rng = np.random.default_rng(0)
    centre, spread, noise = np.array([1.0, -2.0, 0.0]), np.array([0.05, 1.0, 0.5]), 0.3
    truth = Prior(
        torch.from_numpy(centre)[None],
        torch.from_numpy(np.log(spread))[None],
        torch.full((1, 1), np.log(noise), dtype=torch.float64),
    )

    def draw(users: int) -> tuple[Rows, Rows]:
        weights = centre + spread * rng.normal(size=(users, 3))
        sides = []
        for _ in range(2):
            x = rng.normal(size=(users, 4, 3))
            y = np.einsum("usd,ud->us", x, weights) + noise * rng.normal(size=(users, 4))
            sides.append(Rows(torch.from_numpy(x), torch.from_numpy(y), torch.ones(users, 4)))
        return sides[0], sides[1]

    def error(theta: Prior, support: Rows, query: Rows) -> torch.Tensor:
        return (predict(posterior_mean(theta, support), query.x) - query.y).square().mean(1)

    def episode(users: int) -> Episode:
        support, query = draw(users)
        return Episode(users, lambda theta: (-evidence(theta, support), error(theta, support, query)))

    start = Prior(*(t.double() for t in prior(3).leaves()))
    episodes = (episode(256) for _ in repeat(None))
    learned = meta_train(initialisation(start, 0, 1.0), episodes, OuterSettings(episodes=150, learning_rate=0.1)).adapter
    support, query = draw(20_000)
    best, found, before = (float(error(p, support, query).mean()) for p in (truth, learned, start))
    assert best <= found < best + 0.02 * (before - best)
    assert float(learned.mean[0, 0]) == pytest.approx(centre[0], abs=0.03)  # where users are alike all hangs on the mean
    relative = (learned.log_spread - learned.log_noise).exp()[0].numpy()
    assert relative[0] < 0.5 < relative[2] < relative[1]
