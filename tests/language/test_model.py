"""Loading language models, and what LoRA may adapt in them."""

from __future__ import annotations

import json
import re
import shutil

import pytest
import torch
from language_models import FAMILIES, write_tiny

from llmrec import Weights
from llmrec.errors import DataError, WeightsError
from llmrec.language.families import ATTENTION, FEED_FORWARD, lora_targets
from llmrec.language.families import FAMILIES as KNOWN
from llmrec.language.model import load_language_model
from llmrec.language.packed import log_likelihoods, read_prefix


@pytest.fixture
def folder(tiny_folders, tmp_path):
    return write_tiny("qwen3", tiny_folders["llama"], tmp_path)


def test_a_folder_is_loaded_frozen_in_the_type_that_is_asked_for(folder, monkeypatch):
    plain, half = load_language_model(folder), load_language_model(Weights.folder(folder), torch.bfloat16)
    assert (plain.dtype, half.dtype) == (torch.float32, torch.bfloat16) and plain.device == torch.device("cpu")
    assert not plain.model.training and not any(part.requires_grad for part in plain.model.parameters())
    found = [log_likelihoods(one, read_prefix(one, [1, 2, 3]), [[4, 5], [6]]) for one in (plain, half)]
    assert found[1].dtype == torch.float32
    torch.testing.assert_close(*found, rtol=0.05, atol=0.05)
    monkeypatch.setattr("llmrec.language.model.faster_dtype", lambda device: torch.bfloat16)
    assert load_language_model(folder, None).dtype == torch.bfloat16


def test_a_device_that_is_not_there_is_refused(folder):
    with pytest.raises(DataError, match="device: 'abacus' cannot be used here.*llmrec doctor"):
        load_language_model(folder, device="abacus")


def test_text_becomes_tokens_and_special_tokens_in_it_stay_text(folder):
    model = load_language_model(str(folder))
    start, words = model.start("red mug"), model.words(" red mug")
    assert start == [1, *words] and len(words) == 2
    assert 1 not in model.words("mug <s> rope") and model.start("mug <s> rope").count(1) == 1


def test_what_is_no_language_model_is_refused(tiny_folders, folder, tmp_path):
    with pytest.raises(WeightsError, match="is a 'bert' model; expected one of gemma3_text, llama"):
        load_language_model(tiny_folders["bert"])
    with pytest.raises(WeightsError, match="lacks 1 tensors, such as 'lm_head.weight'"):
        load_language_model(tiny_folders["llama"])  # a body without its head
    with pytest.raises(WeightsError, match=r"expected a folder with config\.json"):
        load_language_model(tmp_path / "nowhere")
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(folder / name, bare)
    with pytest.raises(WeightsError, match="token"):
        load_language_model(bare)


@pytest.mark.parametrize(
    "changed", [{"num_attention_heads": 7}, {"hidden_size": 64}, {"hidden_act": "gone"}, {"hidden_size": "wide"}]
)
def test_a_damaged_configuration_is_an_error_that_names_the_folder(folder, changed):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changed))
    with pytest.raises(WeightsError, match=f"from '{re.escape(str(folder))}'"):
        load_language_model(folder)


@pytest.mark.parametrize("family", FAMILIES)
def test_lora_targets_are_the_linear_layers_of_the_blocks(tiny_model, family):
    model = tiny_model(family)
    found = lora_targets(model.model, model.family)
    assert len(found) == 3 * 7  # q, k, v, o; gate, up, down
    for path, (d_in, d_out) in found.items():
        module = model.model.get_submodule(path)
        assert isinstance(module, torch.nn.Linear) and tuple(module.weight.shape) == (d_out, d_in)
    assert "lm_head" not in found
    top = lora_targets(model.model, model.family, 1, [ATTENTION])
    assert len(top) == 4 and all(path.startswith("model.layers.2.self_attn.") for path in top)
    assert lora_targets(model.model, model.family, 0) == {}
    assert len(lora_targets(model.model, model.family, 9, [FEED_FORWARD])) == 9


def test_every_family_has_its_name_once():
    names = [family.model_type for family in KNOWN]
    assert len(set(names)) == len(names) and set(FAMILIES) < set(names)
