"""Soft prompts and LoRA of a language model: values like all others, and PEFT reads what is saved and saves what is read."""

from __future__ import annotations

import json
from pathlib import Path

import peft
import pytest
import torch
from language_models import tiny
from transformers import AutoModelForCausalLM

from llmrec.adapters.language_adapter import LanguageAdapter, start_lora
from llmrec.adapters.language_folder import LORA, SOFT_PROMPT, load_language_adapter
from llmrec.adapters.linear_head import LinearHead
from llmrec.adapters.lora import lora_hook
from llmrec.adapters.peft_format import CONFIG, TENSORS, load_adapter, save_adapter
from llmrec.adapters.peft_prompt import load_soft_prompt, save_soft_prompt
from llmrec.adapters.soft_prompt import SoftPrompt, soft_prompt
from llmrec.encoder.backbone import adding
from llmrec.errors import AdapterError
from llmrec.language.model import load_language_model
from llmrec.language.packed import log_likelihoods, read_prefix
from llmrec.language.rows import Row, read_below, row_states

TOKENS = [1, 2, 5, 7, 11, 3, 9, 4]
peft_asks = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


@pytest.fixture(scope="module", params=["llama", "gemma3_text"])
def folder(request, tiny_folders, tmp_path_factory) -> Path:
    tiny(request.param, tiny_folders["llama"], made := tmp_path_factory.mktemp(request.param))
    return made


@pytest.fixture
def model(folder):
    return load_language_model(folder)


def some_prompt(model) -> SoftPrompt:
    return SoftPrompt(0.5 * torch.randn(1, 3, model.width, generator=torch.Generator().manual_seed(4)))


def logits(model, prompt: SoftPrompt) -> torch.Tensor:
    made = read_below(model, [Row(TOKENS[:3], [TOKENS[3:]])], None)
    with torch.no_grad():
        return model.model.get_output_embeddings()(row_states(model, made, None, prompt.tokens))


def theirs(model) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.tensor([TOKENS]), attention_mask=torch.ones(1, len(TOKENS), dtype=torch.long)).logits[0]


@peft_asks
def test_peft_reads_a_soft_prompt_that_is_saved(model, folder, tmp_path):
    prompt = some_prompt(model)
    save_soft_prompt(tmp_path, prompt, model)
    loaded = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder), tmp_path).eval()
    torch.testing.assert_close(theirs(loaded)[3:], logits(model, prompt), rtol=1e-4, atol=1e-4)
    assert torch.equal(load_soft_prompt(tmp_path, model).tokens, prompt.tokens)


@peft_asks
def test_what_peft_saves_is_read(model, folder, tmp_path):
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    whole = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(folder), config).eval()
    whole.save_pretrained(tmp_path)
    prompt = load_soft_prompt(tmp_path, model, foreign=True)
    assert prompt.tokens.shape == (1, 4, model.width)
    torch.testing.assert_close(logits(model, prompt), theirs(whole)[4:], rtol=1e-4, atol=1e-4)
    with pytest.raises(AdapterError, match="foreign=True"):
        load_soft_prompt(tmp_path, model)


@peft_asks
def test_peft_reads_lora_of_a_language_model(model, folder, tmp_path):
    adapter = start_lora(model, 2, 1.5, 2, torch.Generator().manual_seed(0), b_std=0.3)
    save_adapter(tmp_path, adapter, model)
    loaded = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder), tmp_path).eval()
    with torch.no_grad(), adding(lora_hook(adapter)):
        mine = model.model(input_ids=torch.tensor([TOKENS])).logits[0]
    torch.testing.assert_close(theirs(loaded), mine, rtol=1e-4, atol=1e-4)
    assert all(torch.equal(*pair) for pair in zip(load_adapter(tmp_path, model).leaves(), adapter.leaves(), strict=True))


@peft_asks
@pytest.mark.parametrize("rslora", [False, True])
def test_lora_that_peft_saved_scores_as_peft_does(model, folder, tmp_path, rslora):
    """The folder of an adapter, for the scores of a ranker and for training on."""
    targets = ["q_proj", "v_proj", "down_proj"]
    config = peft.LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=6, target_modules=targets, use_rslora=rslora)
    whole = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(folder), config).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in whole.named_parameters():
            if "lora_" in name:  # B begins at 0, and A in PEFT's own draws
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    whole.save_pretrained(tmp_path / LORA)
    found = load_language_adapter(tmp_path, model, foreign=True)
    assert len(found.lora.paths) == len(targets) * model.n_blocks and found.prompt is None is found.head
    wanted, (hook, _) = theirs(whole), found.adds(model)
    with torch.no_grad():
        made = read_below(model, [Row(TOKENS[:3], [TOKENS[3:]])], found.n_blocks(model))
        states = row_states(model, made, hook, None)
        torch.testing.assert_close(model.model.get_output_embeddings()(states), wanted, rtol=1e-4, atol=1e-4)
        base = log_likelihoods(model, read_prefix(model, TOKENS[:3]), [TOKENS[3:]])
        with adding(hook):
            score = log_likelihoods(model, read_prefix(model, TOKENS[:3]), [TOKENS[3:]])
    each = wanted.log_softmax(-1)[torch.arange(2, len(TOKENS) - 1), TOKENS[3:]]
    torch.testing.assert_close(score, each.sum()[None], rtol=1e-4, atol=1e-4)
    assert (score - base).abs() > 0.1
    with pytest.raises(AdapterError, match="foreign=True"):
        load_language_adapter(tmp_path, model)
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    peft.get_peft_model(AutoModelForCausalLM.from_pretrained(folder), config).save_pretrained(tmp_path / SOFT_PROMPT)
    assert load_language_adapter(tmp_path, model, foreign=True).prompt.tokens.shape == (1, 4, model.width)


def test_a_start_is_made_of_words(model):
    words = model.words(" red mug")
    prompt, embed = soft_prompt(model, " red mug", 5), model.model.get_input_embeddings()
    assert torch.equal(prompt.tokens[0], embed(torch.tensor([*words, *words, words[0]])))
    assert soft_prompt(model, " red mug", 1).tokens.shape[:2] == (1, 1)
    for text, count in (("", 3), (" red mug", 0)):
        with pytest.raises(AdapterError, match="expected words and n_tokens >= 1"):
            soft_prompt(model, text, count)


def test_lora_and_soft_prompt_are_one_value(model):
    lora = start_lora(model, 2, 1.0, 2, torch.Generator().manual_seed(0))
    both = LanguageAdapter(lora, soft_prompt(model, " red", 2))
    assert len(both) == 1 and len(both.leaves()) == len(lora.leaves()) + 1
    assert both.n_params == lora.n_params + 2 * model.width
    three = both.expand(3).take(torch.tensor([2, 0]))
    assert len(three) == 2 and three.prompt is not None and len(three.prompt) == 2
    assert (LanguageAdapter(lora).n_blocks(model), both.n_blocks(model)) == (2, None)
    head = LinearHead(torch.ones(1, model.width))
    every, other = LanguageAdapter(lora, both.prompt, head), LanguageAdapter(head=head)
    assert (every.n_blocks(model), other.n_blocks(model)) == (None, 0) and other.n_params == model.width
    twice = every.map(lambda leaf: leaf * 2)
    assert torch.equal(twice.head.weight, head.weight * 2) and torch.equal(twice.prompt.tokens, both.prompt.tokens * 2)
    for parts in ((None, None), (lora, SoftPrompt(torch.zeros(2, 1, model.width))), (lora, None, head.expand(2))):
        with pytest.raises(AdapterError, match="expected at least one, all of as many users"):
            LanguageAdapter(*parts)


def test_what_is_wrong_with_a_saved_soft_prompt_is_named(model, tmp_path):
    with pytest.raises(AdapterError, match="of one user, got 2"):
        save_soft_prompt(tmp_path, SoftPrompt(torch.zeros(2, 1, model.width)), model)
    for change, said in {
        ("num_virtual_tokens", 5): r"expected prompt_embeddings \(5, 32\) alone, got prompt_embeddings \(3, 32\)",
        ("num_transformer_submodules", 2): "num_transformer_submodules 1, got 2",
        ("peft_type", "LORA"): "expected peft_type 'PROMPT_TUNING', got 'LORA'",
        ("token_dim", 0): "'token_dim', got 0",
    }.items():
        save_soft_prompt(tmp_path, some_prompt(model), model)
        config = json.loads((tmp_path / CONFIG).read_text())
        (tmp_path / CONFIG).write_text(json.dumps(config | dict([change])))
        with pytest.raises(AdapterError, match=said):
            load_soft_prompt(tmp_path, model)
    save_soft_prompt(tmp_path, SoftPrompt(torch.full((1, 3, model.width), torch.nan)), model)
    with pytest.raises(AdapterError, match="not finite"):
        load_soft_prompt(tmp_path, model)
    (tmp_path / TENSORS).write_bytes(b"")
    with pytest.raises(AdapterError, match="save the adapter again"):
        load_soft_prompt(tmp_path, model)
