"""A model over another catalogue: an item that it knows stays what it was, and a new one has its text alone."""

from __future__ import annotations

import numpy as np
import torch

from llmrec.encoder.catalogues import over
from llmrec.encoder.model import SlotModel


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
