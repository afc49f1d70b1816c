"""Laws of a language model's states about items."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from llmrec.encoder.backbone import load_text
from llmrec.encoder.weights import Weights
from llmrec.errors import WeightsError
from studies.ratings.memory import LAST, MEAN, WORDS, remember

TEXTS = ["red mug", "blue lamp large tent", "red mug", "soap", "green rope history of category"]


@pytest.fixture
def model(tiny_folders):
    return load_text(Weights.folder(tiny_folders["llama"]))


def test_a_text_is_the_same_alone_and_among_longer_ones(model):
    together = remember(model, TEXTS)
    for row, text in enumerate(TEXTS):
        alone = remember(model, [text])
        for name, values in together.items():
            np.testing.assert_allclose(values[row], alone[name][0], atol=1e-5)
    np.testing.assert_array_equal(together[LAST][0], together[LAST][2])
    assert not np.allclose(together[LAST][0], together[LAST][1], atol=1e-3)


def test_states_and_surprise_are_those_of_the_model(model):
    found = remember(model, TEXTS[1:2])
    ids = torch.tensor(model.tokenize(TEXTS[1:2], 96))
    with torch.inference_mode():
        out = model.model(input_ids=ids, output_hidden_states=True)
        deep = out.hidden_states[2][0]  # of 3 blocks: .73 of the depth
        logits = out.last_hidden_state[0] @ model.model.get_input_embeddings().weight.T
    np.testing.assert_allclose(found[LAST][0], deep[-1], atol=1e-5)
    np.testing.assert_allclose(found[MEAN][0], deep[1:].mean(0), atol=1e-5)
    loss = torch.nn.functional.cross_entropy(logits[:-1], ids[0, 1:], reduction="sum")
    np.testing.assert_allclose(found[WORDS][0, 1], loss, rtol=1e-5)
    np.testing.assert_allclose(found[WORDS][0, 0], loss / ids.shape[1], rtol=1e-5)


def test_what_is_kept_is_read_again(model, tmp_path, monkeypatch):
    first = remember(model, TEXTS, tmp_path)
    monkeypatch.setattr(type(model.model), "forward", None)
    again = remember(model, TEXTS, tmp_path)
    assert all(np.array_equal(first[name], again[name]) for name in (LAST, MEAN, WORDS))


def test_an_encoder_foretells_no_words(tiny_folders):
    with pytest.raises(WeightsError, match="got 'bert'"):
        remember(load_text(Weights.folder(tiny_folders["bert"])), TEXTS)
