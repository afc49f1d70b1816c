from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from llmrec.adapters.lora import Adapter, init_lora, lora_hook
from llmrec.data.tasks import Tasks, sample_windows
from llmrec.encoder.moved import MovedItems
from llmrec.encoder.slots import slots
from llmrec.encoder.users import batches, joined, prompt_reading, prompts, states, user_vectors

CLOSE = {"rtol": 1e-4, "atol": 1e-4}


@pytest.fixture
def tasks(random_shop) -> Tasks:
    return sample_windows(random_shop, np.arange(20), (1, 5), 1, 12, np.random.default_rng(0))


def random_adapter(model, upper: int, users: int) -> Adapter:
    generator = torch.Generator().manual_seed(0)
    start = init_lora(model.body.linear_paths(upper), 2, 1.0, generator)
    return start.expand(users).map(lambda tensor: 0.3 * torch.randn(tensor.shape, generator=generator))


@pytest.mark.parametrize("upper", [0, 1, 2])
def test_a_user_vector_is_the_last_state_of_the_whole_prompt(slot_model, tasks, upper):
    items = slot_model.items()
    found = user_vectors(slot_model, prompts(slot_model, items, tasks, 6, upper))
    for t in range(len(tasks)):
        batch = slots(tasks.take(np.array([t])), 6)
        whole = slot_model.body(slot_model.prompt(items, batch))
        torch.testing.assert_close(found[t], whole[0, len(slot_model.prefix_ids) + batch.length[0] - 1], **CLOSE)
    assert found.dtype == torch.float32 and not found.requires_grad


def test_no_vector_depends_on_its_neighbours(slot_model, tasks):
    items, adapter = slot_model.items(), random_adapter(slot_model, 1, len(tasks))
    together = user_vectors(slot_model, prompts(slot_model, items, tasks, 64, 1), lora_hook(adapter))
    for chosen in ([3], [5, 0], [11, 3, 7]):
        index = np.array(chosen)
        mine = lora_hook(adapter.take(torch.from_numpy(index)))
        some = user_vectors(slot_model, prompts(slot_model, items, tasks.take(index), 64, 1), mine)
        torch.testing.assert_close(some, together[chosen], **CLOSE)


def test_later_events_never_change_an_earlier_answer(slot_model, shop):
    """Histories that agree up to the split; what comes later differs, also in the next basket and for other users."""
    known = [[1, 2], [3], [1]]
    answers = []
    for later in ([[9]], [[4, 4, 4], [5]], [[0], [1], [2], [3]]):
        data = shop([known + later, later], 10)
        task = Tasks(data, np.array([0]), np.array([4]), np.array([4 + len(later[0])]))
        items = slot_model.items()
        made = prompts(slot_model, items, task, 64, 1)
        vectors = user_vectors(slot_model, made)
        answers.append((vectors, prompt_reading(slot_model, items, vectors, made.batch).table()))
    for vectors, scores in answers[1:]:
        assert torch.equal(vectors, answers[0][0])
        assert np.array_equal(scores, answers[0][1])


def test_the_last_events_are_the_ones_that_count(slot_model, shop):
    """With `most` = 3 the events before do not matter."""
    data = shop([[[7, 8], [1, 2, 3], [0]], [[1, 2, 3], [0]]], 10)
    data = replace(data, time=86_400.0 * np.array([0, 0, 1, 1, 1, 2, 1, 1, 1, 2]))  # the same days for both
    tasks = Tasks(data, np.array([0, 6]), np.array([5, 9]), np.array([6, 10]))
    items = slot_model.items()
    same = user_vectors(slot_model, prompts(slot_model, items, tasks, 3, 1))
    torch.testing.assert_close(same[0], same[1], **CLOSE)
    longer = user_vectors(slot_model, prompts(slot_model, items, tasks, 4, 1))
    assert (longer[0] - longer[1]).abs().max() > 1e-3


def test_scores_of_users_are_the_models_own(slot_model, tasks):
    items = slot_model.items()
    made = prompts(slot_model, items, tasks, 64, 1)
    found = prompt_reading(slot_model, items, user_vectors(slot_model, made), made.batch).table()
    every = np.arange(len(tasks))
    expected = slot_model.scores(states(slot_model, made), items, made.batch, every, made.batch.length - 1)
    np.testing.assert_allclose(found, expected.detach().numpy(), rtol=1e-4, atol=1e-4)
    assert found.dtype == np.float32


def test_moved_items_are_scored_by_their_new_vectors_and_all_others_as_before(slot_model, tasks):
    items, rng = slot_model.items(), np.random.default_rng(0)
    made = prompts(slot_model, items, tasks, 64, 1)
    plain = prompt_reading(slot_model, items, user_vectors(slot_model, made), made.batch)
    change = rng.normal(size=(2, items.vectors.shape[1])).astype(np.float32)
    moved = replace(plain, moved=MovedItems(np.array([3, 7]), lambda place: change[place]))
    there = items.vectors.clone()
    there[[3, 7]] += torch.from_numpy(change)
    expected = replace(plain, items=replace(items, vectors=there))
    task, item = np.array([0, 2, 2, 5, 1]), np.array([3, 7, 1, 3, len(items.bias) - 1])
    np.testing.assert_allclose(moved.scores(task, item), expected.scores(task, item), **CLOSE)
    both = joined([moved.take(np.array([4])), moved.take(np.array([1]))])
    every = np.arange(len(items.bias))
    np.testing.assert_allclose(both.scores(0 * every, every), expected.table()[4], **CLOSE)
    np.testing.assert_array_equal(both.table(), plain.table()[[4, 1]])  # as the index, by which the rest is ordered


def test_states_are_differentiable_in_the_adapter_and_lower_ones_in_nothing(slot_model, tasks):
    made = prompts(slot_model, slot_model.items(), tasks, 64, 1)
    assert not made.lower.requires_grad and made.n_adapted_blocks == 1
    adapter = random_adapter(slot_model, 1, len(tasks)).map(lambda tensor: tensor.requires_grad_())
    gradients = torch.autograd.grad(states(slot_model, made, lora_hook(adapter)).square().sum(), adapter.leaves())
    assert all((gradient != 0).any() for gradient in gradients)


def test_chunks_are_all_tasks_in_order(tasks):
    parts = list(batches(tasks, 5))
    assert [len(part) for part in parts] == [5, 5, 2]
    for name in ("start", "split", "stop"):
        assert np.array_equal(np.concatenate([getattr(part, name) for part in parts]), getattr(tasks, name))
    assert list(batches(tasks.take(np.zeros(0, np.int64)), 5)) == []
