"""The base is a recommender's, trained on all whom it is given; trained on, it is another one, and stays as it was."""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.protocol import Benchmark
from llmrec import Recommender, Settings, TrainSettings, Weights
from studies.adaptation.bank import Base
from studies.adaptation.base import base_alone, trained, trained_on

PLAN = TrainSettings(
    max_steps=2, batch_size=8, known=(2, 6), horizon=2, max_slots=12, learning_rate=1e-2, dropout=0.0, ema_decay=0.0
)


def test_all_who_are_given_train_it_and_nothing_is_learned_above_it(world, tiny_folders, tmp_path, monkeypatch):
    monkeypatch.setattr(Weights, "packaged", staticmethod(lambda: Weights.folder(tiny_folders["bert"])))
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path / "cache"))
    data, users = world(True), np.arange(0, 90, 2)
    benchmark = Benchmark("made", data, users, (), ("known=8", "ndcg@10"))
    base = trained(benchmark, users, Settings(train=PLAN), 0, tmp_path / "base")
    there = np.bincount(data.take(users).item, minlength=data.n_items) > 0
    assert base.model.trained.tolist() == there.tolist() and base.most == 12
    again = trained(benchmark, users, Settings(train=PLAN), 0, tmp_path / "base")  # from its last checkpoint
    assert torch.equal(again.matrix, base.matrix)
    state = Recommender(settings=base_alone(Settings(train=PLAN))).fit(data.take(users), verbose=False).state
    assert torch.equal(Base(state.model, state.items, 12).matrix, base.matrix)
    assert state.retrieval.counts.baskets == len(data.take(users).basket_start) - 1  # counted over everybody, once
    assert state.gate is None


def test_training_on_changes_the_copy_alone_and_repeats_itself(world, base_of):
    data = world(True)
    base = base_of(data)
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    benchmark = Benchmark("made", data, np.arange(60), (), ("known=8", "ndcg@10"))
    one, two = (trained_on(base, benchmark, np.arange(60), PLAN, 0, 3) for _ in range(2))
    assert all(torch.equal(tensor, before[name]) for name, tensor in base.model.state_dict().items())
    assert torch.equal(one.matrix, two.matrix) and not torch.allclose(one.matrix, base.matrix, atol=1e-3)
    assert not any(parameter.requires_grad for parameter in one.model.parameters())
    assert one.most == base.most
