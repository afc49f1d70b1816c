"""Tiny causal language models of several families with random weights, over the words of a tokenizer's folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

from llmrec.language.model import LanguageModel, load_language_model

WINDOW = 6  # shorter than the prompts of the tests
LAYERS = ["sliding_attention", "full_attention", "sliding_attention"]
FAMILIES = ("llama", "qwen3", "gemma3_text")


def _config(family: str, words: int) -> PretrainedConfig:
    size: dict[str, Any] = {
        "vocab_size": words,
        "hidden_size": 32,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "max_position_embeddings": 256,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": None,
    }
    return {
        "llama": lambda: LlamaConfig(**size),
        "mistral": lambda: MistralConfig(**size, sliding_window=WINDOW),
        "qwen2": lambda: Qwen2Config(**size, use_sliding_window=True, sliding_window=WINDOW, layer_types=LAYERS),
        "qwen3": lambda: Qwen3Config(**size),
        "gemma3_text": lambda: Gemma3TextConfig(**size, sliding_window=WINDOW, layer_types=LAYERS),
    }[family]()


def write_tiny(family: str, tokenizer: Path, folder: Path) -> Path:
    """A model of 3 blocks and width 32 in `folder`, with the tokenizer of the folder `tokenizer`. Its weights are larger than
    those of a fresh one: attention then looks at something, and a mask that is wrong shows."""
    for file in tokenizer.glob("*token*.json"):
        shutil.copy(file, folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = AutoModelForCausalLM.from_config(_config(family, 17))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.3 * torch.randn(parameter.shape))
    model.save_pretrained(folder)
    return folder


def tiny(family: str, tokenizer: Path, folder: Path) -> LanguageModel:
    """The same, loaded."""
    return load_language_model(write_tiny(family, tokenizer, folder))
