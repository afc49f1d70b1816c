"""States of a language model about items: read once, whatever stands beside them, and kept by model and text."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from language_models import FAMILIES, write_tiny

from llmrec.errors import DataError, TemplateError, WeightsError
from llmrec.language import knowledge
from llmrec.language.knowledge import item_states, read_states
from llmrec.language.model import load_language_model
from llmrec.prompts import Template, load_template, packaged_templates

TEXTS = ["red mug", "blue rope", "red", "small green lamp tent rope mug soap red blue large", "green lamp"]
ITEMS = pd.DataFrame({"title": TEXTS, "category": ["mug", None, "lamp", None, "mug"]}, index=[7, 7, 1, 0, 3])

ENDS = {
    "knowledge": "is remembered today as",
    "knowledge_zh": "如今被人们记住的是",
    "knowledge_audience": "are mostly",
    "knowledge_audience_zh": "的人大多是",
    "knowledge_occasion": "is mostly used when",
    "knowledge_occasion_zh": "最常用于",
    "knowledge_goes_with": "also bought",
    "knowledge_goes_with_zh": "的顾客还购买了",
}


@pytest.fixture(scope="module")
def folder(tiny_folders, tmp_path_factory) -> Path:
    return write_tiny("llama", tiny_folders["llama"], tmp_path_factory.mktemp("speaker"))


@pytest.fixture
def loads(monkeypatch) -> list[object]:
    """Grows by one each time the model is loaded."""
    found: list[object] = []
    real = knowledge.load_language_model
    monkeypatch.setattr(knowledge, "load_language_model", lambda *args, **more: found.append(args) or real(*args, **more))
    return found


@pytest.mark.parametrize("family", [*FAMILIES, "mistral", "qwen2"])
@pytest.mark.parametrize("tokens", [8, 2048])
def test_a_text_has_the_state_of_the_models_own_blocks_whatever_stands_beside_it(tiny_model, family, tokens, monkeypatch):
    model = tiny_model(family)
    monkeypatch.setattr(knowledge, "TOKENS", tokens)
    monkeypatch.setattr(knowledge, "KEPT_TOGETHER", 3)
    found = np.zeros((len(TEXTS), model.width), np.float32)
    for some, states in read_states(model, TEXTS):
        found[some] = states
    for text, state in zip(TEXTS, found, strict=True):
        with torch.no_grad():
            own = model.model(input_ids=torch.tensor([model.start(text)]), output_hidden_states=True).hidden_states
        assert len(own) == 4  # of three blocks two are read
        np.testing.assert_allclose(state, own[2][0, -1].numpy(), rtol=1e-4, atol=1e-4)
    assert len(model.model.model.layers) == 3 == model.model.config.num_hidden_layers  # it is left as it was


def test_what_was_read_comes_back_to_the_bit_without_the_model(folder, tmp_path, loads):
    first = item_states(folder, ITEMS, cache=tmp_path)
    again = item_states(folder, ITEMS.iloc[::-1], cache=tmp_path)
    assert len(loads) == 1 and first.shape == (5, 32) and first.dtype == np.float32
    np.testing.assert_array_equal(again, first[::-1])
    more = pd.concat([ITEMS, pd.DataFrame({"title": ["soap"]})])
    np.testing.assert_array_equal(item_states(folder, more, cache=tmp_path)[:5], first)
    assert len(loads) == 2 and sum(1 for _ in (tmp_path / "knowledge").glob("*/*/states.safetensors")) == 2


def test_other_words_and_another_model_are_read_anew(folder, tmp_path, loads, tiny_folders):
    first = item_states(folder, ITEMS, cache=tmp_path)
    text = load_template("knowledge").text
    for template in (Template(text.replace("remembered", "red")), "knowledge_zh"):
        assert not np.allclose(item_states(folder, ITEMS, template, tmp_path), first, atol=1e-3)
    assert len(loads) == 3
    other = tmp_path / "other"
    other.mkdir()
    write_tiny("qwen3", tiny_folders["llama"], other)
    assert not np.allclose(item_states(other, ITEMS, cache=tmp_path), first, atol=1e-3)
    assert len(loads) == 4
    copied = tmp_path / "copied"
    shutil.copytree(folder, copied)
    np.testing.assert_array_equal(item_states(copied, ITEMS, cache=tmp_path), first)  # where it lies has no say
    assert len(loads) == 4


@pytest.mark.parametrize("name", ENDS)
def test_a_template_by_its_name_gives_the_states_of_its_sentences(folder, tmp_path, name):
    texts = load_template(name).render_columns({"title": TEXTS, "category": ITEMS["category"].tolist()})
    wanted = np.zeros((len(TEXTS), 32), np.float32)
    for some, states in read_states(load_language_model(folder), texts):
        wanted[some] = states
    np.testing.assert_allclose(item_states(folder, ITEMS, name, tmp_path), wanted, rtol=1e-5, atol=1e-5)


def test_a_damaged_entry_is_read_anew(folder, tmp_path, loads):
    first = item_states(folder, ITEMS, cache=tmp_path)
    file = next((tmp_path / "knowledge").glob("*/*/states.safetensors"))
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)
    np.testing.assert_allclose(item_states(folder, ITEMS, cache=tmp_path), first, rtol=1e-6)
    assert len(loads) == 2


def test_the_sentence_ends_where_the_model_goes_on():
    assert set(ENDS) == {name for name in packaged_templates() if load_template(name).header.task == "knowledge"}
    for name, end in ENDS.items():
        template = load_template(name)
        assert template.header.task == "knowledge"
        for values in ({"title": "red mug"}, {"title": "red mug", "category": "mugs"}):
            assert template.render(values).endswith(end)
    assert load_template("knowledge").render({"title": "red mug", "category": "mugs"}) == (
        '"red mug" (mugs) is remembered today as'
    )


def test_what_cannot_be_read_is_named(folder, tmp_path):
    with pytest.raises(DataError, match="items: expected at least one row"):
        item_states(folder, {"title": []}, cache=tmp_path)
    with pytest.raises(TemplateError, match="no value for 'title'"):
        item_states(folder, {"name": ["mug"]}, cache=tmp_path)
    with pytest.raises(WeightsError, match="no model in"):
        item_states(tmp_path, {"title": ["mug"]}, cache=tmp_path)
    shutil.copy(folder / "config.json", tmp_path)
    with pytest.raises(WeightsError, match="expected a model in safetensors"):
        item_states(tmp_path, {"title": ["mug"]}, cache=tmp_path)


def test_states_are_read_in_the_faster_type_and_kept_apart_from_others(folder, loads, tmp_path, monkeypatch):
    items = pd.DataFrame({"title": ["red mug", "blue rope"]})
    plain = item_states(folder, items, cache=tmp_path)
    monkeypatch.setattr(knowledge, "faster_dtype", lambda device: torch.bfloat16)
    fast = item_states(folder, items, cache=tmp_path)
    assert len(loads) == 2 and not (plain == fast).all()
    np.testing.assert_allclose(plain, fast, atol=0.05 * np.abs(plain).max())
    np.testing.assert_array_equal(item_states(folder, items, cache=tmp_path, dtype=torch.float32), plain)
    assert len(loads) == 2  # both are in the cache
