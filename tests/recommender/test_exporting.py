"""What is exported: vectors that give the recommender's own similar items, its lists, and an encoder in the layout of
sentence-transformers. The layout is read here by a reference of transformers and torch alone; the real one reads it where it is
installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer

from llmrec import Recommender, Weights
from llmrec.encoder.backbone import load_text
from llmrec.encoder.items import Centring, encode_texts, item_texts
from llmrec.encoder.sentence_folder import save_sentence_transformer
from llmrec.errors import ArtefactError, DataError, WeightsError
from llmrec.prompts import load_template

TEXTS = ["red mug", "large\ntent", "", "blue rope " * 60, "soap"]


class Reference:
    """A folder as sentence-transformers reads it: its modules in the order of `modules.json`."""

    def __init__(self, folder: Path):
        self.modules = [
            (one["type"].rpartition(".")[2], folder / one["path"]) for one in json.loads((folder / "modules.json").read_text())
        ]

    def encode(self, texts: list[str]) -> np.ndarray:
        found: Any = texts
        with torch.no_grad():
            for kind, folder in self.modules:
                found = getattr(self, kind)(folder, found)
        return found.numpy()

    def Transformer(self, folder, texts):
        reads = json.loads((folder / "sentence_bert_config.json").read_text())
        model = AutoModel.from_pretrained(folder, **reads.get("model_args", {})).eval()
        tokens = AutoTokenizer.from_pretrained(folder)(
            [text.strip() for text in texts],
            padding=True,
            truncation="longest_first",
            max_length=reads["max_seq_length"],
            return_tensors="pt",
        )
        mask = tokens["attention_mask"]
        return model(input_ids=tokens["input_ids"], attention_mask=mask).last_hidden_state, mask

    def Pooling(self, folder, found):
        config = json.loads((folder / "config.json").read_text())
        assert [name for name, value in config.items() if value is True] == ["pooling_mode_mean_tokens"]
        states, mask = found
        assert states.shape[-1] == config["word_embedding_dimension"]
        return (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1e-9)

    def Dense(self, folder, vectors):
        config, weights = json.loads((folder / "config.json").read_text()), load_file(folder / "model.safetensors")
        assert config["activation_function"] == "torch.nn.modules.linear.Identity"
        return torch.nn.functional.linear(vectors, weights["linear.weight"], weights["linear.bias"])

    def Normalize(self, folder, vectors):
        return torch.nn.functional.normalize(vectors, dim=-1)


@pytest.fixture
def encoder(tiny_weights, exact, tmp_path):
    """A folder of each family of models, and what the texts are by our own functions."""
    model = load_text(tiny_weights)
    raw = encode_texts(model, TEXTS)
    centre = Centring(raw.mean(0))
    save_sentence_transformer(tmp_path, model, centre)
    return tmp_path, centre(raw)


def test_the_layout_gives_equal_vectors(encoder):
    folder, expected = encoder
    np.testing.assert_allclose(Reference(folder).encode(TEXTS), expected, atol=1e-5)


@pytest.mark.slow
def test_sentence_transformers_loads_it_with_equal_vectors(encoder):
    library = pytest.importorskip("sentence_transformers")
    folder, expected = encoder
    np.testing.assert_allclose(library.SentenceTransformer(str(folder), device="cpu").encode(TEXTS), expected, atol=1e-5)


def vectors_of(file: Path) -> tuple[list, np.ndarray]:
    table = pq.read_table(file)
    assert pa.types.is_fixed_size_list(table.schema.field("vector").type)
    assert table.schema.field("vector").type.value_type == pa.float32()
    return table.column("item_id").to_pylist(), np.stack(table.column("vector").to_numpy())


def test_what_is_exported_is_what_the_recommender_answers_by(fitted, world, tmp_path):
    fitted.export(tmp_path / "out", k=4)
    ids, vectors = vectors_of(tmp_path / "out" / "vectors.parquet")
    assert ids == world.ids
    np.testing.assert_array_equal(vectors, fitted.state.items.vectors.numpy())
    lists = pd.DataFrame(pq.read_table(tmp_path / "out" / "similar_items.parquet").to_pylist())
    pd.testing.assert_frame_equal(lists, pd.DataFrame(fitted.similar_items(world.ids, k=4)), check_dtype=False)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    pairs = zip(lists["item_id"], lists["similar_item_id"], strict=True)
    cosine = [unit[ids.index(one)] @ unit[ids.index(other)] for one, other in pairs]
    np.testing.assert_allclose(lists["score"], cosine, atol=1e-5)

    ids, texts = vectors_of(tmp_path / "out" / "text_vectors.parquet")
    rendered = item_texts(fitted.state.catalogue, load_template("item"))
    np.testing.assert_allclose(Reference(tmp_path / "out" / "encoder").encode(rendered), texts, atol=1e-5)
    np.testing.assert_array_equal(texts, fitted.state.model.text.numpy())
    assert "{{ title }}" in (tmp_path / "out" / "encoder" / "README.md").read_text()


def test_lists_are_written_in_parts(fitted, world, tmp_path, monkeypatch):
    fitted.export(tmp_path / "whole", vectors=False, encoder=False, k=50)
    monkeypatch.setattr("llmrec.recommender.exporting._ITEMS", 7)
    fitted.export(tmp_path / "parts", vectors=False, encoder=False, k=50)
    whole, parts = (pq.read_table(tmp_path / name / "similar_items.parquet") for name in ("whole", "parts"))
    assert whole == parts and len(whole) == len(world.ids) * (len(world.ids) - 1)
    assert sorted(file.name for file in (tmp_path / "parts").iterdir()) == ["manifest.json", "similar_items.parquet"]


def test_what_cannot_be_exported_is_named(fitted, tiny_folders, world, tmp_path):
    fitted.save_pretrained(tmp_path / "shop")
    with pytest.raises(ArtefactError, match='expected nothing, or an older "export" to replace, got "recommender"'):
        fitted.export(tmp_path / "shop")
    assert len(Recommender.from_pretrained(tmp_path / "shop").state.catalogue) == len(world.ids)
    with pytest.raises(DataError, match="expected vectors, lists or encoder, got none"):
        fitted.export(tmp_path / "out", vectors=False, lists=False, encoder=False)
    with pytest.raises(DataError, match="k is 0"):
        fitted.export(tmp_path / "out", k=0)
    other = Recommender.from_pretrained(tmp_path / "shop")
    other.weights = Weights.folder(tiny_folders["llama"])
    with pytest.raises(WeightsError, match="expected the text encoder that the recommender was fitted with"):
        other.export(tmp_path / "out")
    assert not (tmp_path / "out").exists()
    other.export(tmp_path / "out", encoder=False)
    other.export(tmp_path / "out", encoder=False, vectors=False)  # an older export is replaced
    assert not (tmp_path / "out" / "vectors.parquet").exists()
