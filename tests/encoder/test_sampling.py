"""Training on a large catalogue: a sample of its items stands for all of them."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from llmrec.data.tasks import sample_windows
from llmrec.encoder.sampling import sample_items
from llmrec.encoder.slots import basket_readouts, slots
from llmrec.encoder.train import Shard, init_state, sampled, train_step, trainable, window_loss

SLOTS = 5


@pytest.fixture
def big_shop(shop):
    """20 users and 120 items, the first ones the most popular; half of the items have no events."""
    rng = np.random.default_rng(3)
    share = 1 / (1 + np.arange(60))
    history = [[rng.choice(60, rng.integers(1, 4), p=share / share.sum()).tolist() for _ in range(5)] for _ in range(20)]
    return shop(history, 120)


def windows(shop):
    return sample_windows(shop, np.arange(20), (1, 3), 2, 3, np.random.default_rng(0), least=1)


def set_sizes(monkeypatch, most: int, size: int) -> None:
    monkeypatch.setattr("llmrec.encoder.train.MOST_COMPARED", most)
    monkeypatch.setattr("llmrec.encoder.train.SAMPLE", size)


def test_the_sum_over_a_sample_is_that_over_the_catalogue_on_average(big_shop):
    tasks, rng = windows(big_shop), np.random.default_rng(1)
    value = rng.random(big_shop.n_items)
    found = []
    for _ in range(2000):
        sample = sample_items(tasks, SLOTS, 12, rng)
        found.append((value[sample.item] * np.exp(sample.log_weight)).sum())
    assert abs(np.mean(found) - value.sum()) < 4 * np.std(found) / len(found) ** 0.5
    assert np.std(found) > 0


def test_what_is_popular_is_drawn_more_often_and_stands_for_fewer(big_shop):
    tasks, rng = windows(big_shop), np.random.default_rng(1)
    read = zip(np.maximum(tasks.start, tasks.split - SLOTS), tasks.stop, strict=True)
    own = np.unique(np.concatenate([tasks.dataset.item[first:last] for first, last in read]))
    np.testing.assert_array_equal(sample_items(tasks, SLOTS, 0, rng).item, own)
    drawn, size = np.zeros(big_shop.n_items), []
    for _ in range(500):
        sample = sample_items(tasks, SLOTS, 12, rng)
        drawn[sample.item] += 1
        size.append(len(sample.item))
        assert (sample.place[sample.item] == np.arange(len(sample.item))).all()
        assert (sample.log_weight[np.isin(sample.item, own)] == 0).all()
    others = np.setdiff1d(np.arange(big_shop.n_items), own)
    few, many = others[np.argsort(big_shop.item_events[others])][[0, -1]]
    assert drawn[few] < drawn[many] < 500 == drawn[own].min()
    assert abs(drawn[others][big_shop.item_events[others] == 0].mean() / 500 - 12 * 0.5 / 120) < 0.01  # half is drawn evenly
    assert len(own) < np.mean(size) < len(own) + 12


def test_the_loss_over_a_sample_is_on_average_that_over_the_catalogue(body, new_slot_model, big_shop, plan):
    """But for what the logarithm of a noisy sum loses, far less than the loss is lower without weights."""
    model, tasks, rng = new_slot_model(body, big_shop).eval(), windows(big_shop), np.random.default_rng(0)
    dropped = torch.zeros(big_shop.n_items, dtype=torch.bool)
    with torch.no_grad():
        whole = float(window_loss(model, model.items(), tasks, plan))
        found, plain = [], []
        for _ in range(200):
            sample = sample_items(tasks, plan.max_slots, 20, rng)
            some = model.items(dropped, only=torch.from_numpy(sample.item))
            found.append(float(window_loss(model, sampled(model, sample, dropped), tasks, plan, sample=sample)))
            plain.append(float(window_loss(model, some, tasks, plan, sample=sample)))
    assert abs(np.mean(found) - whole) < 0.02 < 0.15 < whole - np.mean(plain)


def test_each_step_draws_anew_and_a_step_that_is_repeated_draws_the_same(body, big_shop, new_slot_model, plan, monkeypatch):
    set_sizes(monkeypatch, 1, 12)
    seen = []

    def spy(*args):
        seen.append(sample_items(*args))
        return seen[-1]

    monkeypatch.setattr("llmrec.encoder.train.sample_items", spy)
    for _ in range(2):
        training = init_state(new_slot_model(copy.deepcopy(body), big_shop), plan)
        for _ in range(2):
            train_step(training, big_shop, np.arange(20), plan, 0)
    first, second, *again = (one.item.tolist() for one in seen)
    assert first != second and again == [first, second]


def test_the_sample_holds_every_slot_and_every_target(big_shop):
    tasks = windows(big_shop)
    sample = sample_items(tasks, SLOTS, 1, np.random.default_rng(0))
    batch = slots(tasks, SLOTS)
    reads = basket_readouts(tasks, batch, 2, True)
    assert set(reads.target) <= set(sample.item) and set(batch.item[batch.filled]) <= set(sample.item)


def test_a_sample_of_everything_is_the_whole_softmax(body, big_shop, new_slot_model, plan, monkeypatch):
    settings, found = replace(plan, max_slots=SLOTS), []
    for most in (big_shop.n_items, 1):
        set_sizes(monkeypatch, most, 10**9)
        training = init_state(new_slot_model(copy.deepcopy(body), big_shop), settings)
        losses = [train_step(training, big_shop, np.arange(20), settings, 0) for _ in range(2)]
        found.append((losses, training.model.state_dict()))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    for name, value in found[0][1].items():
        torch.testing.assert_close(found[1][1][name], value, rtol=1e-4, atol=2e-5, msg=name)


def test_a_step_reads_its_sample_alone_and_its_loss_is_near_that_of_all(body, big_shop, new_slot_model, plan, monkeypatch):
    settings = replace(plan, max_slots=SLOTS, batch_size=3)
    model = new_slot_model(body, big_shop)
    set_sizes(monkeypatch, big_shop.n_items, 12)
    whole = train_step(init_state(copy.deepcopy(model), settings), big_shop, np.arange(20), settings, 0)
    set_sizes(monkeypatch, big_shop.n_items - 1, 12)
    training = init_state(model, settings)
    part = train_step(training, big_shop, np.arange(20), settings, 0)
    assert part == pytest.approx(whole, abs=0.5) and part != pytest.approx(whole, abs=1e-3)
    moved = training.model.bias.grad
    assert moved is not None and 0 < int((moved != 0).sum()) < big_shop.n_items / 2


def test_all_processes_compare_with_one_sample(body, big_shop, new_slot_model, plan, monkeypatch):
    settings, sent = replace(plan, max_slots=SLOTS, batch_size=5), {}
    set_sizes(monkeypatch, 1, 12)
    for world in (1, 2):
        sent[world] = []
        for rank in range(world):
            model = new_slot_model(copy.deepcopy(body), big_shop)
            keep = lambda flat, world=world: sent[world].append(flat.clone()) or flat  # noqa: E731
            train_step(init_state(model, settings), big_shop, np.arange(20), settings, 3, Shard(rank, world, keep))
    torch.testing.assert_close(sum(sent[2]), sent[1][0], rtol=1e-4, atol=1e-6)
    assert len(sent[1][0]) == 1 + sum(parameter.numel() for _, parameter in trainable(model))
