"""Attributes in the prompt: they say what a user takes first, and a model without them is what it was."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

from llmrec.data.attributes import encode, learn_encoding
from llmrec.data.tasks import first_baskets, sample_windows, without_history
from llmrec.encoder.model import SlotModel
from llmrec.encoder.slots import basket_readouts, slots
from llmrec.encoder.train import n_readouts, train, window_loss
from llmrec.encoder.users import prompt_reading, prompts, user_vectors


@pytest.fixture(scope="module")
def told(two_groups):
    """The even users are of the north, the odd ones of the south; age says nothing."""
    age = np.random.default_rng(0).normal(size=60)
    table = pa.table({"country": [("north", "south")[user % 2] for user in range(60)], "age": age})
    return replace(two_groups, user_attributes=encode(learn_encoding(table, "users")[0], table, "users")[0])


def with_attributes(made: SlotModel, body, width: int) -> SlotModel:
    """The model over the same catalogue, made with attributes."""
    with torch.random.fork_rng():
        torch.manual_seed(4)
        popularity = torch.full((len(made.text),), 30.0)
        return SlotModel(body, made.prefix_ids, made.text, popularity, made.time_quantiles, 0, width)


def scores(model: SlotModel, tasks) -> np.ndarray:
    made, items = prompts(model, model.items(), tasks, 16, 1), model.items()
    return prompt_reading(model, items, user_vectors(model, made), made.batch).table()


@pytest.mark.slow
def test_a_user_without_events_is_read_by_attributes(body, told, new_slot_model, plan):
    model = with_attributes(new_slot_model(body, told, moved=False), body, told.user_attributes.encoding.width)
    train(model, told, np.arange(40), plan, np.random.default_rng(0))
    given = told.user_attributes.take(np.arange(40, 60))
    tasks = without_history(told, given)
    found = scores(model, tasks)
    assert (found.argsort(1)[:, -4:] // 6 == (np.arange(20) % 2)[:, None]).all()
    swapped = scores(model, replace(tasks, user_attributes=given.take(np.roll(np.arange(20), 1))))
    assert (swapped.argsort(1)[:, -4:] // 6 == (1 - np.arange(20) % 2)[:, None]).all()
    alone = scores(model, tasks.take(np.array([7])))
    assert np.allclose(alone[0], found[7], atol=1e-4)
    known = first_baskets(told, np.arange(40, 60), 0, 2)  # the same users, whose later events are there to be read
    assert np.allclose(scores(model, known), found, atol=1e-4)
    hidden = replace(tasks, user_attributes=given.hide(np.ones(given.codes.shape, bool)))
    none = scores(model, replace(tasks, user_attributes=None))
    assert np.array_equal(scores(model, hidden), none) and np.ptp(none, axis=0).max() < 1e-4


def test_a_model_without_attributes_reads_none_and_draws_as_before(body, told, new_slot_model, plan):
    bare = replace(told, user_attributes=None)
    found = []
    for data in (told, bare):
        model = new_slot_model(copy.deepcopy(body), data, moved=False)
        tasks = sample_windows(data, np.arange(60), (1, 3), 2, 12, np.random.default_rng(0))
        found.append(window_loss(model, model.items(), tasks, plan).item())
    assert found[0] == found[1] and "user_attributes.weight" not in dict(model.named_parameters())


def test_a_history_that_begins_predicts_its_first_baskets(random_shop):
    """Against a loop: the distinct items of the first `horizon` baskets, where the prompt holds the user's first event."""
    tasks = sample_windows(random_shop, np.arange(20), (1, 4), 2, 40, np.random.default_rng(1), 0.5)
    for most in (64, 3):
        batch = slots(tasks, most)
        reads = basket_readouts(tasks, batch, 2, beginnings=True)
        wanted = {}
        for t in range(len(tasks)):
            user = tasks.user[t]
            first = int(random_shop.start[user])
            if tasks.start[t] == first and tasks.split[t] - tasks.start[t] <= most:
                events = np.arange(first, tasks.stop[t])
                wanted[t] = set(random_shop.item[events[random_shop.basket[events] < 2]].tolist())
        found = {int(reads.task[i]): set(reads.target[reads.owner == i].tolist()) for i in np.flatnonzero(reads.slot == -1)}
        counted = random_shop.sample_weight is None
        assert found.keys() == wanted.keys() and (not counted or found == wanted)
        assert all(found[t] <= wanted[t] for t in found)
        assert n_readouts(tasks, most, True) == len(reads) and n_readouts(tasks, most) == len(basket_readouts(tasks, batch, 2))
