"""Multiplications as they are counted, against counts by hand, and steps of training that cost as much."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.protocol import Benchmark, first_known
from llmrec import TrainSettings
from studies.adaptation import arms, compute, cores
from studies.adaptation.arms import Effort
from studies.adaptation.base import trained_on
from studies.adaptation.cores import Place
from studies.adaptation.regimes import Long, long_bank


def test_a_product_and_its_gradients():
    left, right = torch.randn(3, 5), torch.randn(5, 7, requires_grad=True)
    made, count = compute.multiplied(lambda: left @ right)
    assert made.shape == (3, 7) and count == 3 * 5 * 7
    assert compute.multiplied(lambda: (left @ right).sum().backward())[1] == 2 * 3 * 5 * 7  # the left one needs none


@pytest.fixture
def ground(world, base_of):
    data = world(True)
    shape = {"known": (6, 6), "horizon": 10, "max_slots": 12, "from_start": 1.0}
    plan = TrainSettings(max_steps=9, batch_size=8, learning_rate=1e-3, dropout=0.3, ema_decay=0.9, **shape)
    base = base_of(data)
    places = [Place(long_bank(base, Long(first_known(data, np.arange(60), 8, 2, 1), prompt)), 8 - prompt) for prompt in (2, 5)]
    return base, Benchmark("made", data, np.arange(60), (), ("known=8", "ndcg@10")), plan, places


def test_meta_learning_costs_by_the_episode(ground):
    base, benchmark, _, places = ground
    features = cores.of_company(benchmark.train, benchmark.users, 4)
    effort = Effort(rank=2, steps=2, core=3, lora=3, users=8)
    for cost in (lambda e: compute.of_lora(base, places, e, 0), lambda e: compute.of_core(features, places, e, 0)):
        assert cost(replace(effort, core=6, lora=6)) == 2 * cost(effort) > 0
    more = compute.of_core(features, places, replace(effort, newton=4), 0)
    assert more > compute.of_core(features, places, effort, 0)


def test_joint_lora_of_the_same_compute_takes_as_many_multiplications(ground):
    base, _, _, places = ground
    effort = Effort(rank=2, steps=2, core=3, lora=3, users=8)
    wanted = compute.of_lora(base, places[:1], effort, 0)
    alike = compute.joint_alike(wanted, base, places[:1], effort, 0)

    def took(episodes: int) -> int:
        rng = np.random.default_rng(0)
        return compute.multiplied(lambda: arms.joint_lora(base, places[:1], replace(effort, lora=episodes), rng, 0))[1]

    assert took(alike.lora - 1) < wanted <= took(alike.lora)


def test_so_many_steps_cost_at_least_as_much_and_one_fewer_less(ground):
    base, benchmark, plan, _ = ground
    wanted = 9.5 * compute.multiplied(lambda: trained_on(base, benchmark, benchmark.users, plan, 0, 4))[1] / 4
    steps = compute.plain_steps(wanted, base, benchmark, benchmark.users, plan, 0)
    assert steps == 10
