"""A model over another catalogue: an item that it knows stays what it was, and a new one has its text alone."""

from __future__ import annotations

import numpy as np
import torch

from llmrec.encoder.catalogues import over


def test_known_items_are_as_they_were_and_new_ones_their_text(slot_model):
    place = np.array([3, -1, 9, 0])  # 9 is in the catalogue, and was never trained on
    text = slot_model.text[[3, 5, 9, 0]]
    made, was = over(slot_model, text, place).items(), slot_model.items()
    for name in ("vectors", "bias", "repeat"):
        torch.testing.assert_close(getattr(made, name)[[0, 2, 3]], getattr(was, name)[[3, 9, 0]], rtol=0, atol=0)
    torch.testing.assert_close(made.vectors[1], slot_model.project(text)[1])
    assert made.bias[1] == slot_model.cold_bias and made.repeat[1] == slot_model.repeat
    assert not torch.equal(made.vectors[1], was.vectors[5])  # which knows more of it than its text
