"""Full fine-tuning: the base at zero steps, down the support's loss after some, each user alone, and nothing left behind."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.protocol import first_known
from studies.adaptation import arms, whole
from studies.adaptation.cores import Place
from studies.adaptation.counting import ndcg
from studies.adaptation.regimes import Long, long_bank, swapped
from studies.adaptation.whole import Tuning

TUNING = Tuning(5, 3e-3)


@pytest.fixture
def base(base_of, world):
    return base_of(world(True))


@pytest.fixture
def long(world) -> Long:
    return Long(first_known(world(True), np.arange(30), 8, 2, 1), 2)


@pytest.fixture
def bank(base, long):
    return long_bank(base, long)


def test_no_step_is_the_base_and_the_base_is_never_changed(base, bank):
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    scores = np.stack(list(whole.walked(base, bank, 1e-2, [0, 2])), 1)
    np.testing.assert_allclose(scores[0], arms.zero(Place(bank)), rtol=1e-4, atol=1e-4)
    assert not np.allclose(scores[1], scores[0], atol=1e-2)
    assert all(torch.equal(tensor, before[name]) for name, tensor in base.model.state_dict().items())
    assert not any(parameter.requires_grad for parameter in base.model.parameters())


def test_each_user_starts_from_the_base_whoever_came_before(base, bank):
    together = whole.tuned(base, bank, TUNING)
    for rows in ([7], [7, 2]):
        alone = whole.tuned(base, bank.take(np.array(rows)), TUNING)
        np.testing.assert_allclose(alone, together[rows], rtol=1e-4, atol=1e-5)


def test_ones_own_older_events_find_the_half_that_one_keeps_to(base, long):
    """Where item vectors tell the halves apart, one's own older events find what comes next, and those of the other half lose
    it: tuning goes down the loss of the support that it is given."""
    with torch.no_grad():
        half = torch.arange(len(base.matrix)) < len(base.matrix) // 2
        way = torch.arange(base.model.body.width) % 2 * 2.0 - 1.0  # not along the mean, which a layer norm takes away
        base.model.id_embedding.add_(torch.where(half[:, None], way, -way))
        base = replace(base, items=base.model.items())
    bank, other = long_bank(base, long), long_bank(base, long, swapped(long.older))
    zero, own, anothers = (
        ndcg(scores, bank.query.target)
        for scores in (arms.zero(Place(bank)), whole.tuned(base, bank, TUNING), whole.tuned(base, other, TUNING))
    )
    assert own.mean() > zero.mean() > anothers.mean()


def test_what_is_tuned_is_the_users_side_and_all_of_it(base):
    model = base.model
    mine = {id(tensor) for tensor in whole.weights(model)}
    names = {name for name, tensor in model.named_parameters() if id(tensor) in mine}
    rest = {name for name, _ in model.named_parameters()} - names
    assert {name for name in rest if name.startswith("body.")} == {"body.model.embeddings.word_embeddings.weight"}
    assert {"attributes.weight", "dates.weight", "event_type.weight", "slot_scale"} <= names
    assert {"id_embedding", "bias", "project.weight", "temperature", "repeat"} <= rest


def test_the_best_is_the_best_of_all_that_are_tried(base, bank):
    found = whole.best(base, bank, 3)
    value = {
        tuning: np.nanmean(ndcg(whole.tuned(base, bank, tuning), bank.query.target))
        for tuning in (Tuning(steps, rate) for steps in whole.STEPS if steps <= 3 for rate in whole.RATES)
    }
    assert value[found] == max(value.values())
