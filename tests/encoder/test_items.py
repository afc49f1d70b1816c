from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch

from llmrec.data.dataset import Catalogue
from llmrec.data.ids import Ids
from llmrec.encoder import items
from llmrec.encoder.backbone import TextModel, load_text
from llmrec.encoder.items import Centring, catalogue_vectors, encode_texts, fingerprint, item_texts
from llmrec.encoder.weights import Weights
from llmrec.errors import TemplateError
from llmrec.prompts import Template

TEXTS = ["red mug", "large blue tent of rope", "soap", "red mug", "green lamp : small", "soap"]
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture
def model(tiny_weights) -> TextModel:
    return load_text(tiny_weights)


class Spy(TextModel):
    """Counts the rows that are sent through the transformer."""

    def __init__(self, model: TextModel):
        super().__init__(model.model, model.tokenizer)
        self.rows: list[list[int]] = []

    def pool(self, rows: list[list[int]]) -> torch.Tensor:
        self.rows += rows
        return super().pool(rows)


def test_vectors_are_those_of_each_text_alone_in_the_order_given(model):
    found = encode_texts(model, TEXTS)
    assert found.shape == (6, model.width) and found.dtype == np.float32
    for text, vector in zip(TEXTS, found, strict=True):
        np.testing.assert_allclose(vector, model.pool(model.tokenize([text], 64))[0].numpy(), **CLOSE)


def test_equal_texts_have_equal_vectors_and_are_read_once(model):
    spy = Spy(model)
    found = encode_texts(spy, TEXTS)
    assert np.array_equal(found[0], found[3]) and np.array_equal(found[2], found[5])
    assert len(spy.rows) == 4


def test_neither_order_nor_batches_matter(model, monkeypatch):
    found = encode_texts(model, TEXTS)
    order = [5, 2, 0, 1, 3, 4]
    np.testing.assert_allclose(encode_texts(model, [TEXTS[i] for i in order]), found[order], **CLOSE)
    for tokens in (1, 7, 13):
        monkeypatch.setattr(items, "TOKENS_A_BATCH", tokens)
        np.testing.assert_allclose(encode_texts(model, TEXTS), found, **CLOSE)


def test_no_batch_is_larger_than_it_may_be(model, monkeypatch):
    monkeypatch.setattr(items, "TOKENS_A_BATCH", 16)
    sizes = []

    class Watch(TextModel):
        def pool(self, rows: list[list[int]]) -> torch.Tensor:
            sizes.append(len(rows) * max(map(len, rows)))
            return super().pool(rows)

    encode_texts(Watch(model.model, model.tokenizer), [" ".join(["red"] * n) for n in range(1, 9)])
    assert len(sizes) > 2 and max(sizes) <= 16


def test_no_texts(model):
    assert encode_texts(model, []).shape == (0, model.width)


# ------------------------------------------------------------------------------------------------------------ cache


def test_the_second_time_nothing_is_read(model, tmp_path):
    first, second = Spy(model), Spy(model)
    made = encode_texts(first, TEXTS, tmp_path)
    again = encode_texts(second, TEXTS, tmp_path)
    assert np.array_equal(made, again) and again.dtype == np.float32
    assert len(first.rows) == 4 and second.rows == []


def test_other_texts_another_order_or_another_model_are_other_entries(model, tmp_path):
    encode_texts(model, TEXTS, tmp_path)
    for other in (TEXTS[:5], TEXTS[::-1], [*TEXTS[:5], "soap mug"]):
        spy = Spy(model)
        np.testing.assert_allclose(encode_texts(spy, other, tmp_path), encode_texts(model, other), **CLOSE)
        assert spy.rows
    with torch.no_grad():
        model.model.get_input_embeddings().weight[7] += 1.0
    spy = Spy(model)
    assert np.array_equal(encode_texts(spy, TEXTS, tmp_path), encode_texts(model, TEXTS))
    assert spy.rows


def test_texts_that_run_together_are_other_texts(model, tmp_path):
    encode_texts(model, ["red\0mug"], tmp_path)
    assert len(encode_texts(model, ["red", "mug"], tmp_path)) == 2


def test_another_cut_is_another_entry(model, tmp_path, monkeypatch):
    whole = encode_texts(model, TEXTS, tmp_path)
    monkeypatch.setattr(items, "MAX_TOKENS", 3)
    assert not np.allclose(encode_texts(model, TEXTS, tmp_path), whole)


def test_another_tokenizer_is_another_entry(model, tmp_path):
    encode_texts(model, TEXTS, tmp_path)

    class Backwards(TextModel):
        def tokenize(self, texts: list[str], max_tokens: int) -> list[list[int]]:
            return [row[::-1] for row in super().tokenize(texts, max_tokens)]

    other = Backwards(model.model, model.tokenizer)
    assert np.array_equal(encode_texts(other, TEXTS, tmp_path), encode_texts(other, TEXTS))


@pytest.mark.parametrize("damage", ["changed", "cut", "gone", "manifest", "manifest gone", "more"])
def test_a_damaged_entry_is_made_again(model, tmp_path, damage):
    made = encode_texts(model, TEXTS, tmp_path)
    (manifest,) = tmp_path.rglob("manifest.json")
    file = manifest.parent / "vectors.safetensors"
    if damage == "changed":
        file.write_bytes(file.read_bytes()[:-1] + b"\x55")
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:-10])
    elif damage == "gone":
        file.unlink()
    elif damage == "manifest":
        manifest.write_text("{}")
    elif damage == "manifest gone":
        manifest.unlink()
    else:
        (manifest.parent / "more").write_text("more")
    spy = Spy(model)
    assert np.array_equal(encode_texts(spy, TEXTS, tmp_path), made)
    assert len(spy.rows) == 4
    spy.rows.clear()
    assert np.array_equal(encode_texts(spy, TEXTS, tmp_path), made)  # and it is whole again
    assert spy.rows == []


# --------------------------------------------------------------------------------------------------- texts, centring


def test_texts_of_a_catalogue(shop):
    catalogue = shop([[[0], [1]]], ["red mug", "blue  lamp"]).catalogue
    head = "---\nname: mine\nversion: 1\nlanguage: en\ntask: item\nvariables: "
    of = Template(
        head + "[title, category]\noptional: [category]\n---\n{{ title }}{% if category %} of {{ category }}{% endif %}"
    )
    assert item_texts(catalogue, of) == ["red mug", "blue lamp"]
    with pytest.raises(TemplateError, match="'colour'"):
        item_texts(catalogue, Template(head + "[colour]\n---\n{{ colour }}"))


def test_centring():
    rng = np.random.default_rng(0)
    raw = (rng.normal(size=(50, 8)) + 5).astype(np.float32)
    found = Centring(raw.mean(0))(raw)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, rtol=1e-5)
    for row, unit in zip(raw, found, strict=True):
        gap = row - raw.mean(0)
        np.testing.assert_allclose(unit, gap / np.linalg.norm(gap), rtol=1e-4, atol=1e-5)
    before = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    assert (before @ before.T).mean() > 0.9 > 0.1 > abs((found @ found.T).mean())


def test_centring_takes_the_mean_it_was_fitted_on_off_new_items():
    raw = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
    centring = Centring(raw.mean(0))
    assert np.array_equal(centring(raw[:2]), centring(raw)[:2])
    shifted = Centring(raw.mean(0) + 3)(raw + 3)
    np.testing.assert_allclose(shifted, centring(raw), rtol=1e-4, atol=1e-5)


def test_a_text_that_is_the_mean_is_zero_and_no_nan():
    raw = np.ones((1, 4), np.float32)
    assert Centring(raw[0])(raw).tolist() == [[0, 0, 0, 0]]


def test_a_catalogues_vectors_are_its_texts_vectors_centred(model, tmp_path):
    table = pa.table({"title": ["red mug", "blue lamp", "soap"], "category": ["mug", None, "mug"]})
    catalogue = Catalogue(Ids(["a", "b", "c"]), table)
    vectors, centring = catalogue_vectors(model, catalogue, cache=tmp_path)
    raw = encode_texts(model, ["red mug\nmug", "blue lamp", "soap\nmug"])
    np.testing.assert_allclose(vectors, Centring(raw.mean(0))(raw), atol=1e-5)
    np.testing.assert_allclose(centring.mean, raw.mean(0), atol=1e-5)
    assert (tmp_path / "texts").is_dir()


def test_a_fingerprint_is_of_the_weights(tiny_folders):
    one, same, other = (load_text(Weights.folder(tiny_folders[family])) for family in ("bert", "bert", "llama"))
    assert fingerprint(one) == fingerprint(same) != fingerprint(other)
    with torch.no_grad():
        next(same.model.parameters()).view(-1)[0] += 1e-3
    assert fingerprint(one) != fingerprint(same)
