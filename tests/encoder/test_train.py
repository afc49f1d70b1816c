"""Base training on a planted world: two kinds of users, each with items of its own."""

from __future__ import annotations

import copy
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from llmrec.data.dataset import Dataset
from llmrec.data.tasks import first_baskets, sample_windows
from llmrec.encoder.loss import multi_target
from llmrec.encoder.slots import basket_readouts, slots
from llmrec.encoder.train import (
    Shard,
    TrainSettings,
    finalize,
    init_state,
    n_readouts,
    train,
    train_step,
    trainable,
    window_loss,
)
from llmrec.encoder.users import prompt_reading, prompts, user_vectors
from llmrec.errors import DataError


def weights(model) -> list[torch.Tensor]:
    return [tensor.clone() for tensor in model.state_dict().values()]


@pytest.mark.slow
def test_the_right_groups_items_come_first(body, two_groups, new_slot_model, plan):
    model, losses = new_slot_model(body, two_groups, moved=False), []
    watch = lambda step, loss: losses.append((step, loss))  # noqa: E731
    train(model, two_groups, np.arange(40), plan, np.random.default_rng(0), watch)
    assert [step for step, _ in losses] == list(range(plan.max_steps))
    assert np.mean([loss for _, loss in losses[-10:]]) < np.mean([loss for _, loss in losses[:10]]) - 0.3
    tasks = first_baskets(two_groups, np.arange(40, 60), 2, 1)  # users it has never seen
    items = model.items()
    made = prompts(model, items, tasks, 16, 1)
    users = user_vectors(model, made)
    best = prompt_reading(model, items, users, made.batch).table().argsort(1)[:, -4:] // 6
    by_vector = model.logits(users, items).argsort(1)[:, -4:] // 6  # without what they had before
    for t, user in enumerate(tasks.user):
        assert (best[t] == user % 2).all() and (by_vector[t] == user % 2).all()


def test_same_seed_same_weights(body, two_groups, new_slot_model, plan):
    found = []
    for seed in (0, 0, 1):
        model = new_slot_model(copy.deepcopy(body), two_groups, moved=False)
        torch.manual_seed(len(found))  # the global generator is not asked
        train(model, two_groups, np.arange(40), replace(plan, max_steps=3), np.random.default_rng(seed))
        found.append(weights(model))
    assert all(torch.equal(x, y) for x, y in zip(found[0], found[1], strict=True))
    assert not all(torch.equal(x, y) for x, y in zip(found[0], found[2], strict=True))


def test_what_is_trained_and_what_is_not(body, two_groups, new_slot_model, plan):
    model = new_slot_model(body, two_groups, untrained=(11,), moved=False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    train(model, two_groups, np.arange(40), replace(plan, max_steps=3, text_only_rate=0.0), np.random.default_rng(0))
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    table = next(name for name in before if name.endswith(("word_embeddings.weight", "embed_tokens.weight")))
    assert not moved & {"prefix_ids", "text", "trained", "cold_bias", table}
    assert {"project.weight", "id_embedding", "bias", "attributes.weight", "slot_scale", "temperature"} <= moved
    assert {name for name in moved if name.startswith("body.") and ("query" in name or "q_proj" in name)}
    assert (model.id_embedding[11] == 0).all() and (model.id_embedding[:11] != 0).any(1).all()
    assert model.body.model.get_input_embeddings().weight.grad is None
    assert not model.training


def test_an_item_that_is_always_dropped_learns_no_delta(body, two_groups, new_slot_model, plan):
    model = new_slot_model(body, two_groups, moved=False)
    train(model, two_groups, np.arange(40), replace(plan, max_steps=2, text_only_rate=1.0), np.random.default_rng(0))
    assert (model.id_embedding == 0).all()


def test_only_the_users_named_are_trained_on(body, two_groups, new_slot_model, plan):
    """The histories of all others are changed; nothing else is."""
    item = two_groups.item.copy()
    item[two_groups.start[40] :] = 0
    other = Dataset(**{**{n: getattr(two_groups, n) for n in two_groups.__dataclass_fields__}, "item": item})
    found = []
    for data in (two_groups, other):
        model = new_slot_model(copy.deepcopy(body), two_groups, moved=False)
        train(model, data, np.arange(40), replace(plan, max_steps=2), np.random.default_rng(0))
        found.append(weights(model))
    assert all(torch.equal(x, y) for x, y in zip(*found, strict=True))


def test_no_steps_change_nothing(body, two_groups, new_slot_model, plan):
    model = new_slot_model(body, two_groups)
    before = weights(model)
    train(model, two_groups, np.arange(40), replace(plan, max_steps=0), np.random.default_rng(0))
    assert all(torch.equal(x, y) for x, y in zip(weights(model), before, strict=True))


def test_the_loss_is_the_mean_over_the_ends_of_baskets(slot_model, random_shop, plan):
    tasks = sample_windows(random_shop, np.arange(20), (1, 3), 2, 6, np.random.default_rng(0))
    items, each = slot_model.items(), []
    for t in range(len(tasks)):
        task = tasks.take(np.array([t]))
        batch = slots(task, 16)
        reads = basket_readouts(task, batch, 2)
        states = slot_model.body(slot_model.prompt(items, batch))
        scores = slot_model.scores(states, items, batch, reads.task, reads.slot)
        each.append(multi_target(scores, *(torch.from_numpy(part) for part in (reads.target, reads.owner, reads.weight))))
    found = window_loss(slot_model, items, tasks, plan)
    torch.testing.assert_close(found, torch.cat(each).mean(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", [one.name for one in fields(TrainSettings) if one.default is None])
def test_a_setting_that_is_none_is_named(body, two_groups, new_slot_model, name, plan):
    settings = replace(plan, **{name: None})
    with pytest.raises(DataError, match=rf"TrainSettings.{name} is None, .* give one, or use Recommender.fit"):
        init_state(new_slot_model(body, two_groups), settings)


def test_a_batch_that_is_not_finite_teaches_nothing(body, two_groups, new_slot_model, monkeypatch, plan):
    model = new_slot_model(body, two_groups, moved=False)
    before = weights(model)
    broken = lambda *args: window_loss(*args) * float("nan")  # noqa: E731
    monkeypatch.setattr("llmrec.encoder.train.window_loss", broken)
    training = init_state(model, plan)
    for _ in range(2):
        train_step(training, two_groups, np.arange(40), plan, 0)
    finalize(training)
    assert all(torch.equal(x, y) for x, y in zip(weights(model), before, strict=True))


def test_training_that_diverges_says_at_which_step_and_what_to_lower(body, two_groups, new_slot_model, monkeypatch, plan):
    losses = iter([1.0, 1.0, float("nan")])
    monkeypatch.setattr("llmrec.encoder.train.window_loss", lambda *args: window_loss(*args) * next(losses))
    with pytest.raises(
        DataError,
        match=r"base training diverged: the loss of step 3 is nan; lower .* learning_rate=0.003 and bias_learning_rate",
    ):
        settings = replace(plan, max_steps=9, learning_rate=3e-3)
        train(new_slot_model(body, two_groups), two_groups, np.arange(40), settings, np.random.default_rng(0))


def test_a_last_step_that_spoils_the_weights_is_noticed(body, two_groups, new_slot_model, plan):
    model = new_slot_model(body, two_groups)

    def spoil(step: int, _: float) -> None:
        with torch.no_grad():
            model.id_embedding[0, 0] = float("inf")

    with pytest.raises(DataError, match="base training diverged: a weight is not finite after 1 steps"):
        train(model, two_groups, np.arange(40), replace(plan, max_steps=1), np.random.default_rng(0), spoil)


def test_readouts_are_counted_without_making_them(random_shop):
    for most in (1, 2, 3, 7, 30):
        tasks = sample_windows(random_shop, np.arange(20), (1, 4), 2, 50, np.random.default_rng(most))
        assert n_readouts(tasks, most) == len(basket_readouts(tasks, slots(tasks, most), 2))


def test_the_gradients_of_the_processes_add_up_to_that_of_the_whole_batch(body, random_shop, new_slot_model, plan):
    settings, users = replace(plan, batch_size=7, max_slots=5), np.arange(20)
    sent = {}
    for world in (1, 2, 3, 7):
        sent[world] = []
        for rank in range(world):
            model = new_slot_model(copy.deepcopy(body), random_shop)
            keep = lambda flat, world=world: sent[world].append(flat.clone()) or flat  # noqa: E731
            train_step(init_state(model, settings), random_shop, users, settings, 3, Shard(rank, world, keep))
    plain = new_slot_model(copy.deepcopy(body), random_shop)
    loss = train_step(init_state(plain, settings), random_shop, users, settings, 3)
    whole = sent.pop(1)[0]
    assert whole[0].item() == loss
    assert len(whole) == 1 + sum(parameter.numel() for _, parameter in trainable(plain))
    for parts in sent.values():
        torch.testing.assert_close(sum(parts), whole, rtol=1e-4, atol=1e-6)
        assert not torch.allclose(len(parts) * parts[0], whole, rtol=1e-2, atol=1e-6)  # each has a part of its own


def test_what_is_reduced_is_what_is_stepped_with(body, two_groups, new_slot_model, plan):
    """Processes that send back a gradient of zero move nothing but by AdamW's decay, and report the loss that came back."""
    model, settings = new_slot_model(body, two_groups), replace(plan, max_steps=1)
    before = {name: p.detach().clone() for name, p in trainable(model)}
    nothing = lambda flat: torch.zeros_like(flat)  # noqa: E731
    assert train_step(init_state(model, settings), two_groups, np.arange(40), settings, 0, Shard(0, 2, nothing)) == 0.0
    for name, parameter in trainable(model):
        torch.testing.assert_close(parameter.detach(), before[name], rtol=1e-4, atol=0.0)


def test_the_average_is_that_of_the_weights_after_each_step(body, two_groups, new_slot_model, plan):
    settings = replace(plan, max_steps=12, ema_decay=0.4)
    model, seen = new_slot_model(body, two_groups, moved=False), []
    seen.append({name: p.detach().clone().double() for name, p in trainable(model)})
    note = lambda *_: seen.append({name: p.detach().clone().double() for name, p in trainable(model)})  # noqa: E731
    train(model, two_groups, np.arange(40), settings, np.random.default_rng(0), note)
    for name, parameter in trainable(model):
        expected = seen[0][name]
        for t, step in enumerate(seen[1:]):
            decay = min(0.4, (1 + t) / (10 + t))
            expected = decay * expected + (1 - decay) * step[name]
        torch.testing.assert_close(parameter.detach().double(), expected, rtol=1e-5, atol=1e-6)
    assert any((seen[-1][name] - p.detach()).abs().max() > 1e-5 for name, p in trainable(model))


def test_the_last_weights_are_kept_without_an_average(body, two_groups, new_slot_model, plan):
    model, last = new_slot_model(body, two_groups, moved=False), {}
    note = lambda *_: last.update({name: p.detach().clone() for name, p in trainable(model)})  # noqa: E731
    train(model, two_groups, np.arange(40), replace(plan, max_steps=3), np.random.default_rng(0), note)
    assert all(torch.equal(p, last[name]) for name, p in trainable(model))


def test_torchs_own_draws_belong_to_the_step_and_the_process(body, two_groups, new_slot_model, monkeypatch, plan):
    """A loss with dropout of its own: the same in every run, another at every step and on every process; nothing outside it
    is touched."""
    drawn: list[float] = []

    def noisy(*args):
        drawn.append(torch.rand(()).item())
        return window_loss(*args)

    monkeypatch.setattr("llmrec.encoder.train.window_loss", noisy)
    settings, keep = replace(plan, batch_size=4), lambda flat: flat
    state, strict = torch.get_rng_state(), torch.are_deterministic_algorithms_enabled()
    for _ in range(2):
        for rank in range(2):
            training = init_state(new_slot_model(copy.deepcopy(body), two_groups), settings)
            for _ in range(2):
                train_step(training, two_groups, np.arange(40), settings, 9, Shard(rank, 2, keep))
    assert torch.equal(torch.get_rng_state(), state) and torch.are_deterministic_algorithms_enabled() == strict
    assert drawn[:4] == drawn[4:] and len(set(drawn[:4])) == 4


@pytest.mark.slow
def test_threads_that_add_as_they_come_do_not_show(lively_bodies, new_slot_model, shop, plan):
    """Gradients of vectors that stand in many slots: threads that add at their own speed give other last bits in every run."""
    rng = np.random.default_rng(0)
    dataset = shop([[rng.integers(0, 8, 12).tolist() for _ in range(6)] for _ in range(30)], 8)
    model, found = new_slot_model(lively_bodies["bert"], dataset), []
    settings = replace(plan, batch_size=32, max_slots=40)
    keep = lambda flat: found.append(flat.clone()) or torch.zeros_like(flat)  # noqa: E731
    torch.set_num_threads(2)
    try:
        for _ in range(3):
            train_step(init_state(copy.deepcopy(model), settings), dataset, np.arange(30), settings, 0, Shard(0, 1, keep))
    finally:
        torch.set_num_threads(1)
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])
