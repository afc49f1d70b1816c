"""Base training on a planted world: two kinds of users, each with items of its own."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from llmrec.data.dataset import Dataset
from llmrec.data.tasks import first_baskets, sample_windows
from llmrec.encoder.loss import multi_target
from llmrec.encoder.slots import basket_readouts, slots
from llmrec.encoder.train import TrainSettings, train, window_loss
from llmrec.encoder.users import prompts, user_scores, user_vectors

SETTINGS = TrainSettings(steps=60, batch=16, known=(1, 3), horizon=2, most=16, rate=3e-3, bias_rate=1e-2)


@pytest.fixture(scope="module")
def two_groups(shop) -> Dataset:
    """60 users; the even ones take items 0 to 5, the odd ones 6 to 11, all alike often, without repeats."""
    rng = np.random.default_rng(0)
    return shop([[[int(item)] for item in 6 * (user % 2) + rng.permutation(6)] for user in range(60)], 12)


def weights(model) -> list[torch.Tensor]:
    return [tensor.clone() for tensor in model.state_dict().values()]


def test_the_right_groups_items_come_first(body, two_groups, new_slot_model):
    model, losses = new_slot_model(body, two_groups, moved=False), []
    watch = lambda step, loss: losses.append((step, loss))  # noqa: E731
    train(model, two_groups, np.arange(40), SETTINGS, np.random.default_rng(0), watch)
    assert [step for step, _ in losses] == list(range(SETTINGS.steps))
    assert np.mean([loss for _, loss in losses[-10:]]) < np.mean([loss for _, loss in losses[:10]]) - 0.3
    tasks = first_baskets(two_groups, np.arange(40, 60), 2, 1)  # users it has never seen
    items = model.items()
    made = prompts(model, items, tasks, 16, 1)
    users = user_vectors(model, made)
    best = user_scores(model, items, users, made.batch).argsort(1)[:, -4:] // 6
    by_vector = model.logits(users, items).argsort(1)[:, -4:] // 6  # without what they had before
    for t, user in enumerate(tasks.user):
        assert (best[t] == user % 2).all() and (by_vector[t] == user % 2).all()


def test_same_seed_same_weights(body, two_groups, new_slot_model):
    found = []
    for seed in (0, 0, 1):
        model = new_slot_model(copy.deepcopy(body), two_groups, moved=False)
        torch.manual_seed(len(found))  # the global generator is not asked
        train(model, two_groups, np.arange(40), replace(SETTINGS, steps=3), np.random.default_rng(seed))
        found.append(weights(model))
    assert all(torch.equal(x, y) for x, y in zip(found[0], found[1], strict=True))
    assert not all(torch.equal(x, y) for x, y in zip(found[0], found[2], strict=True))


def test_what_is_trained_and_what_is_not(body, two_groups, new_slot_model):
    model = new_slot_model(body, two_groups, untrained=(11,), moved=False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    train(model, two_groups, np.arange(40), replace(SETTINGS, steps=3, drop=0.0), np.random.default_rng(0))
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    table = next(name for name in before if name.endswith(("word_embeddings.weight", "embed_tokens.weight")))
    assert not moved & {"words", "text", "trained", "cold_bias", table}
    assert {"project.weight", "delta", "bias", "attributes.weight", "gain", "temperature"} <= moved
    assert {name for name in moved if name.startswith("body.") and ("query" in name or "q_proj" in name)}
    assert (model.delta[11] == 0).all() and (model.delta[:11] != 0).any(1).all()
    assert model.body.model.get_input_embeddings().weight.grad is None
    assert not model.training


def test_an_item_that_is_always_dropped_learns_no_delta(body, two_groups, new_slot_model):
    model = new_slot_model(body, two_groups, moved=False)
    train(model, two_groups, np.arange(40), replace(SETTINGS, steps=2, drop=1.0), np.random.default_rng(0))
    assert (model.delta == 0).all()


def test_only_the_users_named_are_trained_on(body, two_groups, new_slot_model):
    """The histories of all others are changed; nothing else is."""
    item = two_groups.item.copy()
    item[two_groups.start[40] :] = 0
    other = Dataset(**{**{n: getattr(two_groups, n) for n in two_groups.__dataclass_fields__}, "item": item})
    found = []
    for data in (two_groups, other):
        model = new_slot_model(copy.deepcopy(body), two_groups, moved=False)
        train(model, data, np.arange(40), replace(SETTINGS, steps=2), np.random.default_rng(0))
        found.append(weights(model))
    assert all(torch.equal(x, y) for x, y in zip(*found, strict=True))


def test_no_steps_change_nothing(body, two_groups, new_slot_model):
    model = new_slot_model(body, two_groups)
    before = weights(model)
    train(model, two_groups, np.arange(40), replace(SETTINGS, steps=0), np.random.default_rng(0))
    assert all(torch.equal(x, y) for x, y in zip(weights(model), before, strict=True))


def test_the_loss_is_the_mean_over_the_ends_of_baskets(slot_model, random_shop):
    tasks = sample_windows(random_shop, np.arange(20), (1, 3), 2, 6, np.random.default_rng(0))
    items, each = slot_model.items(), []
    for t in range(len(tasks)):
        task = tasks.take(np.array([t]))
        batch = slots(task, 16)
        reads = basket_readouts(task, batch, 2)
        states = slot_model.body(slot_model.prompt(items, batch))
        scores = slot_model.scores(states, items, batch, reads.task, reads.slot)
        each.append(multi_target(scores, torch.from_numpy(reads.target), torch.from_numpy(reads.owner)))
    found = window_loss(slot_model, items, tasks, SETTINGS)
    torch.testing.assert_close(found, torch.cat(each).mean(), rtol=1e-5, atol=1e-5)


def test_a_batch_that_is_not_finite_teaches_nothing(body, two_groups, new_slot_model, monkeypatch):
    model = new_slot_model(body, two_groups, moved=False)
    before = weights(model)
    broken = lambda *args: window_loss(*args) * float("nan")  # noqa: E731
    monkeypatch.setattr("llmrec.encoder.train.window_loss", broken)
    train(model, two_groups, np.arange(40), replace(SETTINGS, steps=2), np.random.default_rng(0))
    assert all(torch.equal(x, y) for x, y in zip(weights(model), before, strict=True))
