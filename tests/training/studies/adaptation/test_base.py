"""The base that is trained on: another one afterwards, while the one it came from stays as it was."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from benchmarks.protocol import Benchmark
from benchmarks.recipes import recipe
from studies.adaptation.base import trained_on


def test_training_on_changes_the_copy_alone_and_repeats_itself(world, base_of):
    data = world(True)
    base = base_of(data)
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    plan = recipe("ml1m-taste", "small")
    train = replace(plan.settings.train, batch_size=8, known=(2, 6), max_slots=12, learning_rate=1e-2)
    short = replace(plan, settings=replace(plan.settings, train=train))
    benchmark = Benchmark("made", data, np.arange(60), (), ("known=8", "ndcg@10"))
    one, two = (trained_on(base, benchmark, np.arange(60), short, 0, 3) for _ in range(2))
    assert all(torch.equal(tensor, before[name]) for name, tensor in base.model.state_dict().items())
    assert torch.equal(one.matrix, two.matrix) and not torch.allclose(one.matrix, base.matrix, atol=1e-3)
    assert not any(parameter.requires_grad for parameter in one.model.parameters())
    assert one.most == base.most
