"""An adapted ranker in a folder: the same scores after loading, and what is missing is named."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from language_models import tiny
from meanwhile import saves_meanwhile

from llmrec.adapters.language_adapter import LanguageAdapter, start_lora
from llmrec.adapters.language_folder import adapter_hash, load_language_adapter
from llmrec.adapters.linear_head import LinearHead, load_linear_head, save_linear_head
from llmrec.adapters.lora import Adapter
from llmrec.adapters.peft_format import load_adapter
from llmrec.adapters.soft_prompt import soft_prompt
from llmrec.data.splits import leave_last_out
from llmrec.errors import AdapterError, ArtefactError, WeightsError
from llmrec.index.candidates import POPULAR, Candidates
from llmrec.language.model import LanguageModel
from llmrec.prompts import load_template
from llmrec.ranking import saved_llm_ranker
from llmrec.ranking.llm_ranker import LLMRanker
from llmrec.ranking.saved_llm_ranker import load_llm_ranker, save_llm_ranker


@pytest.fixture(scope="module")
def model(tiny_folders, tmp_path_factory):
    return tiny("llama", tiny_folders["llama"], tmp_path_factory.mktemp("llama"))


@pytest.mark.parametrize("kind", ["lora", "soft prompt", "both", "head", "all"])
def test_scores_are_the_same_after_loading(model, random_shop, kind, tmp_path):
    lora = start_lora(model, 2, 2.0, 2, torch.Generator().manual_seed(0), 0.5)
    prompt, head = soft_prompt(model, "red mug", 3), LinearHead(torch.linspace(-1, 1, model.width)[None])
    adapter = {
        "lora": LanguageAdapter(lora),
        "soft prompt": LanguageAdapter(None, prompt),
        "both": LanguageAdapter(lora, prompt),
        "head": LanguageAdapter(head=head),
        "all": LanguageAdapter(lora, prompt, head),
    }[kind]
    ranker = LLMRanker(model, load_template("next_zh"), 2, adapter)
    save_llm_ranker(tmp_path / "ranker", ranker)
    loaded = load_llm_ranker(tmp_path / "ranker", model)
    tasks = leave_last_out(random_shop).test
    count, items = len(tasks), random_shop.n_items
    everything = np.tile(np.arange(items, dtype=np.int32), count)
    found = Candidates(np.arange(count + 1) * items, everything, np.full(count * items, POPULAR, np.uint8))
    np.testing.assert_array_equal(loaded.score(tasks, found), ranker.score(tasks, found))
    assert (loaded.template.text, loaded.max_history) == (ranker.template.text, 2)
    if adapter.lora is not None:
        assert all(map(torch.equal, load_adapter(tmp_path / "ranker" / "lora", model).leaves(), lora.leaves()))


def chatting(model, end: str) -> LanguageModel:
    """The same model with a tokenizer of a chat."""
    found = LanguageModel(model.model, copy.deepcopy(model.tokenizer))
    found.tokenizer.add_special_tokens({"additional_special_tokens": ["<end>", "<model>"]})
    found.tokenizer.chat_template = "{% for one in messages %}{{ one['content'] }}" + end + "{% endfor %}"
    return found


def test_a_chat_stays_the_same_one(model, tmp_path):
    lora, end = start_lora(model, 2, 2.0, 2, torch.Generator().manual_seed(0), 0.5), "<end>"
    save_llm_ranker(tmp_path / "ranker", LLMRanker(chatting(model, end), adapter=LanguageAdapter(lora), chat=True))
    assert load_llm_ranker(tmp_path / "ranker", chatting(model, end)).chat
    with pytest.raises(WeightsError, match="chat template"):
        load_llm_ranker(tmp_path / "ranker", model)
    with pytest.raises(AdapterError, match="expected the chat template that it was trained with"):
        load_llm_ranker(tmp_path / "ranker", chatting(model, f"{end}<model>"))


def test_an_older_adapter_in_the_folder_goes(model, tmp_path):
    lora, prompt = start_lora(model, 2, 2.0, 2, torch.Generator().manual_seed(0), 0.5), soft_prompt(model, "red mug", 3)
    save_llm_ranker(tmp_path / "ranker", LLMRanker(model, load_template("like"), adapter=LanguageAdapter(lora)))
    save_llm_ranker(tmp_path / "ranker", LLMRanker(model, adapter=LanguageAdapter(None, prompt)))
    loaded = load_llm_ranker(tmp_path / "ranker", model)
    assert loaded.adapter.lora is None and loaded.template.header.name == "next"


def test_a_save_by_another_process_in_the_middle_of_loading_gives_that_one_as_a_whole(model, tmp_path, monkeypatch):
    lora, prompt = start_lora(model, 2, 2.0, 2, torch.Generator().manual_seed(0), 0.5), soft_prompt(model, "red mug", 3)
    one = LLMRanker(model, load_template("like"), 5, adapter=LanguageAdapter(lora))
    other = LLMRanker(model, load_template("next"), 3, adapter=LanguageAdapter(None, prompt))
    save_llm_ranker(tmp_path / "ranker", one)
    save = partial(save_llm_ranker, tmp_path / "ranker", other)
    calls = saves_meanwhile(monkeypatch, saved_llm_ranker, "load_language_adapter", save)
    loaded = load_llm_ranker(tmp_path / "ranker", model)
    assert loaded.adapter.lora is None and loaded.max_history == 3 and len(calls) == 2


def test_adapters_of_other_numbers_scale_or_layers_have_another_hash(model):
    lora = start_lora(model, 2, 2.0, 2, torch.Generator().manual_seed(0), 0.5)
    back = Adapter(*({path: one[path] for path in reversed(one)} for one in (lora.a, lora.b)), lora.scale)
    same = [adapter_hash(LanguageAdapter(one)) for one in (lora, back)]
    assert same[0] == same[1]
    path, *others = lora.a
    renamed = ({f"{path}x": one[path], **{name: one[name] for name in others}} for one in (lora.a, lora.b))
    changed = [replace(lora, scale=20.0), lora.map(lambda leaf: leaf * 1.01), Adapter(*renamed, lora.scale)]
    assert len({adapter_hash(LanguageAdapter(one)) for one in (lora, *changed)}) == 4
    heads = [LanguageAdapter(lora, None, LinearHead(torch.full((1, model.width), value))) for value in (0.0, 0.5)]
    assert len({adapter_hash(one) for one in (LanguageAdapter(lora), *heads)}) == 3


def test_what_is_wrong_with_a_saved_head_is_named(model, tmp_path):
    with pytest.raises(AdapterError, match="of one user, got 2"):
        save_linear_head(tmp_path, LinearHead(torch.zeros(2, model.width)), model)
    for weight, said in (
        (torch.full((1, model.width), torch.nan), "not finite"),
        (torch.zeros(1, 3), r"expected weight \(32,\)"),
    ):
        save_linear_head(tmp_path, LinearHead(weight), model)
        with pytest.raises(AdapterError, match=said):
            load_linear_head(tmp_path, model)
    with pytest.raises(AdapterError, match="a folder lora, soft_prompt or linear_head in it, got none"):
        load_language_adapter(tmp_path / "other", model)


def test_what_is_missing_or_changed_is_named(model, tmp_path):
    with pytest.raises(AdapterError, match="expected an adapter, got none"):
        save_llm_ranker(tmp_path / "ranker", LLMRanker(model))
    with pytest.raises(ArtefactError, match="ranker"):
        load_llm_ranker(tmp_path / "ranker", model)
    save_llm_ranker(tmp_path / "ranker", LLMRanker(model, adapter=LanguageAdapter(None, soft_prompt(model, "red mug", 3))))
    for name in ("manifest.json", "soft_prompt/adapter_config.json", "soft_prompt/adapter_model.safetensors"):
        file = tmp_path / "ranker" / name
        before = file.read_bytes()
        file.write_bytes(before.replace(b"next", b"text").replace(b"mean", b"maen")[:-1] + b" ")
        with pytest.raises(ArtefactError):
            load_llm_ranker(tmp_path / "ranker", model)
        file.write_bytes(before)
    load_llm_ranker(tmp_path / "ranker", model)
