"""The slot model's scores, term by term, against a loop over one prompt at a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from llmrec.data.dataset import EventWeights
from llmrec.data.tasks import Tasks, sample_windows
from llmrec.encoder.dates import date_features
from llmrec.encoder.loss import multi_target
from llmrec.encoder.model import SlotModel
from llmrec.encoder.slots import Slots, basket_readouts, slots

CLOSE = {"rtol": 1e-4, "atol": 1e-4}


@pytest.fixture
def tasks(random_shop) -> Tasks:
    return sample_windows(random_shop, np.arange(20), (1, 4), 1, 12, np.random.default_rng(0))


def repeat_terms(model: SlotModel, batch: Slots, task: int, slot: int, items) -> np.ndarray:
    """What a history adds to each item: by how often it was had, and whether it was in the last basket."""
    had, basket = batch.item[task, : slot + 1].tolist(), batch.basket[task, : slot + 1].tolist()
    added = np.zeros(len(items.bias))
    for item in set(had):
        added[item] = items.repeat[item].item() * np.log1p(had.count(item))
    for item in {item for item, number in zip(had, basket, strict=True) if number == basket[-1]}:
        added[item] += model.last_basket_bias.item()
    return added


@pytest.mark.parametrize("most", [5, 64])
def test_scores_against_a_loop(slot_model, tasks, most):
    items, batch = slot_model.items(), slots(tasks, most)
    reads = basket_readouts(tasks, batch, 1)
    states = slot_model.body(slot_model.prompt(items, batch))
    found = slot_model.scores(states, items, batch, reads.task, reads.slot).detach().numpy()
    assert found.shape == (len(reads), 10) and len(reads) > len(tasks)
    vectors = items.vectors.detach().numpy()
    for m, (task, slot) in enumerate(zip(reads.task, reads.slot, strict=True)):
        words = slot_model.body.words(slot_model.prefix_ids)[None]
        e = torch.stack(
            [
                slot_model.slot_scale * items.vectors[batch.item[task, place]]
                + slot_model.attributes.weight @ torch.from_numpy(batch.attributes[task, place])
                + slot_model.dates.weight @ date_features(torch.tensor(batch.time[task, place]), slot_model.time_quantiles)
                + slot_model.event_type.weight[batch.kind[task, place]]
                for place in range(slot + 1)
            ]
        )
        user = slot_model.body(torch.cat([words, e[None]], 1))[0, -1].detach().numpy()
        expected = slot_model.temperature.item() * vectors @ user + items.bias.detach().numpy()
        expected += repeat_terms(slot_model, batch, int(task), int(slot), items)
        np.testing.assert_allclose(found[m], expected, rtol=1e-4, atol=1e-4)


def test_the_index_serves_all_but_the_repeat_terms(slot_model):
    items, users = slot_model.items(), torch.randn(5, slot_model.body.width)
    matrix = items.search_matrix(slot_model.temperature)
    ones = torch.cat([users, torch.ones(5, 1)], 1)
    torch.testing.assert_close(ones @ matrix.T, slot_model.logits(users, items), **CLOSE)


def test_items_against_the_formula(slot_model):
    items = slot_model.items()
    with torch.no_grad():
        from_text = slot_model.text @ slot_model.project.weight.T
        torch.testing.assert_close(items.vectors[:9], from_text[:9] + slot_model.id_embedding[:9])
        torch.testing.assert_close(items.repeat[:9], slot_model.repeat + slot_model.repeat_delta[:9])
        assert torch.equal(items.bias[:9], slot_model.bias[:9])


def test_an_item_never_trained_keeps_nothing_learned(slot_model):
    """Item 9 of `slot_model` was never trained on, though its parameters were moved."""
    items = slot_model.items()
    torch.testing.assert_close(items.vectors[9], slot_model.project(slot_model.text[9]))
    assert items.bias[9] == slot_model.cold_bias
    assert items.repeat[9] == slot_model.repeat
    assert (slot_model.id_embedding[9] != 0).all() and slot_model.bias[9] != slot_model.cold_bias


def test_text_only_items_depend_on_their_text_alone(slot_model):
    dropped = torch.zeros(10, dtype=torch.bool)
    dropped[[2, 5]] = True
    before = slot_model.items(dropped)
    with torch.no_grad():
        slot_model.id_embedding += 1.0
    after = slot_model.items(dropped)
    moved = (after.vectors - before.vectors).abs().amax(1) > 0.5
    assert moved.tolist() == [i not in (2, 5, 9) for i in range(10)]
    assert torch.equal(before.bias, after.bias)


def test_it_begins_with_text_and_popularity(body, random_shop, new_slot_model):
    model = new_slot_model(body, random_shop, untrained=(9,), moved=False)
    items = model.items()
    assert torch.equal(items.vectors, model.text)  # width of the text and of the body are one here
    counts = torch.from_numpy(np.bincount(random_shop.item, minlength=10)[:9])
    assert torch.equal(items.bias[:9].argsort(stable=True), counts.argsort(stable=True))
    assert items.bias[:9].min() <= items.bias[9] <= items.bias[:9].max()


def test_an_item_had_nowhere_gets_no_repeat_term(slot_model, tasks):
    items, batch = slot_model.items(), slots(tasks, 64)
    louder = replace(items, repeat=items.repeat + 100.0)
    states = slot_model.body(slot_model.prompt(items, batch))
    every, last = np.arange(len(tasks)), batch.length - 1
    gap = slot_model.scores(states, louder, batch, every, last) - slot_model.scores(states, items, batch, every, last)
    for t in range(len(tasks)):
        had = np.unique(tasks.dataset.item[tasks.support(t)])
        assert np.flatnonzero(gap[t].detach().numpy() > 1.0).tolist() == had.tolist()


def test_a_prompt_is_the_words_and_then_the_slots(slot_model, tasks):
    items, batch = slot_model.items(), slots(tasks, 64)
    found = slot_model.prompt(items, batch)
    assert found.shape == (len(tasks), 3 + batch.item.shape[1], slot_model.body.width)
    for row in found[:, :3]:
        assert torch.equal(row, slot_model.body.words(slot_model.prefix_ids))
    # A slot arrives about as long as a word does, when nothing has been learned yet.
    assert torch.isfinite(found).all()


def test_what_belongs_to_the_catalogue_is_saved_with_it(slot_model):
    assert {"prefix_ids", "text", "trained", "cold_bias", "id_embedding", "bias", "time_quantiles"} <= set(
        slot_model.state_dict()
    )


def test_the_loss_is_that_of_the_scores(slot_model, tasks):
    items, batch = slot_model.items(), slots(tasks, 64)
    reads = basket_readouts(tasks, batch, 1)
    states = slot_model.body(slot_model.prompt(items, batch))
    scores = slot_model.scores(states, items, batch, reads.task, reads.slot)
    target, owner, weight = (torch.from_numpy(part) for part in (reads.target, reads.owner, reads.weight))
    expected = multi_target(scores, target, owner, weight).mean()
    found = slot_model.loss(states, items, batch, reads)
    torch.testing.assert_close(found, expected)
    learned = [p for p in slot_model.parameters() if p is not slot_model.body.model.get_input_embeddings().weight]
    mine = torch.autograd.grad(found, learned, retain_graph=True, allow_unused=True)
    other = torch.autograd.grad(expected, learned, allow_unused=True)
    for one, two in zip(mine, other, strict=True):
        assert (one is None) == (two is None)
        if one is not None:
            torch.testing.assert_close(one, two, **CLOSE)


def test_an_event_type_that_training_never_met_is_an_unknown_one(slot_model, tasks):
    items, batch = slot_model.items(), slots(tasks, 64)
    far, unknown = replace(batch, kind=np.full_like(batch.kind, 99)), replace(batch, kind=np.zeros_like(batch.kind))
    assert torch.equal(slot_model.prompt(items, far), slot_model.prompt(items, unknown))
    assert not torch.equal(slot_model.prompt(items, batch), slot_model.prompt(items, unknown))


def test_an_event_that_counts_0_is_no_repeat(slot_model, tasks):
    """What it adds to its own item's score is 0, and a later purchase of the item is a first one."""
    data, plain = tasks.dataset, slots(tasks, 64)
    types = replace(data, event_weights=EventWeights((0.0, 1.0), data.event_weights.scale))
    items, batch = slot_model.items(), slots(replace(tasks, dataset=types), 64)
    assert plain.counting is None and batch.counting is not None and (batch.filled & ~batch.counting).any()
    every, last = np.arange(len(tasks)), batch.length - 1
    index, value = (part.detach().numpy() for part in slot_model.repeats(items, batch, every, last))
    for task in range(len(tasks)):
        counts = batch.counting[task]
        found = np.bincount(index[task], value[task], 10)
        kept = replace(plain, item=np.where(counts, plain.item, -1)[[task]], basket=plain.basket[[task]])
        had, basket = kept.item[0], kept.basket[0]
        expected = np.zeros(10)
        for item in set(had[counts].tolist()):
            expected[item] = items.repeat[item].item() * np.log1p((had == item).sum())
            if ((had == item) & (basket == basket[last[task]])).any():
                expected[item] += slot_model.last_basket_bias.item()
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
