"""The plan fits the time that is given, and says so when it had to shrink."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from llmrec.demo.plan import Plan, fitted
from llmrec.encoder.train import TrainSettings
from llmrec.recommender.settings import Settings


def test_plenty_of_time_changes_nothing(random_shop, slot_model):
    plan = _tiny()
    same, said = fitted(plan, slot_model, random_shop, np.arange(random_shop.n_users), minutes=1e6)
    assert same == plan
    assert "as planned" in said


def test_too_little_time_shrinks_training_and_says_so(random_shop, slot_model):
    plan = _tiny()
    plan = replace(plan, settings=replace(plan.settings, train=replace(plan.settings.train, max_steps=10_000)))
    less, said = fitted(plan, slot_model, random_shop, np.arange(random_shop.n_users), minutes=1e-3)
    assert less.settings.train.max_steps < 10_000
    assert less.known == plan.known
    assert said.startswith("SHRUNK")


def _tiny() -> Plan:
    return Plan(Settings(layers=2, train=TrainSettings(max_steps=8, batch_size=4, known=(1, 2), horizon=1, max_slots=8)))
