"""Ways to adapt in two worlds: planted tastes, where one's own older events must help and another's must not, and none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.protocol import first_known
from llmrec.meta.core import choice_loss, choice_posterior
from llmrec.meta.inner import initialisation
from studies.adaptation import arms, cores, loras
from studies.adaptation.arms import Effort
from studies.adaptation.bank import choices
from studies.adaptation.cores import Place
from studies.adaptation.counting import ndcg
from studies.adaptation.gating import taken_by_gate
from studies.adaptation.regimes import Long, long_bank, swapped

KNOWN, PROMPT, USERS, META = 8, 1, 240, 120
EFFORT = Effort(size=4, newton=2, rank=2, steps=2, core=60, gradient=60, head=10, lora=40, users=40)


@pytest.fixture(params=[True, False], ids=["tastes", "none"])
def structure(request) -> bool:
    return request.param


@pytest.fixture
def dataset(world, structure):
    return world(structure)


@pytest.fixture
def base(base_of, dataset):
    return base_of(dataset)


@pytest.fixture
def long(dataset) -> Long:
    return Long(first_known(dataset, np.arange(META, USERS), KNOWN, 2, 1), PROMPT)


@pytest.fixture
def practice(base, dataset) -> list[Place]:
    return [Place(long_bank(base, Long(first_known(dataset, np.arange(META), KNOWN, 2, 1), PROMPT)), KNOWN - PROMPT)]


@pytest.fixture
def asked(base, long) -> Place:
    return Place(long_bank(base, long), KNOWN - PROMPT)


@pytest.fixture
def others(base, long) -> Place:
    """Everybody with the older events of the next user, who keeps to the other half."""
    return Place(long_bank(base, long, swapped(long.older)), KNOWN - PROMPT)


@pytest.fixture
def features(dataset):
    return cores.of_company(dataset, np.arange(META), EFFORT.size)


def answers(name: str, base, features, practice, some: list[Place]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    if name == "closed form":
        core = arms.closed_form(features, practice, EFFORT, rng)
        return [cores.adapted(core, place, EFFORT.newton) for place in some]
    if name == "gradient":
        init = arms.by_gradient(features, practice, EFFORT, rng)
        return [cores.stepped(init, place, EFFORT.steps) for place in some]
    init = arms.lora(base, practice, replace(EFFORT, lora=3), rng, 0)
    return [loras.adapted(base, init, place.bank, EFFORT.steps) for place in some]


@pytest.mark.parametrize("name", ["closed form", "gradient"])
def test_own_events_help_and_anothers_do_not_and_the_gate_knows(name, structure, base, features, practice, asked, others):
    own, other = answers(name, base, features, practice, [asked, others])
    zero, own, other = (ndcg(scores, asked.bank.query.target) for scores in (arms.zero(asked), own, other))
    taken = taken_by_gate(np.stack([zero, own], 1), KNOWN - PROMPT, np.random.default_rng(0))
    if structure:
        assert own.mean() > zero.mean() > other.mean()
        assert taken == 1
    else:
        assert taken == 0


@pytest.mark.parametrize("structure", [True], indirect=True)
def test_a_user_is_adapted_alone_as_in_company(base, features, practice, asked):
    """Whichever arm; and none of them leaves everybody where the base has them."""
    some = Place(asked.bank.take(np.array([3])), asked.events)
    for name in ("closed form", "gradient", "lora"):
        together, alone = answers(name, base, features, practice, [asked, some])
        np.testing.assert_allclose(alone[0], together[3], rtol=1e-4, atol=1e-4)
        assert not np.allclose(together, arms.zero(asked), atol=1e-3)


def test_zero_steps_are_the_base(base, features, practice, asked):
    core = arms.closed_form(features, practice, replace(EFFORT, core=3), np.random.default_rng(0))
    np.testing.assert_array_equal(cores.adapted(core, asked, 0), arms.zero(asked))
    np.testing.assert_array_equal(cores.stepped(initialisation(core, 2, 0.1), asked, 0), arms.zero(asked))
    init = arms.random_lora(base, EFFORT, 0, 0.3)
    np.testing.assert_allclose(loras.adapted(base, init, asked.bank, 0), arms.zero(asked), rtol=1e-4, atol=1e-4)


def test_a_bank_under_an_adapter_is_the_bank(base, asked):
    """The losses of an episode without an adapter's help are those of the scores that were precomputed."""
    episode = loras.episode(base, asked.bank)
    support, query = episode.loss(loras.start(base, 2, 0, b_std=0.0))
    for loss, asks in zip((support, query), choices(asked.bank), strict=True):
        log = torch.log_softmax(asks.base, 1)[asks.owner, asks.target]
        wanted = torch.zeros(len(loss)).index_add(0, asks.user[asks.owner], log) / torch.bincount(asks.user[asks.owner])
        torch.testing.assert_close(loss.detach(), -wanted, rtol=1e-4, atol=1e-4)


def test_evidence_of_n_events_at_one_readout_is_n_times_the_loss(features, asked):
    """The most likely z under a widened spread is that of n times the mean loss under the plain one."""
    n, support = asked.events, choices(asked.bank)[0]
    start = cores.core_on(features).map(torch.Tensor.double)
    support = replace(support, base=support.base.double())
    found = choice_posterior(cores.widened(start, n), support, len(asked.bank), 25)
    add = found.add()
    z = replace(found, log_spread=start.log_spread, z=found.z * n**0.5)
    torch.testing.assert_close(z.add(), add)
    z = replace(z, z=z.z.clone().requires_grad_())
    mean = choice_loss(z, support) - z.z.square().sum(1) / 2
    slope = torch.autograd.grad((n * mean + z.z.square().sum(1) / 2).sum(), z.z)[0]
    torch.testing.assert_close(slope, torch.zeros_like(slope), atol=1e-6, rtol=0)
