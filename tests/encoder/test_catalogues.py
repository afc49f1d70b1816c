"""A model over another catalogue: an item that it knows stays what it was, and a new one has its text alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from llmrec.data.dataset import Dataset
from llmrec.data.tasks import first_baskets
from llmrec.encoder.catalogues import over
from llmrec.encoder.model import SlotModel
from llmrec.encoder.train import trainable
from llmrec.encoder.users import prompt_reading, prompts, user_vectors
from llmrec.errors import DataError


def scores(model: SlotModel, dataset: Dataset) -> np.ndarray:
    tasks, items = first_baskets(dataset, np.arange(dataset.n_users), 1, 1), model.items()
    made = prompts(model, items, tasks, 16, 1)
    return prompt_reading(model, items, user_vectors(model, made), made.batch).table()


def test_the_same_texts_get_the_same_vectors_and_scores_in_any_order(slot_model, random_shop):
    order = np.random.default_rng(0).permutation(random_shop.n_items)
    one, two = over(slot_model, slot_model.text), over(slot_model, slot_model.text[torch.from_numpy(order)])
    torch.testing.assert_close(two.items().vectors, one.items().vectors[torch.from_numpy(order)])
    place = np.argsort(order)
    moved = replace(random_shop, item=place[random_shop.item].astype(np.int32))
    np.testing.assert_allclose(scores(two, moved), scores(one, random_shop)[:, order], rtol=1e-4, atol=1e-5)


def test_items_that_are_not_known_are_their_texts_alone_and_nothing_of_an_item_is_trained(slot_model):
    made = over(slot_model, slot_model.text)
    items = made.items()
    torch.testing.assert_close(items.vectors, slot_model.project(slot_model.text))
    assert (items.bias == items.bias[0]).all() and (items.repeat == slot_model.repeat).all()
    assert not {name for name, _ in trainable(made)} & {"id_embedding", "bias", "repeat_delta"}


def test_texts_of_another_width_are_refused(slot_model):
    with pytest.raises(DataError, match=r"text: expected vectors of width 32, got shape \(3, 8\)"):
        over(slot_model, torch.zeros(3, 8))


def test_known_items_are_as_they_were_and_new_ones_their_text(slot_model):
    place = np.array([3, -1, 9, 0])  # 9 is in the catalogue, and was never trained on
    text = slot_model.text[[3, 5, 9, 0]]
    made, was = over(slot_model, text, place).items(), slot_model.items()
    for name in ("vectors", "bias", "repeat"):
        torch.testing.assert_close(getattr(made, name)[[0, 2, 3]], getattr(was, name)[[3, 9, 0]], rtol=0, atol=0)
    torch.testing.assert_close(made.vectors[1], slot_model.project(text)[1])
    assert made.bias[1] == slot_model.cold_bias and made.repeat[1] == slot_model.repeat
    assert not torch.equal(made.vectors[1], was.vectors[5])  # which knows more of it than its text


def test_over_its_own_catalogue_it_is_what_it_was_attributes_and_context_included(body, slot_model):
    model = SlotModel(body, slot_model.prefix_ids, slot_model.text, torch.ones(10), None, 2, n_user_attributes=3, n_context=2)
    made, was = over(model, model.text, np.arange(10)).state_dict(), model.state_dict()
    assert made.keys() == was.keys() and {"user_attributes.weight", "context.weight"} <= was.keys()
    assert all(torch.equal(made[name], values) for name, values in was.items())


def test_how_item_attributes_are_read_is_shared_and_what_they_are_is_given(body, new_slot_model, random_shop):
    made = new_slot_model(body, random_shop)
    blocks = torch.eye(10, 3)
    model = SlotModel(body, made.prefix_ids, made.text, torch.ones(10), item_blocks=blocks).eval()
    bare, told = over(model, model.text).items(), over(model, model.text, None, blocks.numpy()[::-1].copy()).items()
    assert over(model, model.text).item_attributes is model.item_attributes
    added = told.vectors - bare.vectors
    assert torch.allclose(added, model.item_attributes(blocks.flip(0)), atol=1e-6)
    assert added[-3:].norm(dim=1).min() > 0 == added[:7].abs().max()
    assert torch.allclose(model.items().vectors - bare.vectors, added.flip(0), atol=1e-6)  # nothing else differs
    assert "item_blocks" not in model.state_dict()
