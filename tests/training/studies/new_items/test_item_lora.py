"""LoRA of the item side in a planted world where texts mislead and buyers tell the truth; its steps against autograd."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from llmrec.encoder.model import Items
from studies.new_items import item_lora
from studies.new_items.item_lora import Known, Plan, alone, chosen, known, replayed, together
from studies.new_items.moving import Moving
from studies.new_items.posterior import ItemPrior
from studies.new_items.replay import Replay, ndcg

KINDS, DAYS = np.eye(2, dtype=np.float32), 60
GROUP = np.array([0, 0, 0, 1, 1, 1])  # of six young items, by their texts; the items 2 and 5 are bought at the end alone
OTHER = np.array([3, 4, 5, 0, 1, 2])  # of the other group
PLANS = (Plan(16, 4.0, False), Plan(0, 1.0, False))


@pytest.fixture(scope="module")
def world() -> tuple[Replay, Moving]:
    """A purchase a day. By its text users of kind g take the items of group g; in truth the others do."""
    rng = np.random.default_rng(0)
    kind = np.arange(DAYS) % 2
    late = np.arange(DAYS) >= DAYS - 10
    target = np.where(late, 2, rng.integers(0, 2, DAYS)) + 3 * (1 - kind)
    texts = np.concatenate([2 * KINDS[GROUP], 0.3 * np.eye(6, dtype=np.float32)], 1)  # alike in a group, and a word of its own
    items = Items(torch.from_numpy(texts[:, :2]), torch.zeros(6), torch.zeros(6))
    at, none = np.arange(DAYS), np.zeros((DAYS, 6), np.float32)
    young = np.arange(6)
    found = Replay(young, at, target, at, at * 1.0, [], none, none, none, none > 0, at >= 0)
    prior = ItemPrior(np.eye(2), 1.0, KINDS.astype(np.float64), np.zeros(2))
    return found, Moving(KINDS[kind] + rng.normal(0, 0.1, (DAYS, 2)).astype(np.float32), at, items, texts, 1.0, prior)


@pytest.mark.parametrize("plan", PLANS)
def test_zero_steps_are_the_base_to_the_bit(world, plan: Plan):
    found, base = world
    more = replayed(found, base, known(found, base), plan)
    assert len(more) == plan.steps + 1 and np.array_equal(base.scores(found) + more[0], base.scores(found))
    assert (more[1] != 0).any()


@pytest.mark.parametrize("plan", PLANS)
def test_the_right_buyers_raise_what_is_bought_and_another_item_s_do_not(world, plan: Plan):
    found, base = world
    own = np.arange(30, 50), found.target[30:50]  # when there are some buyers

    def gain(whose: np.ndarray | None) -> float:
        more = replayed(found, base, known(found, base, whose), plan)[-1]
        return float((more[own] - more[30:50].mean(1)).mean())

    assert gain(None) > 0.5 and gain(OTHER) < 0.05


def test_neighbours_share_what_is_learned(world):
    found, base = world
    late = np.array([DAYS - 10])  # the first purchase of an item without a buyer so far
    shared, single = (replayed(found, base, known(found, base), plan)[-1] for plan in PLANS)
    own = late, found.target[late]
    assert (shared[own] > shared[late].mean(1) + 0.2).all()
    assert (single[late][:, [2, 5]] == 0).all()


@pytest.mark.parametrize("plan", PLANS)
def test_purchases_of_the_day_and_later_ones_are_not_known(world, plan: Plan):
    found, base = world
    changed = found.target.copy()
    changed[40:] = 0
    before, after = (replayed(one, base, known(one, base), plan)[-1] for one in (found, replace(found, target=changed)))
    assert np.array_equal(before[:41], after[:41]) and (before[50:] != after[50:]).any()
    assert (before[:3] == 0).all() and (before[3:6] != 0).any()


def test_steps_are_those_of_autograd():
    rng = np.random.default_rng(1)
    zero, texts = rng.normal(size=(9, 4)).astype(np.float32), rng.normal(size=(4, 5)).astype(np.float32)
    support = Known(rng.normal(size=(9, 3)).astype(np.float32), np.array([0, 0, 0, 0, 1, 1, 2, 3, 3]), zero)
    support.zero[0, 1] = -np.inf  # had
    plan = Plan(2, 0.3, True, 3)
    users, target = torch.from_numpy(support.users), torch.from_numpy(support.target)
    down = np.random.default_rng(item_lora.SEED).normal(size=(2, 5)).astype(np.float32) / np.float32(2**0.5)
    free = [torch.zeros(3, 2), torch.from_numpy(down), torch.zeros(4)]
    for delta, beta in together(support, texts, plan):
        up, turned, biases = (one.detach().requires_grad_() for one in free)
        made = torch.from_numpy(texts) @ turned.T @ up.T
        np.testing.assert_allclose(delta, made.detach(), atol=1e-5)
        np.testing.assert_allclose(beta, biases.detach(), atol=1e-5)
        each = torch.nn.functional.cross_entropy(torch.from_numpy(zero) + users @ made.T + biases, target, reduction="none")
        loss = torch.stack([each[target == item].mean() for item in range(4)]).mean()
        gradients = torch.autograd.grad(loss, (up, turned, biases))
        free = [one - 0.3 * part for one, part in zip((up, turned, biases), gradients, strict=True)]


def test_an_item_alone_moves_along_its_own_gradient():
    rng = np.random.default_rng(2)
    zero, users = rng.normal(size=(3, 4)).astype(np.float32), rng.normal(size=(3, 3)).astype(np.float32)
    support = Known(users, np.array([1, 1, 2]), zero)
    delta, beta = list(alone(support, np.zeros((4, 5), np.float32), Plan(0, 0.1, True, 1)))[1]
    for item, mine in ((1, [0, 1]), (2, [2])):
        vector, bias = torch.zeros(3, requires_grad=True), torch.zeros(1, requires_grad=True)
        there = torch.nn.functional.one_hot(torch.tensor(item), 4)
        scores = torch.from_numpy(zero[mine]) + (torch.from_numpy(users[mine]) @ vector + bias)[:, None] * there
        loss = torch.nn.functional.cross_entropy(scores, torch.full((len(mine),), item))
        loss.backward()
        np.testing.assert_allclose(delta[item], -0.1 * vector.grad, atol=1e-6)
        assert beta[item] == pytest.approx(-0.1 * bias.grad.item(), abs=1e-6)
    assert (delta[[0, 3]] == 0).all()


def test_no_step_raises_the_loss(world):
    found, base = world
    support = known(found, base, OTHER)
    steps = together(support, base.texts, Plan(16, 50.0, True))
    losses = [item_lora._loss(support, delta, beta)[0] for delta, beta in steps]
    assert (np.diff(losses) <= 1e-6).all() and losses[-1] < losses[0]


def test_the_plan_with_the_highest_value_is_chosen(world):
    found, base = world
    where = np.arange(DAYS) >= 10
    grid = (Plan(16, 1e-6, False), PLANS[0])
    best = chosen(found, base, grid, where)
    more = replayed(found, base, known(found, base), best)
    zero = base.scores(found)
    assert (best.rank, best.rate) == (16, 4.0) and 1 <= best.steps <= item_lora.MOST_STEPS
    assert ndcg(found, zero + more[-1])[where].mean() > ndcg(found, zero)[where].mean()
